//! Python: psycopg 3, asyncpg, Alembic.

use std::process::Command;

use anyhow::Result;
use tests::House;

use crate::{python, report, script};

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let seen = report(&house, &grant, Command::new(python()).arg(script("with_psycopg.py")))?;
    println!("{seen}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let seen = report(&house, &grant, Command::new(python()).arg(script("with_asyncpg.py")))?;
    println!("{seen}");
    Ok(())
}
