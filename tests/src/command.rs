//! Running `hoop-db` as people do: as a job, as an operator, and alone.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use crate::House;
use crate::house::hoop_db;

/// How a command ended and what it said.
pub struct Said {
    /// Exit status; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end, with nothing on its standard input.
pub fn said(command: &mut Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// `hoop-db` as a GitHub job calls it.
pub fn job(house: &House, arguments: &[&str]) -> Command {
    let mut command = house.command(arguments);
    command
        .env("HOOP_BROKER_URL", &house.url)
        .env("HOOP_CA", house.path("ca.pem"))
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", house.github.request_url())
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", house.github.request_token().expose())
        .env("PSQL", house.cluster.bin("psql"))
        .env_remove("HOOP_OPERATOR_TOKEN");
    command
}

/// `hoop-db` outside of any job.
pub fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(hoop_db());
    command.args(arguments).env("NO_COLOR", "1");
    for name in [
        "HOOP_BROKER_URL",
        "HOOP_CA",
        "HOOP_ID_TOKEN",
        "HOOP_STATE",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
    ] {
        command.env_remove(name);
    }
    command
}

/// Waits for something that is bound to happen.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many bytes the process has read in its life. They tell whose text a reader's worker has: what it waits for is not
/// seen otherwise.
pub fn taken(pid: Pid) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("the process lives");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|count| count.parse().ok()).expect("a count of bytes")
}
