//! `make bench`: direct, a bare relay, PgBouncer and hoop-db side by side, in one run, on this machine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tests::bench::report::Outcome;
use tests::bench::rig::{Leg, Rig, SCALE};
use tests::bench::slices::{Cell, Method, Work};
use tests::bench::{bulk, control, cpu, idle, inner, masked, plot, relay, slices};

/// Measures what it costs to be judged and recorded.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// One slice of one second each: proves that everything works, measures little.
    #[arg(long)]
    quick: bool,
    /// Seconds of one slice.
    #[arg(long, default_value_t = 3)]
    slice: u64,
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Seed of the order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often a slice is measured again because others were busy.
    #[arg(long, default_value_t = 2)]
    retries: u32,
    /// Only cells whose name contains this, or only `idle` sessions.
    #[arg(long)]
    only: Option<String>,
    /// Measures this proxy beside itself with `enforcement: role`, and beside the version of `--before`.
    #[arg(long)]
    compare: bool,
    /// The `hoop-db` of another version, built from its own commit.
    #[arg(long, requires = "compare")]
    before: Option<PathBuf>,
    /// `fsync` of the throw-away PostgreSQL: on as in production, or off to see the proxies' cost on writes undamped.
    #[arg(long, default_value = "on")]
    postgres_fsync: String,
    /// The broker's durability: default or strict.
    #[arg(long, default_value = "default")]
    durability: String,
    /// Where the report goes.
    #[arg(long, default_value = "tests/bench/results")]
    results: PathBuf,
}

#[derive(Subcommand)]
enum Other {
    /// The bare byte relay, run by the bench itself.
    Relay {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// Where everything goes.
        #[arg(long)]
        to: SocketAddr,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Other::Relay { listen, to }) = args.other {
        return relay::run(listen, to);
    }
    // Thousands of sockets, here and in every child.
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard.min(1 << 20), hard)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(bench(&args))
}

async fn bench(args: &Args) -> Result<()> {
    let method = Method {
        slice: Duration::from_secs(if args.quick { 1 } else { args.slice }),
        repeats: if args.quick { 1 } else { args.repeats },
        seed: args.seed,
        tolerated: 0.1,
        retries: if args.quick { 0 } else { args.retries },
    };
    let rows = if args.quick { 200_000 } else { 1_000_000 };
    eprintln!("starting PostgreSQL, PgBouncer, the relay and the broker");
    let mut beside = Vec::new();
    if args.compare {
        beside.push((Leg::Role, tests::house::hoop_db()));
        beside.extend(args.before.iter().map(|program| (Leg::Before, program.clone())));
    }
    let rig = Arc::new(Rig::start(args.postgres_fsync == "on", &args.durability, rows, &beside).await?);
    let mut expected = HashMap::new();
    let wanted = |cell: &Cell| {
        args.only
            .as_ref()
            .is_none_or(|only| cell.name().contains(only.as_str()))
    };
    if args.only.as_deref() == Some("idle") {
        let (_, failed) = idle_sessions(&rig, args.quick).await;
        anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
        return Ok(());
    }
    if args.compare {
        return compare(args, &rig, &method, &beside).await;
    }
    let main: Vec<_> = main_cells().into_iter().filter(|(cell, _)| wanted(cell)).collect();
    let samples = slices::run(&rig, &method, &main, &mut expected).await?;
    if args.only.is_some() {
        return brief(&rig, &samples, &expected).await;
    }
    let once = Method {
        repeats: 1,
        seed: method.seed + 2,
        ..method.clone()
    };
    let growth = slices::run(&rig, &once, &growth_cells(), &mut expected).await?;
    let bulk = bulk::run(&rig, &method, rows).await?;
    let (idles, failed) = idle_sessions(&rig, args.quick).await;
    let control = control::run(&rig, Leg::Hoop, if args.quick { 200 } else { 2000 }).await?;
    let inner = inner::run(&rig, if args.quick { 100_000 } else { 1_000_000 }).await?;
    // The last records reach the chain within 300 ms.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let checked = slices::check_records(&rig, &expected)?;
    let settings = settings(args, &rig, &method, rows)?;
    let outcome = Outcome {
        method,
        settings,
        samples,
        growth,
        bulk,
        idle: idles,
        control,
        inner,
        checked,
    };
    write(args, &outcome)?;
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    Ok(())
}

