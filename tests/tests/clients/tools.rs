//! Migration tools and dumps with the preset made for them, and rules for nothing but the application's own tables.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use tests::House;
use tests::house::{Plan, root, run};
use tests::tools::{Mode, migrate};

use crate::{client, node, nothing_refused, python, recorded, report, script};

async fn house() -> Result<House> {
    House::plan(Plan {
        policy: include_str!("../../fixtures/presets.yaml").to_owned(),
        extra: include_str!("../../fixtures/preset-ceilings.yaml").to_owned(),
        ..Plan::default()
    })
    .await
}

/// The folder of npm packages that `tests/setup.sh test` installs.
fn packages() -> PathBuf {
    let path = root().join(".tools/npm/package.json");
    assert!(path.exists(), "{} is missing: tests/setup.sh test", path.display());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn alembic_works_with_its_preset() -> Result<()> {
    let house = house().await?;
    let grant = house.grant("alembic").await?;
    for arguments in [
        &["upgrade", "head"][..],
        &["current"],
        &["check"],
        &["downgrade", "base"],
        &["upgrade", "head"],
    ] {
        let mut command = Command::new(python());
        command
            .args(["-m", "alembic", "-c"])
            .arg(script("alembic/alembic.ini"))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        client(&house, &grant, &mut command, "")?;
    }
    nothing_refused(&house, &grant)?;
    recorded(&house, &grant, &[("CREATE TABLE app.alembic_version", "CREATE TABLE")])
}

#[tokio::test(flavor = "multi_thread")]
async fn django_works_with_its_preset() -> Result<()> {
    let house = house().await?;
    let grant = house.grant("django").await?;
    let seen = report(&house, &grant, Command::new(python()).arg(script("with_django.py")))?;
    for part in ["orm", "introspection", "constraints", "flushed", "denied"] {
        assert_eq!(seen[part], true, "{part}: {seen}");
    }
    recorded(
        &house,
        &grant,
        &[("CREATE TABLE \"django_migrations\"", "CREATE TABLE")],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn knex_works_with_its_preset() -> Result<()> {
    let house = house().await?;
    let grant = house.grant("knex").await?;
    let seen = report(&house, &grant, node().arg(script("with_knex.mjs")).arg(packages()))?;
    assert_eq!(seen["version"], "0002", "{seen}");
    assert_eq!(seen["old"], 2, "{seen}");
    assert!(seen["columns"].to_string().contains("order_id"), "{seen}");
    assert!(seen["denied"].to_string().contains("denied by broker.yaml"), "{seen}");
    recorded(
        &house,
        &grant,
        &[("insert into \"app\".\"knex_migrations\"", "INSERT 0 1")],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn node_pg_migrate_works_with_its_preset() -> Result<()> {
    let house = house().await?;
    let grant = house.grant("node-pg-migrate").await?;
    let mut command = node();
    command.arg(script("with_node_pg_migrate.mjs")).arg(packages());
    let seen = report(&house, &grant, &mut command)?;
    assert_eq!(seen["up"], seen["down"], "{seen}");
    nothing_refused(&house, &grant)?;
    recorded(&house, &grant, &[("CREATE TRIGGER", "CREATE TRIGGER")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_allowed_tables_is_restored() -> Result<()> {
    let house = house().await?;
    let direct = house.direct().await?;
    let grant = house.grant("dump").await?;
    let mut dump = Command::new(house.cluster.bin("pg_dump"));
    dump.args([
        "--no-owner",
        "--no-privileges",
        "-t",
        "app.orders",
        "-t",
        "app.order_lines",
    ]);
    let text = client(&house, &grant, &mut dump, "")?;
    assert!(text.contains("COPY app.orders ") && text.contains("setval("), "{text}");
    nothing_refused(&house, &grant)?;
    // A table that the scope may not read is not dumped.
    let mut more = Command::new(house.cluster.bin("pg_dump"));
    let more = more.args(["-t", "app.card_tokens"]).envs(house.libpq(&grant));
    let (success, stdout, stderr) = run(more, "")?;
    assert!(
        !success && stderr.contains("denied by") && !stdout.contains("SECRET"),
        "{stderr}"
    );

    direct.batch_execute("DROP TABLE app.order_lines, app.orders").await?;
    let grant = house.grant("restore").await?;
    let mut psql = Command::new(house.cluster.bin("psql"));
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
    client(&house, &grant, &mut psql, &text)?;
    let row = direct
        .query_one(
            "SELECT count(*), nextval('app.orders_id_seq') FROM app.orders JOIN app.order_lines ON order_id = id",
            &[],
        )
        .await?;
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (50, 51));
    nothing_refused(&house, &grant)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flyway_sends_works_with_its_preset() -> Result<()> {
    migrate::flyway(Mode::Shared).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flyway_sends_works_where_postgresql_enforces_as_well() -> Result<()> {
    migrate::flyway(Mode::Role).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_golang_migrate_sends_works_with_its_preset() -> Result<()> {
    migrate::golang_migrate(Mode::Shared).await
}

#[tokio::test(flavor = "multi_thread")]
async fn active_record_works_with_its_preset() -> Result<()> {
    migrate::rails(Mode::Shared).await
}

#[tokio::test(flavor = "multi_thread")]
async fn active_record_works_where_postgresql_enforces_as_well() -> Result<()> {
    migrate::rails(Mode::Role).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prisma_works_with_its_preset() -> Result<()> {
    migrate::prisma(Mode::Shared).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_golang_migrate_sends_works_where_postgresql_enforces_as_well() -> Result<()> {
    migrate::golang_migrate(Mode::Role).await
}

#[tokio::test(flavor = "multi_thread")]
async fn prisma_works_where_postgresql_enforces_as_well() -> Result<()> {
    migrate::prisma(Mode::Role).await
}
