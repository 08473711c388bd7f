//! Python: psycopg 3, asyncpg, Alembic.

use std::process::Command;

use anyhow::Result;
use tests::House;

use crate::{client, nothing_refused, python, recorded, report, script};

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let seen = report(&house, &grant, Command::new(python()).arg(script("with_psycopg.py")))?;
    assert!(
        [
            "notify",
            "pipeline",
            "copy out",
            "cancel_safe",
            "prepared on the server"
        ]
        .iter()
        .all(|part| seen[part] == true),
        "{seen}"
    );
    recorded(
        &house,
        &grant,
        &[
            ("SELECT id, amount, note FROM app.orders", "SELECT 1"),
            ("COPY app.notes", "COPY 2000"),
            ("LISTEN", "LISTEN"),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let seen = report(&house, &grant, Command::new(python()).arg(script("with_asyncpg.py")))?;
    assert!(
        ["notify", "introspection", "copy records", "cursor", "pool"]
            .iter()
            .all(|part| seen[part] == true),
        "{seen}"
    );
    recorded(
        &house,
        &grant,
        &[
            (
                "SELECT id FROM app.orders WHERE id > $1 ORDER BY id LIMIT 3",
                "SELECT 3",
            ),
            ("COPY", "COPY 5000"),
            ("RESET ALL", "RESET"),
        ],
    )
}

/// What its pool sends between two uses of a connection says UNLISTEN, which takes no rule.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_asyncpg_needs_no_rule_but_for_its_tables() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("read").await?;
    let mut command = Command::new(python());
    let seen = report(&house, &grant, command.arg(script("with_asyncpg.py")).arg("pools"))?;
    assert_eq!(seen["pool"], true, "{seen}");
    nothing_refused(&house, &grant)?;
    recorded(
        &house,
        &grant,
        &[("UNLISTEN *", "UNLISTEN"), ("CLOSE ALL", "CLOSE CURSOR ALL")],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn alembic_migrates_from_zero_to_head_and_back() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let config = script("alembic/alembic.ini");
    let alembic = |arguments: &[&str]| {
        let mut command = Command::new(python());
        command
            .args(["-m", "alembic", "-c"])
            .arg(&config)
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        client(&house, &grant, &mut command, "")
    };
    let direct = house.direct().await?;
    let count = async |sql: &str| anyhow::Ok(direct.query_one(sql, &[]).await?.get::<_, i64>(0));

    alembic(&["upgrade", "head"])?;
    assert!(alembic(&["current"])?.contains("0003 (head)"));
    assert_eq!(
        count("SELECT count(*) FROM app.invoices WHERE state = 'open'").await?,
        50
    );
    assert_eq!(
        count("SELECT count(*) FROM pg_indexes WHERE indexname = 'invoices_by_order'").await?,
        1
    );
    let refused = direct
        .execute("UPDATE app.invoices SET state = 'lost'", &[])
        .await
        .unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("23514"));
    assert!(alembic(&["check"])?.contains("No new upgrade operations detected"));

    alembic(&["downgrade", "base"])?;
    assert_eq!(
        count("SELECT count(*) FROM pg_class WHERE relname = 'invoices'").await?,
        0
    );
    assert_eq!(count("SELECT count(*) FROM app.alembic_version").await?, 0);
    alembic(&["upgrade", "head"])?;
    assert_eq!(count("SELECT count(*) FROM app.invoices").await?, 50);
    recorded(
        &house,
        &grant,
        &[
            ("CREATE TABLE app.invoices", "CREATE TABLE"),
            ("DROP TABLE app.invoices", "DROP TABLE"),
        ],
    )
}
