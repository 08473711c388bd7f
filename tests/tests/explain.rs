//! `hoop-db policy explain` with what a user has at hand: the claims that `whoami --json` prints, the claims of the
//! ledger's record, a snapshot of the live schema.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use tests::House;

fn run(house: &House, arguments: &[&str]) -> Result<(bool, String)> {
    let output = house.command(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text))
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_schema_as_printed_explain_a_job_and_its_statements() -> Result<()> {
    let house = House::start().await?;
    let [token, claims, snapshot] =
        ["token", "claims.json", "schema.json"].map(|name| house.path(name).display().to_string());
    let operator = house.path("broker.yaml").display().to_string();
    fs::write(&token, house.github.github(&json!({}))?)?;

    let (good, text) = run(
        &house,
        &[
            "whoami",
            "--json",
            "--broker",
            "http://127.0.0.1:9",
            "--token-file",
            &token,
        ],
    )?;
    assert!(good, "{text}");
    fs::write(&claims, &text)?;
    let explain = |scope, more: &[&str]| {
        let mut line = vec![
            "policy",
            "explain",
            "--operator",
            &operator,
            "--claims",
            &claims,
            "--scope",
            scope,
        ];
        line.extend(more);
        run(&house, &line)
    };
    let (good, text) = explain("read", &[])?;
    assert!(good && text.contains("admitted"), "{text}");

    let (good, text) = run(
        &house,
        &["policy", "snapshot", "--operator", &operator, "--database", "shop"],
    )?;
    assert!(good, "{text}");
    fs::write(&snapshot, text)?;
    let (good, text) = explain("read", &["--snapshot", &snapshot, "--sql", "SELECT id FROM app.orders"])?;
    assert!(
        good && text.contains("allow select by .hoop/db-access.yaml:22"),
        "{text}"
    );
    let (good, text) = explain("read", &["--snapshot", &snapshot, "--sql", "DELETE FROM app.orders"])?;
    assert!(
        !good && text.contains("denied by .hoop/db-access.yaml:22 (scope read): DELETE app.orders"),
        "{text}"
    );

    // The claims of a grant's record do as well, and one that differs is told by its line.
    house.grant("read").await?;
    let mut recorded = recorded_claims(&house)?;
    fs::write(&claims, recorded.to_string())?;
    let (good, text) = explain("read", &[])?;
    assert!(good, "{text}");
    recorded["ref"] = json!("refs/heads/feature");
    fs::write(&claims, recorded.to_string())?;
    let (good, text) = explain("read", &[])?;
    assert!(
        !good && text.contains("not admitted") && text.contains("refs/heads/feature"),
        "{text}"
    );
    Ok(())
}

/// The claims of the only grant in the ledger. A grant is told only once its record is durable, so it is there: in the
/// chain, or still in a journal.
fn recorded_claims(house: &House) -> Result<Value> {
    for folder in ["state/ledger/journal", "state/ledger/chain"] {
        for entry in fs::read_dir(house.path(folder))? {
            let text = fs::read_to_string(entry?.path())?;
            if let Some(line) = text.lines().find(|line| line.contains(r#""kind":"grant-minted""#)) {
                let json = &line[line.find('{').unwrap_or_default()..];
                return Ok(serde_json::from_str::<Value>(json)?["claims"].clone());
            }
        }
    }
    anyhow::bail!("no grant was recorded")
}
