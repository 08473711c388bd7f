//! node-postgres, from the action's own dependencies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::House;
use tests::house::{root, run};

use crate::{node, recorded, report, script};

/// The action's folder, with node-postgres in it.
pub fn action() -> Result<PathBuf> {
    let folder = root().join("action");
    if !folder.join("node_modules/pg/package.json").exists() {
        let mut command = Command::new("npm");
        let (success, stdout, stderr) = run(command.args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder), "")?;
        ensure!(success, "npm ci: {stdout}{stderr}");
    }
    Ok(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let seen = report(
        &house,
        &grant,
        node().arg(script("with_pg.mjs")).arg(action()?.join("package.json")),
    )?;
    assert!(
        ["queries", "transactions", "notify", "channelBinding", "pool"]
            .iter()
            .all(|part| seen[part] == true),
        "{seen}"
    );
    recorded(
        &house,
        &grant,
        &[
            ("INSERT INTO app.notes", "INSERT 0 1"),
            ("SELECT note FROM app.orders", "SELECT 1"),
        ],
    )
}
