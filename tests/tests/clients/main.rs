//! Real clients work through an endpoint: each test drives one client against the real broker and the real PostgreSQL,
//! and asserts what the client saw, what the database holds and what the ledger says.

mod node;
mod pgbench;
mod psql;
mod python;
mod tokio_postgres;
mod tools;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::house::{root, run};
use tests::{Grant, House};

/// A script of `tests/clients`.
fn script(name: &str) -> PathBuf {
    root().join("tests/clients").join(name)
}

/// The Python that has the clients, installed by `tests/setup.sh test`.
fn python() -> PathBuf {
    let path = root().join(".tools/venv/bin/python");
    assert!(path.exists(), "{} is missing: tests/setup.sh test", path.display());
    path
}

/// Runs a client that speaks through the endpoint; its whole output is the failure's report.
fn client(house: &House, grant: &Grant, command: &mut Command, input: &str) -> Result<String> {
    let command = command.envs(house.libpq(grant));
    let (success, stdout, stderr) = run(command, input).with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(
        success,
        "{:?} failed\n--- its output\n{stdout}\n--- its errors\n{stderr}\n--- the broker's log\n{}",
        command.get_program(),
        house.broker_log()
    );
    Ok(stdout + &stderr)
}

/// [`client`], whose last line of output is JSON.
fn report(house: &House, grant: &Grant, command: &mut Command) -> Result<Value> {
    let text = client(house, grant, command, "")?;
    let last = text
        .lines()
        .rev()
        .find(|line| line.starts_with('{'))
        .unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the client did not report:\n{text}"))
}

/// Every session of the grant as the ledger tells it.
fn sessions(house: &House, grant: &Grant) -> Result<Vec<Value>> {
    let (state, id) = (house.path("state").display().to_string(), grant.id());
    let list = json(
        house,
        &[
            "sessions", "list", "--state", &state, "--json", "--grant", &id, "--limit", "100000",
        ],
    )?;
    let list = list.as_array().cloned().context("not a list")?;
    list.iter()
        .map(|session| {
            let id = session
                .get("session")
                .and_then(Value::as_str)
                .context("a session without a name")?;
            json(house, &["sessions", "show", "--state", &state, "--json", id])
        })
        .collect()
}

fn json(house: &House, arguments: &[&str]) -> Result<Value> {
    let (success, stdout, stderr) = run(&mut house.command(arguments), "")?;
    ensure!(success, "{arguments:?}: {stdout}{stderr}");
    Ok(serde_json::from_str(&stdout)?)
}

/// Each text is in the ledger with the outcome the database reported, and the ledger verifies.
fn recorded(house: &House, grant: &Grant, wanted: &[(&str, &str)]) -> Result<()> {
    let sessions = sessions(house, grant)?;
    let steps = sessions
        .iter()
        .flat_map(|session| session["steps"].as_array().into_iter().flatten());
    let ended: Vec<(&str, &str)> = steps
        .map(|step| {
            (
                step["text"].as_str().unwrap_or_default(),
                step["outcome"]["tag"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    for (text, tag) in wanted {
        let found = ended
            .iter()
            .any(|(seen, outcome)| seen.contains(text) && outcome == tag);
        ensure!(
            found,
            "no {text:?} that ended with {tag:?} in the ledger, which has\n{ended:#?}"
        );
    }
    let (verifies, report) = house.verify_ledger()?;
    ensure!(verifies, "{report}");
    Ok(())
}
