//! What stays of the jobs: sessions that can be replayed, in a ledger that shows when somebody changed it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::stage::{Stage, hear};
use super::teller::Teller;
use crate::cli::ledger::FOLDER;

/// A session of `hoop-db sessions list --json`, as far as the story needs it.
#[derive(serde::Deserialize)]
struct Listed {
    session: String,
    scope: Option<String>,
    executions: u64,
    denied: u64,
}

/// Lists the sessions and replays them.
pub(super) async fn sessions(stage: &Stage, teller: &mut Teller<'_>) -> Result<()> {
    teller.step("Every session is on record, and can be replayed")?;
    settled(stage).await?;
    teller.command("hoop-db sessions list")?;
    teller.output(&hear(stage.operator(&["sessions", "list"])).await?.text)?;
    let listed = hear(stage.operator(&["sessions", "list", "--json"])).await?;
    let listed: Vec<Listed> = serde_json::from_str(&listed.text).context("the list of sessions is not JSON")?;
    for (scope, part) in [("migrate", "CREATE TABLE app.returns"), ("read", "DENIED")] {
        let of_scope = listed.iter().filter(|one| one.scope.as_deref() == Some(scope));
        let Some(session) = of_scope.max_by_key(|one| one.executions + one.denied) else {
            teller.expect(false, &format!("the session of {scope} is on record"))?;
            continue;
        };
        let id = session.session.as_str();
        teller.command(&format!("hoop-db sessions replay {id}"))?;
        let said = hear(stage.operator(&["sessions", "replay", id])).await?;
        teller.output(&said.text)?;
        let whole = said.status.success() && said.text.contains(part);
        teller.expect(whole, &format!("what the job did with {scope}, statement by statement"))?;
    }
    Ok(())
}

/// What the journals hold reaches the chain within moments. Waits until every session's end is there.
async fn settled(stage: &Stage) -> Result<()> {
    for _ in 0..50 {
        let listed = hear(stage.operator(&["sessions", "list"])).await?;
        if listed.text.contains("(read)") && !listed.text.lines().any(|line| line.ends_with("open")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Verifies the ledger; then changes one byte of a copy, and has it found.
pub(super) async fn ledger(stage: &Stage, teller: &mut Teller<'_>) -> Result<()> {
    teller.step("The ledger verifies; one changed byte in a copy of it does not")?;
    teller.command("hoop-db ledger verify")?;
    let said = hear(stage.operator(&["ledger", "verify"])).await?;
    teller.output(&said.text)?;
    teller.expect(
        said.status.success() && said.text.contains("the ledger verifies"),
        "the record is whole",
    )?;

    let copy = stage.path("copy");
    copy_tree(&stage.path("state").join(FOLDER), &copy.join(FOLDER))?;
    let segment = copy.join(FOLDER).join("chain/00000001.log");
    let mut bytes = fs::read(&segment)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("the ledger is empty")? ^= 1;
    fs::write(&segment, bytes)?;
    teller.say(&format!("One bit of byte {middle} of a copy is flipped:"))?;
    let copy = copy.display().to_string();
    teller.command("hoop-db ledger verify --state copy")?;
    let said = hear(stage.operator(&["ledger", "verify", "--state", &copy])).await?;
    teller.output(&said.text)?;
    let found = said.status.code() == Some(1) && said.text.contains("does not verify: chain/00000001.log line ");
    teller.expect(found, "the change is found, and the line it is in")?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
