//! The GitHub Action against the real broker: its own real-broker suite, run as a runner would run it.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use tests::House;
use tests::house::{AUDIENCE, root};

#[tokio::test(flavor = "multi_thread")]
async fn the_action_and_the_broker_agree() -> Result<()> {
    let house = House::start().await?;
    let folder = root().join("action");
    if !folder.join("node_modules").is_dir() {
        let install = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .output()?;
        if !install.status.success() {
            bail!("npm ci failed:\n{}", String::from_utf8_lossy(&install.stderr));
        }
    }
    let output = Command::new("npm")
        .args(["run", "--silent", "test:real"])
        .current_dir(&folder)
        .env("HOOP_TEST_BROKER_URL", &house.url)
        .env("HOOP_TEST_TOKEN_URL", house.github.request_url())
        .env("HOOP_TEST_TOKEN", house.github.request_token().expose())
        .env("HOOP_TEST_SCOPE", "read")
        .env("HOOP_TEST_CA", house.path("ca.pem"))
        .env("HOOP_TEST_AUDIENCE", AUDIENCE)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}\n{}", house.broker_log());
    // Five tests ran: a suite that skipped itself would be green too.
    assert!(said.contains("5 passed"), "{said}");

    // What the action did is in the record: both sessions with a refused statement, under the action's repository.
    let sessions = house.ended_sessions(&["--denied"])?;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(sessions[0]["repository"], "acme/orders");
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}
