//! pgbench in short slices, in shuffled order inside every repeat, so that whatever the machine does meanwhile hits all
//! legs alike. Every repeat holds its own direct slice: ratios are taken inside a repeat.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::cpu::{Watch, process};
use super::rig::{Broker, Leg, Rig, SCALE, libpq};
use super::stats::{Seeded, quantile};

/// What pgbench does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Work {
    /// One SELECT by key (`-S`).
    Select,
    /// BEGIN, UPDATE, SELECT, INSERT, END (`-N`).
    Update,
    /// Connect, one SELECT, disconnect (`-S -C`).
    Connect,
}

impl Work {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Update => "write",
            Self::Connect => "connect",
        }
    }

    /// Statements in one transaction.
    pub fn statements(self) -> u64 {
        if self == Self::Update { 5 } else { 1 }
    }

    /// pgbench's own script, written out: as a file it asks nothing else before it starts, so that every statement
    /// the proxy records is one that pgbench counts.
    fn script(self) -> &'static str {
        match self {
            Self::Select | Self::Connect => {
                "\\set aid random(1, 100000 * :scale)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
            }
            Self::Update => {
                "\\set aid random(1, 100000 * :scale)\n\\set bid random(1, 1 * :scale)\n\\set tid random(1, 10 * :scale)\n\
                 \\set delta random(-5000, 5000)\nBEGIN;\n\
                 UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n\
                 SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
                 INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);\n\
                 END;\n"
            }
        }
    }
}

/// One thing to measure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cell {
    /// What pgbench does.
    pub work: Work,
    /// `-M simple` or `-M prepared`.
    pub prepared: bool,
    /// `-c`.
    pub clients: u32,
    /// TLS on the client's leg.
    pub tls: bool,
    /// Instead of the work's own script: a name and a script of one statement.
    pub custom: Option<(String, String)>,
}

impl Cell {
    /// The usual cell.
    pub fn of(work: Work, prepared: bool, clients: u32, tls: bool) -> Self {
        Self {
            work,
            prepared,
            clients,
            tls,
            custom: None,
        }
    }

    /// Its name in tables.
    pub fn name(&self) -> String {
        let work = self.custom.as_ref().map_or(self.work.name(), |(name, _)| name);
        format!(
            "{work}, {}, {} client{}",
            if self.prepared { "prepared" } else { "simple" },
            self.clients,
            if self.clients == 1 { "" } else { "s" }
        )
    }
}

/// What one slice gave.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Which repeat.
    pub repeat: u32,
    /// What.
    pub cell: Cell,
    /// Over which way.
    pub leg: Leg,
    /// Transactions per second.
    pub tps: f64,
    /// Transactions.
    pub transactions: u64,
    /// p50, p99 and p99.9 of a transaction in µs.
    pub latency: [f64; 3],
    /// CPU seconds of the proxy per 100,000 statements; NaN on the direct way.
    pub cpu: f64,
    /// How much of a core others used.
    pub others: f64,
    /// Others used more than is allowed, even in the last try.
    pub noisy: bool,
}

/// How to measure.
#[derive(Debug, Clone)]
pub struct Method {
    /// Length of a slice.
    pub slice: Duration,
    /// How often everything is measured.
    pub repeats: u32,
    /// Seed of the order.
    pub seed: u64,
    /// A slice in which others used more of a core than this is measured again.
    pub tolerated: f64,
    /// At most so many times.
    pub retries: u32,
}

/// Runs every cell over every leg.
pub async fn run(
    rig: &Rig,
    method: &Method,
    cells: &[(Cell, Vec<Leg>)],
    expected: &mut HashMap<String, u64>,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut order = Seeded::new(method.seed);
    for repeat in 0..method.repeats {
        let mut slices: Vec<(&Cell, Leg)> = cells
            .iter()
            .flat_map(|(cell, legs)| legs.iter().map(move |leg| (cell, *leg)))
            .collect();
        order.shuffle(&mut slices);
        for (index, (cell, leg)) in slices.iter().enumerate() {
            let mut sample = slice(rig, method, cell, *leg, repeat, expected).await?;
            for _ in 0..method.retries {
                if !sample.noisy {
                    break;
                }
                sample = slice(rig, method, cell, *leg, repeat, expected).await?;
            }
            eprintln!(
                "repeat {}/{} slice {}/{}: {}{} over {}: {:.0} tps{}",
                repeat + 1,
                method.repeats,
                index + 1,
                slices.len(),
                cell.name(),
                if cell.tls { ", TLS" } else { "" },
                leg.name(),
                sample.tps,
                if sample.noisy {
                    format!(" (noisy: others used {:.2} of a core)", sample.others)
                } else {
                    String::new()
                },
            );
            samples.push(sample);
        }
    }
    Ok(samples)
}

