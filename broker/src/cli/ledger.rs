//! `hoop-db ledger …` and `hoop-db sessions …`: reading the record, with or without a running broker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::out::{Out, Tone};
use crate::base::id::{GrantId, SessionId};
use crate::ledger::{Filter, render};
use crate::record;

/// The folder of the ledger inside the broker's state directory.
pub const FOLDER: &str = "ledger";

/// Where the record is.
#[derive(Debug, clap::Args)]
pub struct StateArgs {
    /// The broker's state directory.
    #[arg(long, env = "HOOP_STATE", default_value = "/var/lib/hoop", value_name = "PATH")]
    state: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `hoop-db ledger …`.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Check every record, its order and its place in the hash chain. Exit status 1 names the first one that is wrong.
    Verify(StateArgs),
}

/// `hoop-db sessions …`.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// List sessions, the latest last.
    List {
        /// Where the record is.
        #[command(flatten)]
        state: StateArgs,
        /// Only this repository, owner/name.
        #[arg(long)]
        repository: Option<String>,
        /// Only this grant.
        #[arg(long)]
        grant: Option<GrantId>,
        /// Only sessions in which something was denied.
        #[arg(long)]
        denied: bool,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Everything about one session: who, what, decisions, outcomes.
    Show {
        /// Where the record is.
        #[command(flatten)]
        state: StateArgs,
        /// The session.
        session: SessionId,
    },
    /// The session's statements as they came, with their pauses.
    Replay {
        /// Where the record is.
        #[command(flatten)]
        state: StateArgs,
        /// The session.
        session: SessionId,
        /// How many times faster than it was; 0 does not pause at all.
        #[arg(long, default_value_t = 0.0)]
        speed: f64,
    },
}

impl StateArgs {
    fn folder(&self) -> PathBuf {
        self.state.join(FOLDER)
    }
}

/// Runs `hoop-db ledger …`.
pub fn ledger(command: LedgerCommand, out: &mut Out) -> Result<ExitCode> {
    let LedgerCommand::Verify(state) = command;
    let verified = record::verify(&state.folder());
    match verified {
        Ok(report) if state.json => out.line(&serde_json::to_string_pretty(&report)?)?,
        Ok(report) => {
            let text = format!(
                "the ledger verifies: {} records in {} segments, head {} {}",
                report.records, report.segments, report.head, report.hash
            );
            out.toned(Tone::Good, &text)?;
        }
        Err(finding) => {
            if state.json {
                out.line(&serde_json::to_string_pretty(&finding)?)?;
            }
            out.error(&format!("the ledger does not verify: {finding}"));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `hoop-db sessions …`.
pub fn sessions(command: SessionsCommand, out: &mut Out) -> Result<ExitCode> {
    match command {
        SessionsCommand::List {
            state,
            repository,
            grant,
            denied,
            limit,
        } => {
            let filter = Filter {
                repository,
                grant,
                since: None,
                denied,
                limit: Some(limit),
            };
            let found = record::sessions(&state.folder(), &filter)?;
            if state.json {
                out.line(&serde_json::to_string_pretty(&found)?)?;
            } else {
                render::list(out, &found)?;
            }
        }
        SessionsCommand::Show { state, session } => {
            let detail = find(&state.folder(), session)?;
            if state.json {
                out.line(&serde_json::to_string_pretty(&detail)?)?;
            } else {
                render::show(out, &detail)?;
            }
        }
        SessionsCommand::Replay { state, session, speed } => {
            let detail = find(&state.folder(), session)?;
            render::replay(out, &detail, |pause| {
                if speed > 0.0 {
                    std::thread::sleep(Duration::from_secs_f64((pause.as_secs_f64() / speed).min(60.0)));
                }
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(folder: &Path, session: SessionId) -> Result<crate::ledger::SessionDetail> {
    record::session(folder, session)?.with_context(|| format!("there is no {session} in this ledger"))
}
