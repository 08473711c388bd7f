//! Java: pgjdbc, from the package that Liquibase comes in.

use std::process::Command;

use anyhow::Result;
use tests::roles::masked;
use tests::tools::{self, Mode, java};
use tests::{Grant, House};

use crate::{masks, recorded, report, script};

/// Runs the probe, which has to see each of `parts`.
fn sees(house: &House, grant: &Grant, arguments: &[&str], parts: &[&str]) -> Result<()> {
    let mut command: Command = java();
    let seen = report(house, grant, command.arg(script("Jdbc.java")).args(arguments))?;
    for part in parts {
        assert_eq!(seen[*part], true, "{part}: {seen}");
    }
    Ok(())
}

async fn pgjdbc(mode: Mode) -> Result<()> {
    let house = tools::house(mode).await?;
    let grant = house.grant("driver").await?;
    let parts = [
        "prepared on the server",
        "read write again",
        "refused with autosave",
        "fetch size",
        "refused in a batch",
        "generated keys",
        "metadata",
        "refused copy in",
        "cancel",
        "listen",
        "pool",
        "lastval",
    ];
    sees(&house, &grant, &[], &parts)?;
    recorded(
        &house,
        &grant,
        &[
            ("SELECT id, amount, note, now() > $1 FROM app.orders", "SELECT 1"),
            ("COPY app.notes FROM STDIN", "COPY 2000"),
            ("DISCARD ALL", "DISCARD ALL"),
        ],
    )
}

async fn masked_values(enforcement: &'static str) -> Result<()> {
    let house = masks::house(masked(enforcement)).await?;
    let grant = house.grant("masked").await?;
    sees(
        &house,
        &grant,
        &["masks"],
        &["masks", "masked cursor", "copy out", "masked after DISCARD ALL"],
    )?;
    tools::nothing_refused(&house, &grant)
}

#[tokio::test(flavor = "multi_thread")]
async fn pgjdbc_works() -> Result<()> {
    pgjdbc(Mode::Shared).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pgjdbc_works_where_postgresql_enforces_as_well() -> Result<()> {
    pgjdbc(Mode::Role).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pgjdbc_sees_masked_values_in_either_format() -> Result<()> {
    masked_values("shared").await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_the_database_keeps_the_masks() -> Result<()> {
    masked_values("role").await
}