/// What idle sessions cost on every leg, and what could not be measured: at the end of half an hour that must not cost
/// the rest.
async fn idle_sessions(rig: &Rig, quick: bool) -> (Vec<idle::Idle>, Vec<String>) {
    let steps: &[usize] = if quick { &[10, 100] } else { &[10, 50, 100, 200, 1000] };
    let (mut idles, mut failed) = (Vec::new(), Vec::new());
    for (leg, tls) in [
        (Leg::Relay, false),
        (Leg::PgBouncer, false),
        (Leg::PgBouncer, true),
        (Leg::Hoop, false),
        (Leg::Hoop, true),
    ] {
        match idle::run(rig, leg, tls, steps).await {
            Ok(found) => idles.extend(found),
            Err(error) => failed.push(format!("idle sessions over {}: {error:#}", leg.name())),
        }
    }
    (idles, failed)
}

fn main_cells() -> Vec<(Cell, Vec<Leg>)> {
    let mut cells = Vec::new();
    for tls in [false, true] {
        let legs = if tls {
            vec![Leg::Direct, Leg::PgBouncer, Leg::Hoop]
        } else {
            vec![Leg::Direct, Leg::Relay, Leg::PgBouncer, Leg::Hoop]
        };
        for work in [Work::Select, Work::Update] {
            for prepared in [false, true] {
                cells.extend([1, 8, 32].map(|clients| (Cell::of(work, prepared, clients, tls), legs.clone())));
            }
        }
        cells.push((Cell::of(Work::Connect, false, 8, tls), legs));
    }
    cells
}

fn growth_cells() -> Vec<(Cell, Vec<Leg>)> {
    let legs = vec![Leg::Direct, Leg::PgBouncer, Leg::Hoop];
    let mut cells: Vec<_> = [1, 8, 32, 100, 200]
        .map(|clients| (Cell::of(Work::Select, true, clients, false), legs.clone()))
        .into();
    let mut custom = |name: String, script: String| {
        let cell = Cell {
            custom: Some((name, script)),
            ..Cell::of(Work::Select, false, 8, false)
        };
        cells.push((cell, legs.clone()));
    };
    for numbers in [10, 100, 1000] {
        let list: Vec<String> = (1..=numbers).map(|number| number.to_string()).collect();
        let list = list.join(", ");
        let text = format!("SELECT count(*) FROM pgbench_accounts WHERE aid = -1 AND aid IN ({list});\n");
        custom(format!("size: {:>5} bytes, one text", text.len()), text);
    }
    for rows in [1, 100, 10_000] {
        let text = format!("SELECT aid, bid, abalance FROM pgbench_accounts WHERE aid <= {rows};\n");
        custom(format!("rows: {rows:>5}"), text);
    }
    for texts in [1, 1000, 1_000_000] {
        let text = format!(
            "\\set aid random(1, {texts})\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid AND filler <> 'no :aid';\n"
        );
        custom(format!("distinct texts: {texts:>7}"), text);
    }
    cells
}

/// What the second enforcer costs, and what was added since another version: sessions and grants.
async fn compare(args: &Args, rig: &Arc<Rig>, method: &Method, beside: &[(Leg, PathBuf)]) -> Result<()> {
    let mut legs = vec![Leg::Hoop];
    legs.extend(beside.iter().map(|(leg, _)| *leg));
    let mut cells = Vec::new();
    let all: Vec<_> = [Leg::Direct, Leg::PgBouncer].into_iter().chain(legs.clone()).collect();
    for work in [Work::Select, Work::Update] {
        for prepared in [false, true] {
            cells.push((Cell::of(work, prepared, 8, false), all.clone()));
        }
    }
    cells.push((Cell::of(Work::Connect, false, 8, false), all));
    let mut expected = HashMap::new();
    let samples = slices::run(rig, method, &cells, &mut expected).await?;
    brief(rig, &samples, &expected).await?;
    if args.before.is_none() {
        let lines = [masked::run(rig, method).await?, masked::looked_through()].concat();
        lines.iter().for_each(|line| println!("{line}"));
    }
    for leg in legs {
        let found = control::run(rig, leg, if args.quick { 100 } else { 1000 }).await?;
        println!(
            "{:<16} mint p50 {:.1} p99 {:.1} ms, {:.0} a second of eight callers (p50 {:.1} p99 {:.1} ms); revoke to cut p50 {:.1} p99 {:.1} ms",
            leg.name(),
            found.mint[0],
            found.mint[1],
            found.rate,
            found.crowded[0],
            found.crowded[1],
            found.cut[0],
            found.cut[1],
        );
    }
    Ok(())
}

