//! `hoop-db demo`: the whole product on one machine. Two jobs, one of GitHub's and one of GitLab's kind, against a
//! throw-away PostgreSQL, through the real broker; nothing here is a feature that only the demo has.

mod jobs;
mod proof;
mod runner;
mod stage;
mod teller;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::stage::Stage;
use self::teller::Teller;
use crate::cli::out::{Out, Tone};
use crate::telemetry;

/// `hoop-db demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tell the story once and exit, with a status that is wrong when any step is. Without a terminal it is always so.
    #[arg(long)]
    pub once: bool,
}

/// The shell's status of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Tells the story; afterwards, on a terminal, lets the reader try it.
pub fn run(args: &Args, out: &mut Out) -> Result<ExitCode> {
    // The broker's own log would stand between the lines of the story; HOOP_LOG brings it back.
    let filter = std::env::var(telemetry::log::VARIABLE).unwrap_or_else(|_| "error".to_owned());
    telemetry::init(Some(&filter))?;
    let once = args.once || !std::io::stdin().is_terminal();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // On this very thread: PostgreSQL is told to die with the thread that started it.
    let code = runtime.block_on(whole(once, out));
    runtime.shutdown_timeout(Duration::from_secs(2));
    code
}

/// What ends the demo early. It is there before anything that would have to be cleaned up.
struct Interrupt(Signal, Signal, Signal);

impl Interrupt {
    fn new() -> Result<Self> {
        Ok(Self(
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ))
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
            _ = self.2.recv() => {}
        }
    }
}

async fn whole(once: bool, out: &mut Out) -> Result<ExitCode> {
    let mut interrupt = Interrupt::new()?;
    let mut teller = Teller::new(out);
    teller.head("hoop-db demo: two jobs, one broker, a throw-away PostgreSQL")?;
    let stage = Stage::start(&mut teller)
        .await
        .context("the demo could not be set up")?;
    let ended = tokio::select! {
        told = story(&stage, once, &mut teller) => told.map(|()| None),
        () = interrupt.come() => Ok(Some(INTERRUPTED)),
    };
    // Ctrl-C is how a reader leaves a story that was told to its end; before that it is an interruption.
    let told = teller.told();
    stage.stop().await?;
    let code = match ended? {
        Some(code) if !told => {
            teller.tone(Tone::Bad, "\ninterrupted; everything temporary is gone")?;
            return Ok(ExitCode::from(code));
        }
        _ => teller.verdict()?,
    };
    Ok(code)
}

async fn story(stage: &Stage, once: bool, teller: &mut Teller<'_>) -> Result<()> {
    jobs::migration(stage, teller).await?;
    jobs::wrong_branch(stage, teller).await?;
    let leaked = jobs::report(stage, teller).await?;
    jobs::dead(stage, &leaked, teller).await?;
    proof::sessions(stage, teller).await?;
    proof::ledger(stage, teller).await?;
    teller.finish();
    if !once {
        stage.invite(teller)?;
        std::future::pending::<()>().await;
    }
    Ok(())
}
