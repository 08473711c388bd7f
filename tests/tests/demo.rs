//! `hoop-db demo`: every step as expected, and nothing of it left behind.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::house::hoop_db;

fn demo(temporary: &tempfile::TempDir) -> Command {
    // PostgreSQL's own account must reach its data directory below.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(temporary.path(), mode).expect("our own directory");
    let mut command = Command::new(hoop_db());
    command.arg("demo").env("TMPDIR", temporary.path()).stdin(Stdio::null());
    command
}

fn left(temporary: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    fs::read_dir(temporary.path())
        .expect("our own directory")
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn the_demo_tells_its_story_and_cleans_up() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let output = demo(&temporary).arg("--once").output()?;
    let text = String::from_utf8(output.stdout)?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{complaints}");
    assert_eq!(complaints, "", "{text}");
    for line in [
        // The action ran, not its stand-in, and its post step revoked.
        "uses: hoop/db-access@v1    with:",
        "revoked. 2 sessions, 4 statements, 2 rows, 0 denied.",
        "branch-mismatch",
        "ERROR:  denied by .hoop/db-access.yaml:",
        ": DROP app.orders",
        "SELECT app.card_tokens",
        "HINT:  add to can:",
        "endpoint revoked: 1 connections, 1 statements, 3 rows, 3 denied",
        "FATAL:  this grant has ended",
        "CREATE TABLE app.returns",
        "DENIED class-not-allowed by .hoop/db-access.yaml:",
        "the ledger verifies: ",
        "the ledger does not verify: chain/00000001.log line ",
        "all 6 steps as expected",
    ] {
        assert!(text.contains(line), "{line:?} is missing:\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('✗'), "{text}");
    // The one place where a password's prefix is shown shows nothing else of it.
    assert_eq!(text.matches("hdbp_").count(), text.matches("hdbp_…").count(), "{text}");
    assert!(!text.contains("hdbr_"), "{text}");
    assert_eq!(left(&temporary), Vec::<std::path::PathBuf>::new());
    Ok(())
}

#[test]
fn an_interrupted_demo_cleans_up_too() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut child = demo(&temporary).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while left(&temporary).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    assert_eq!(child.wait()?.code(), Some(130));
    assert_eq!(left(&temporary), Vec::<std::path::PathBuf>::new());
    Ok(())
}
