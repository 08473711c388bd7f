//! What an operator and a policy's author run: `policy`, `sessions`, `ledger`, `kill`, man pages and completions.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tests::House;
use tests::command::{alone, job, said, until};
use tests::house::root;

#[test]
fn policy_check_speaks_three_languages() -> Result<()> {
    let (examples, broken) = (root().join("policies/examples"), root().join("policies/broken"));
    let check = |file: &Path, format: &str| {
        said(&mut alone(&[
            "policy",
            "check",
            &file.display().to_string(),
            "--format",
            format,
        ]))
    };
    let good = check(&examples.join("migrate.yaml"), "text")?;
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(good.out.contains("sound by itself"), "{}", good.out);
    assert_eq!(check(&examples.join("migrate.yaml"), "json")?.out.trim(), "[]");
    assert_eq!(check(&examples.join("migrate.yaml"), "github")?.out, "");

    let file = broken.join("duplicate-key.yaml");
    let text = check(&file, "text")?;
    assert_eq!(text.code, Some(1));
    assert!(
        text.out.contains("error[duplicate-key]") && text.out.contains("help:"),
        "{}",
        text.out
    );
    let found: Value = serde_json::from_str(&check(&file, "json")?.out)?;
    assert_eq!(found.pointer("/0/code"), Some(&json!("duplicate-key")), "{found}");
    let annotated = check(&file, "github")?;
    assert_eq!(annotated.code, Some(1));
    assert!(annotated.out.starts_with("::error file="), "{}", annotated.out);
    let missing = check(Path::new("/no/such.yaml"), "text")?;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("cannot read /no/such.yaml"), "{}", missing.err);

    // Against the operator's ceiling.
    let operator = examples.join("broker.yaml").display().to_string();
    let wide = broken.join("exceeds-ceiling.yaml").display().to_string();
    let repository = "acme/orders";
    let bounded = [
        "policy",
        "check",
        &wide,
        "--operator",
        &operator,
        "--repository",
        repository,
    ];
    let beyond = said(&mut alone(&bounded))?;
    assert_eq!(beyond.code, Some(1), "{}{}", beyond.out, beyond.err);
    assert!(
        beyond.out.contains("error[exceeds-ceiling]"),
        "{}{}",
        beyond.out,
        beyond.err
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_listed_replayed_and_verified() -> Result<()> {
    let house = House::start().await?;
    let script = "$PSQL -X -c 'SELECT id FROM app.orders WHERE id < 4' -c 'DROP TABLE app.orders'; true";
    assert_eq!(
        said(&mut job(&house, &["run", "--scope", "read", "--", "sh", "-c", script]))?.code,
        Some(0)
    );
    let state = house.path("state").display().to_string();
    let read = |arguments: &[&str]| said(alone(arguments).env("HOOP_STATE", &state));

    let sessions = house.ended_sessions(&[])?;
    let listed = read(&["sessions", "list", "--denied"])?;
    assert_eq!(listed.out.lines().count(), 2, "{}{}", listed.out, listed.err);
    assert!(listed.out.contains("acme/orders (read)"), "{}", listed.out);
    assert_eq!(
        read(&["sessions", "list", "--repository", "acme/other"])?.out,
        "no sessions\n"
    );
    let id = sessions[0]["session"].as_str().context("no session")?;
    let shown = read(&["sessions", "show", id])?;
    assert!(
        shown.out.contains("workflow") && shown.out.contains("1 sent, 1 denied"),
        "{}",
        shown.out
    );
    let replayed = read(&["sessions", "replay", id])?;
    assert!(
        replayed.out.contains("SELECT id FROM app.orders WHERE id < 4"),
        "{}",
        replayed.out
    );
    assert!(
        replayed
            .out
            .contains("DENIED class-not-allowed by .hoop/db-access.yaml:"),
        "{}",
        replayed.out
    );
    let nobody = read(&["sessions", "show", "session_00000000000000000000000000000000"])?;
    assert_eq!(nobody.code, Some(1), "{}{}", nobody.out, nobody.err);

    let whole = read(&["ledger", "verify"])?;
    assert!(
        whole.code == Some(0) && whole.out.contains("the ledger verifies: "),
        "{}{}",
        whole.out,
        whole.err
    );
    let report: Value = serde_json::from_str(&read(&["ledger", "verify", "--json"])?.out)?;
    assert!(report["records"].as_u64() > Some(0), "{report}");
    // The head follows the chain within moments; what is behind it could be cut off unnoticed, as the documents say.
    until("the head at the last record", || {
        let report = read(&["ledger", "verify", "--json"]).map(|verified| verified.out);
        report.is_ok_and(|text| {
            let report: Value = serde_json::from_str(&text).unwrap_or_default();
            report["records"].is_u64() && report["records"] == report["head"]
        })
    });
    // Every way to damage a copy is found: a flipped bit, a record taken out, the end cut off.
    let original = house.path("state").join("ledger");
    let segment = fs::read(original.join("chain/00000001.log"))?;
    let lines: Vec<&[u8]> = segment.split_inclusive(|&byte| byte == b'\n').collect();
    let mut flipped = segment.clone();
    flipped[segment.len() / 3] ^= 1;
    let without = [&lines[..4], &lines[5..]].concat().concat();
    let cut = lines[..lines.len() - 1].concat();
    for (damage, bytes) in [("flipped", flipped), ("without", without), ("cut", cut)] {
        let copy = house.path(damage);
        fs::create_dir(&copy)?;
        assert!(
            Command::new("cp")
                .arg("-r")
                .args([&original, &copy])
                .status()?
                .success()
        );
        fs::write(copy.join("ledger/chain/00000001.log"), bytes)?;
        let found = read(&["ledger", "verify", "--state", &copy.display().to_string()])?;
        assert_eq!(found.code, Some(1), "{damage}: {}", found.out);
        assert!(
            found.err.contains("the ledger does not verify: "),
            "{damage}: {}",
            found.err
        );
    }
    let nowhere = read(&["ledger", "verify", "--state", "/no/such/state"])?;
    assert_eq!(nowhere.code, Some(1), "{}{}", nowhere.out, nowhere.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_ends_what_it_names() -> Result<()> {
    let house = House::start().await?;
    let (first, second) = (house.grant("read").await?, house.grant("migrate").await?);
    let client = house.connect(&first).await?;
    let with = |token: &str, arguments: &[&str]| {
        let mut command = house.command(&[&["kill"], arguments].concat());
        said(
            command
                .env("HOOP_BROKER_URL", &house.url)
                .env("HOOP_CA", house.path("ca.pem"))
                .env("HOOP_OPERATOR_TOKEN", token),
        )
    };
    let stranger = with("not-the-token", &["--scope", "read"])?;
    assert_eq!(stranger.code, Some(1));
    assert!(stranger.err.contains("not-the-operator"), "{}", stranger.err);
    assert_eq!(
        with("operator-token-of-the-tests", &[])?.code,
        Some(2),
        "something must be named"
    );
    let killed = with("operator-token-of-the-tests", &["--scope", "read"])?;
    assert_eq!(killed.code, Some(0), "{}", killed.err);
    let answer: Value = serde_json::from_str(&killed.out)?;
    assert_eq!(answer, json!({ "count": 1, "grants": [first.id()] }));
    assert!(client.simple_query("SELECT 1").await.is_err() && house.connect(&first).await.is_err());
    assert!(house.connect(&second).await.is_ok(), "the other scope goes on");
    Ok(())
}

#[test]
fn completions_and_man_pages_are_made() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&mut alone(&["completions", shell]))?;
        assert!(
            script.code == Some(0) && script.out.contains("whoami"),
            "{shell}: {}",
            script.err
        );
    }
    let folder = tempfile::tempdir()?;
    let made = said(&mut alone(&["man", &folder.path().display().to_string()]))?;
    assert_eq!(made.code, Some(0), "{}", made.err);
    for page in ["hoop-db.1", "hoop-db-run.1", "hoop-db-policy-check.1"] {
        assert!(fs::read_to_string(folder.path().join(page))?.contains(".TH"), "{page}");
    }
    Ok(())
}