/// With `--only`: a few lines instead of a report.
async fn brief(rig: &Rig, samples: &[slices::Sample], expected: &HashMap<String, u64>) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(600)).await;
    for sample in samples {
        println!(
            "{:<34} tls={:<5} {:<12} {:>8.0} tps  p50 {:>6.0}  p99 {:>6.0}  CPU {:.2} s/100k  others {:.2}",
            sample.cell.name(),
            sample.cell.tls,
            sample.leg.name(),
            sample.tps,
            sample.latency[0],
            sample.latency[1],
            sample.cpu,
            sample.others,
        );
    }
    let (statements, wrong) = slices::check_records(rig, expected)?;
    println!("{statements} statements over hoop-db; differences with the ledger: {wrong:?}");
    Ok(())
}

fn settings(args: &Args, rig: &Rig, method: &Method, rows: u64) -> Result<Vec<(String, String)>> {
    let version = |program: PathBuf| -> Result<String> {
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .with_context(|| program.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let lines = [
        (
            "machine",
            format!("{cores} × {}, Linux {}", cpu::model(), kernel.trim()),
        ),
        ("hoop-db", version(tests::house::hoop_db())?),
        ("PostgreSQL", version(rig.cluster.bin("postgres"))?),
        (
            "pgbench",
            format!("{}, scale {SCALE}", version(rig.cluster.bin("pgbench"))?),
        ),
        ("PgBouncer", version("/usr/sbin/pgbouncer".into()).unwrap_or_default()),
        (
            "slices",
            format!(
                "{} s × {} repeats, seed {}",
                method.slice.as_secs(),
                method.repeats,
                method.seed
            ),
        ),
        ("bulk rows", rows.to_string()),
        ("PostgreSQL's fsync", args.postgres_fsync.clone()),
        (
            "broker's durability",
            if args.durability == "strict" {
                "strict: every statement's record is on disk before its bytes leave".to_owned()
            } else {
                "default: every record is with the operating system before its statement's bytes leave; for changes it is on disk".to_owned()
            },
        ),
        (
            "policy and ledger",
            "every statement judged against a scope and the operator's ceiling, and recorded".to_owned(),
        ),
        (
            "authentication",
            "SCRAM-SHA-256 on every leg, clients' and servers'".to_owned(),
        ),
        ("way to PostgreSQL", "plain TCP on loopback for all".to_owned()),
        (
            "PgBouncer's pool",
            "session mode, default_pool_size 1000, pkt_buf 4096 (and 65536 for bulk)".to_owned(),
        ),
    ];
    Ok(lines
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

fn write(args: &Args, outcome: &Outcome) -> Result<()> {
    std::fs::create_dir_all(&args.results)?;
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let name = if args.quick { format!("{date}-quick") } else { date };
    let file = |ending: &str| args.results.join(format!("{name}.{ending}"));
    let text = outcome.markdown(&format!("{name}.svg"));
    std::fs::write(file("md"), &text)?;
    std::fs::write(file("csv"), outcome.csv())?;
    std::fs::write(file("svg"), plot::svg(outcome))?;
    println!("{text}");
    eprintln!("written: {}", file("md").display());
    anyhow::ensure!(
        outcome.checked.1.is_empty(),
        "the ledger does not hold exactly what pgbench sent"
    );
    Ok(())
}
