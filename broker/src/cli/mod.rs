//! The command line: `hoop-db …`. Output goes through [`out::Out`], errors end as one line and an exit status.

pub mod api;
pub mod doctor;
pub mod job;
pub mod ledger;
pub mod out;
pub mod plan;
pub mod policy;
mod proof;
mod retry;
pub mod token;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use self::out::Out;

/// CI/CD-native ephemeral PostgreSQL access: a job's OIDC token becomes a judged, recorded, revocable endpoint.
#[derive(Debug, Parser)]
#[command(name = "hoop-db", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve {
        /// The operator's file.
        #[arg(long, env = "HOOP_CONFIG", default_value = "broker.yaml")]
        config: PathBuf,
        /// Read and check everything, then exit.
        #[arg(long)]
        check: bool,
    },
    /// Show the whole product on this machine: two jobs against a throw-away PostgreSQL.
    Demo(crate::demo::story::Args),
    /// Get an endpoint, run a command with it, revoke it.
    Run(job::RunArgs),
    /// Get an endpoint and print how to use it; `close` revokes it.
    Open(job::OpenArgs),
    /// Revoke the endpoint that `open` got.
    Close(job::CloseArgs),
    /// Show the claims of this job's token and what the broker makes of them.
    Whoami(job::WhoamiArgs),
    /// End grants at once: an operator's kill switch.
    Kill(job::KillArgs),
    /// Check and explain policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Show what a database exposes whatever the policies say, with the SQL that cures it; changes nothing.
    Doctor(doctor::LookArgs),
    /// Show every login of a database and how far its password would reach.
    Roles(doctor::LookArgs),
    /// Judge SQL files offline: what would be allowed, what denied, and by which line.
    Plan(plan::PlanArgs),
    /// Check the tamper-evident record.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// List, show and replay recorded sessions.
    #[command(subcommand)]
    Sessions(ledger::SessionsCommand),
    /// Helpers for people who test with the product.
    #[command(subcommand)]
    Dev(DevCommand),
    /// Read statements for the broker that started this process.
    #[command(hide = true)]
    ReaderWorker {
        /// Address space in megabytes.
        #[arg(long)]
        memory: u64,
        /// Processor time for one text in seconds.
        #[arg(long)]
        cpu: u64,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write man pages into a directory.
    Man {
        /// The directory; it must exist.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// A local OIDC issuer with GitHub- or GitLab-shaped claims.
    Issuer(crate::demo::issuer::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Out::stdout();
    match run(cli, &mut out) {
        Ok(code) => code,
        Err(error) => {
            // A closed pipe (`hoop-db sessions list | head`) is not worth a word.
            let closed = error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
            if !closed {
                out.error(&format!("{error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, out: &mut Out) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve { config, check } => crate::server::run(&config, check, out),
        Command::Demo(args) => crate::demo::story::run(&args, out),
        Command::Run(args) => block_on(job::run(args, out)),
        Command::Open(args) => block_on(job::open(args, out)),
        Command::Close(args) => block_on(job::close(args, out)),
        Command::Whoami(args) => block_on(job::whoami(args, out)),
        Command::Kill(args) => block_on(job::kill(args, out)),
        Command::Policy(command) => policy::run(command, out),
        Command::Doctor(args) => block_on(doctor::doctor(args, out)),
        Command::Roles(args) => block_on(doctor::roles(args, out)),
        Command::Plan(args) => plan::run(&args, out),
        Command::Ledger(command) => ledger::ledger(command, out),
        Command::Sessions(command) => ledger::sessions(command, out),
        Command::Dev(DevCommand::Issuer(args)) => block_on(issuer(args, out)),
        Command::ReaderWorker { memory, cpu } => {
            crate::reader::worker::serve(memory, cpu)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hoop-db", out);
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), directory)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn issuer(args: crate::demo::issuer::Args, out: &mut Out) -> anyhow::Result<ExitCode> {
    let issuer = crate::demo::issuer::DevIssuer::serve(&args, crate::base::clock::Clock::system()).await?;
    out.line(&issuer.banner())?;
    tokio::signal::ctrl_c().await?;
    Ok(ExitCode::SUCCESS)
}

/// One small runtime for commands that talk to the network.
fn block_on<F>(future: F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
