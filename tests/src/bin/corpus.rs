//! Tries a directory of cases against a real broker and a real PostgreSQL: `cargo run -p tests --bin corpus -- DIR`.
//! Ends with 1 when an attack works or an honest statement does not.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use tests::corpus::{Corpus, Options, run};

/// Attacks and honest statements, judged by their effect.
#[derive(Parser)]
struct Args {
    /// A directory with attacks.jsonl and, where they differ from this repository's, fixture.sql, policy.yaml and
    /// ceiling.yaml.
    dir: Option<PathBuf>,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// How many cases at the same time.
    #[arg(long, default_value_t = 3)]
    plots: usize,
    /// Past the broker: shows that every attack works there, so that refusing it means something.
    #[arg(long)]
    direct: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let corpus = match &args.dir {
        Some(folder) => Corpus::read(folder)?,
        None => Corpus::own()?,
    };
    let began = Instant::now();
    let options = Options {
        plots: args.plots,
        only: args.only,
        direct: args.direct,
        ..Options::default()
    };
    let report = run(&corpus, &options).await?;
    println!("{report}");
    let through = if args.direct {
        "no broker: what is counted as an attack that works is one that does not"
    } else {
        "enforcement: the proxy alone (shared)"
    };
    println!("{through}; {:.0} s", began.elapsed().as_secs_f64());
    if report.failures().next().is_some() {
        std::process::exit(1);
    }
    Ok(())
}
