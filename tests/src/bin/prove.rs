//! `make prove`: the long, seeded proofs. Prints the scorecard, writes it as JSON, and fails on any violation.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use serde_json::json;
use tests::prove::full::Means;
use tests::prove::{
    Report, Score, crash, cut, endings, full, fuzz, hostile, layer, masks, regress, reworded, versions,
};

/// The long, seeded proofs against a real broker and a real PostgreSQL.
#[derive(Parser)]
struct Args {
    /// The same seed makes the same choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Multiplies the counts; 10 reaches most bars, 0.1 is a quick look.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only the proofs whose name contains this: crash, cut, endings, layer, masks, hostile, full, reworded, regress,
    /// fuzz, versions.
    #[arg(long, default_value = "")]
    only: String,
    /// The process of `fuzz` that reads, and may die of it.
    #[arg(long, hide = true)]
    fuzz_child: Option<PathBuf>,
    /// Which texts it reads.
    #[arg(long, hide = true, default_value = "0..0")]
    fuzz_range: String,
}

impl Args {
    fn count(&self, usual: u32) -> u64 {
        (f64::from(usual) * self.scale).ceil().max(1.0) as u64
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(folder) = &args.fuzz_child {
        return fuzz::read_all(folder, args.seed, &args.fuzz_range);
    }
    let (seed, began) = (args.seed, Instant::now());
    let mut scores: Vec<Score> = Vec::new();
    for name in [
        "crash", "cut", "endings", "layer", "masks", "hostile", "full", "reworded", "regress", "fuzz", "versions",
    ] {
        if !name.contains(&args.only) {
            continue;
        }
        let start = Instant::now();
        let report = match name {
            "crash" => crash::crash(seed, args.count(100)).await?,
            "cut" => cut::cut(seed, args.count(200)).await?,
            "endings" => endings::endings(args.count(5)).await?,
            "layer" => layer::layer(seed, args.count(200)).await?,
            "reworded" => reworded::reworded(seed, args.count(100_000), args.count(300)).await?,
            "masks" => masks::masks(seed, args.count(20_000)).await?,
            "versions" => versions::versions().await?,
            "hostile" => hostile::hostile(args.count(5)).await?,
            "fuzz" => fuzz::fuzz(seed, args.count(1_000_000)).await?,
            "regress" => regress::regress(args.scale.min(1.0)).await?,
            _ => both(args.count(5)).await?,
        };
        println!("{name}: {:.0} s", start.elapsed().as_secs_f64());
        for score in report.scores {
            println!("  {}", score.line());
            keep(&mut scores, score);
        }
    }
    scores.sort_by_key(|score| score.goal[1..].trim_end_matches('b').parse::<u32>().unwrap_or_default());
    println!(
        "\nscorecard, seed {seed}, scale {}, {:.0} s",
        args.scale,
        began.elapsed().as_secs_f64()
    );
    scores.iter().for_each(|score| println!("{}", score.line()));
    if args.only.is_empty() {
        write(&args, &scores)?;
    }
    Report { scores }.verdict()
}

/// The disk is full in both ways this can be arranged.
async fn both(rounds: u64) -> Result<Report> {
    let mut report = full::full(Means::Limit, rounds).await?;
    report.scores.extend(full::full(Means::Small, rounds).await?.scores);
    Ok(report)
}

/// The searches for secrets of all proofs make one line.
fn keep(scores: &mut Vec<Score>, score: Score) {
    match scores
        .iter_mut()
        .find(|known| known.goal == score.goal && known.what == score.what)
    {
        Some(known) => known.join(score),
        None => scores.push(score),
    }
}

fn write(args: &Args, scores: &[Score]) -> Result<()> {
    let folder = tests::house::root().join("tests/prove/results");
    std::fs::create_dir_all(&folder)?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, name)| name);
    let text = json!({
        "at": hoop::base::clock::Clock::system().now().to_string(), "seed": args.seed, "scale": args.scale,
        "machine": { "cpus": std::thread::available_parallelism().map_or(1, usize::from), "model": model },
        "goals": scores.iter().map(Score::json).collect::<Vec<_>>(),
    });
    let path = folder.join("latest.json");
    std::fs::write(&path, serde_json::to_string_pretty(&text)? + "\n")?;
    println!("written to tests/prove/results/latest.json");
    Ok(())
}
