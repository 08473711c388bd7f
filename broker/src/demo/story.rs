//! `hoop-db demo`: the whole product on one machine.

use std::process::ExitCode;

use crate::cli::out::Out;

/// `hoop-db demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tell the story once and exit, with a status that is wrong when any step is.
    #[arg(long)]
    pub once: bool,
}

/// Tells the story.
pub fn run(_args: &Args, _out: &mut Out) -> anyhow::Result<ExitCode> {
    anyhow::bail!("later in this session")
}
