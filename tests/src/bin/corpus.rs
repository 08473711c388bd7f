//! Tries a directory of cases against a real broker and a real PostgreSQL: `cargo run -p tests --bin corpus -- DIR`.
//! Ends with 1 when an attack works or an honest statement does not.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use tests::corpus::wire::Mode;
use tests::corpus::{Corpus, Layer, Options, run};

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
    /// Who enforces; with none named, `proxy` and then `both`: each has to hold by itself, and they fail differently.
    #[arg(long, value_enum)]
    layer: Option<Layer>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let corpus = match &args.dir {
        Some(folder) => Corpus::read(folder)?,
        None => Corpus::own()?,
    };
    let layers: &[Layer] = match &args.layer {
        None => &[Layer::Proxy, Layer::Both],
        Some(layer) => std::slice::from_ref(layer),
    };
    let mut failed = false;
    for layer in layers {
        let began = Instant::now();
        let options = Options {
            plots: args.plots,
            only: args.only.clone(),
            layer: *layer,
            // Roles do not care how a statement is wrapped.
            modes: if layer.judges() { Mode::ALL } else { Mode::PLAIN },
        };
        let report = run(&corpus, &options).await?;
        println!("{report}; {:.0} s\n", began.elapsed().as_secs_f64());
        failed |= report.failures().next().is_some();
    }
    if failed {
        std::process::exit(1);
    }
    Ok(())
}