async fn slice(
    rig: &Rig,
    method: &Method,
    cell: &Cell,
    leg: Leg,
    repeat: u32,
    expected: &mut HashMap<String, u64>,
) -> Result<Sample> {
    let (way, grant) = rig.way(leg, cell.tls).await?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("script.sql");
    let text = cell.custom.as_ref().map_or(cell.work.script(), |(_, text)| text);
    std::fs::write(&script, text)?;
    let mut command = Command::new(rig.cluster.bin("pgbench"));
    command
        .args([
            "-n",
            "-M",
            if cell.prepared { "prepared" } else { "simple" },
            "-c",
            &cell.clients.to_string(),
        ])
        .args([
            "-j",
            &cell.clients.min(2).to_string(),
            "-T",
            // Logging in counts as time: many clients need some before the first statement.
            &(method.slice.as_secs().max(1) + u64::from(cell.clients / 25)).to_string(),
        ])
        .args(["-D", &format!("scale={SCALE}"), "-l", "--log-prefix"])
        .arg(folder.path().join("log"))
        .arg("-f")
        .arg(&script)
        .envs(libpq(&way));
    if cell.work == Work::Connect {
        command.arg("-C");
    }
    let watch = Watch::begin();
    let before = way.pid.map(process);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .context("pgbench cannot be run")?;
    let others = watch.others();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "pgbench over {}: {said}{}\n{}",
            leg.name(),
            String::from_utf8_lossy(&output.stderr),
            rig.broker(leg, cell.tls).map(Broker::log).unwrap_or_default()
        );
    }
    // The chain is settled within 300 ms; that work belongs to the slice.
    tokio::time::sleep(Duration::from_millis(350)).await;
    let cpu = way.pid.map_or(f64::NAN, process) - before.unwrap_or(f64::NAN);
    let transactions: u64 = number(&said, "number of transactions actually processed: ").context("no count")? as u64;
    let failed = number(&said, "number of failed transactions: ").unwrap_or(0.0);
    ensure!(
        failed == 0.0,
        "pgbench over {}: {failed} transactions failed",
        leg.name()
    );
    let statements = transactions * cell.work.statements();
    if let Some(grant) = grant {
        rig.revoke((leg, cell.tls), &grant).await?;
        expected.insert(grant.id(), statements);
    }
    let mut latencies = latencies(folder.path())?;
    Ok(Sample {
        repeat,
        cell: cell.clone(),
        leg,
        // Without a single transaction pgbench says nothing more.
        tps: number(&said, "tps = ").unwrap_or(0.0),
        transactions,
        latency: [0.5, 0.99, 0.999].map(|q| quantile(&mut latencies, q)),
        cpu: cpu * 100_000.0 / statements.max(1) as f64,
        others,
        noisy: others > method.tolerated,
    })
}

fn number(text: &str, before: &str) -> Option<f64> {
    let (_, rest) = text.split_once(before)?;
    let end = rest
        .find(|symbol: char| !symbol.is_ascii_digit() && symbol != '.')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The third column of pgbench's logs: each transaction's time in µs.
fn latencies(folder: &std::path::Path) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("log.") {
            let text = std::fs::read_to_string(entry.path())?;
            all.extend(
                text.lines()
                    .filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()),
            );
        }
    }
    Ok(all)
}

/// Compares what the ledger of each broker says with what pgbench counted, grant by grant.
pub fn check_records(rig: &Rig, expected: &HashMap<String, u64>) -> Result<(u64, Vec<String>)> {
    let mut recorded: HashMap<String, u64> = HashMap::new();
    for state in rig.states() {
        let ledger = state.join(hoop::cli::ledger::FOLDER);
        let filter = hoop::ledger::Filter::default();
        let sessions =
            hoop::record::sessions(&ledger, &filter).map_err(|finding| anyhow::anyhow!("the ledger: {finding}"))?;
        for session in sessions {
            *recorded.entry(session.grant.to_string()).or_default() += session.executions;
        }
    }
    let mut wrong = Vec::new();
    for (grant, statements) in expected {
        let found = recorded.get(grant).copied().unwrap_or(0);
        if found != *statements {
            wrong.push(format!(
                "grant {grant}: pgbench sent {statements} statements, the ledger holds {found}"
            ));
        }
    }
    Ok((expected.values().sum(), wrong))
}
