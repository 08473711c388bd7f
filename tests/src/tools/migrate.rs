//! Tools that migrate schemas: from nothing to head, again, and back where they can.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Job, Mode, copy, house, installed, java, node, python, report, script};

/// Every order has its invoice.
const INVOICES: &str =
    "SELECT count(*) || ' ' || sum(i.amount) FROM app.invoices i JOIN app.orders o ON o.id = i.order_id";
const ALL: &str = "50 1912.50";

impl Job<'_> {
    /// Runs a script that reports what it saw, and nothing but `refusals` of whose statements is refused.
    fn reports(&self, command: &mut Command, refusals: u64) -> Result<Value> {
        let seen = report(self.house, &self.grant, command)?;
        let refused: u64 = super::sessions(self.house, &self.grant)?
            .iter()
            .filter_map(|session| session["denied"].as_u64())
            .sum();
        ensure!(
            refused == refusals,
            "{refused} refused: {:#?}",
            super::refused(self.house, &self.grant)?
        );
        Ok(seen)
    }
}

/// `seen` is `wanted` in each of its keys.
fn saw(seen: &Value, wanted: Value) -> Result<()> {
    for (key, value) in wanted.as_object().context("not an object")? {
        ensure!(seen[key] == *value, "{key}: {seen}");
    }
    Ok(())
}

/// Liquibase with XML, SQL and YAML: there, again, two steps back, there again, and one that is refused.
pub async fn liquibase(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "liquibase").await?;
    let mut command = java();
    command
        .arg(script("Liquibase.java"))
        .env("FOLDER", script("liquibase"))
        .args([
            "validate",
            "status --verbose",
            "update",
            "update",
            "rollback-count --count=2",
        ])
        .args([
            "update",
            "tag --tag=v1",
            "history",
            "!update --changelog-file=refused.xml",
        ]);
    // It asks for its table before that is there, and is told so.
    let seen = job.reports(&mut command, 2)?;
    let said = |key: &str, words: &str| {
        let text = seen[key].as_str().unwrap_or_default();
        ensure!(text.contains(words), "{key}: not {words:?} but {text}");
        Ok(())
    };
    said("1 status --verbose", "4 changesets have not been applied")?;
    said("3 update", "Database is up to date")?;
    said("4 rollback-count --count=2", "Rolling Back Changeset: data.sql::3")?;
    said("7 history", "v1")?;
    said("8 !update --changelog-file=refused.xml", "denied by broker.yaml:")?;
    job.holds(INVOICES, ALL).await?;
    job.holds(
        "SELECT string_agg(locked::text, '') FROM app.databasechangeloglock",
        "false",
    )
    .await?;
    job.holds("SELECT count(*)::text FROM app.invoices WHERE state = 'sent'", "10")
        .await?;
    job.recorded(&[("INSERT INTO app.databasechangelog ", "INSERT 0 1")])
}

/// What Flyway sends, replayed: no package registry carries its jar.
pub async fn flyway(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "flyway").await?;
    let seen = job.reports(Command::new(python()).arg(script("with_flyway.py")), 1)?;
    saw(
        &seen,
        json!({ "first": 2, "again": 0, "applied": 3, "transactional lock": true, "clean asks": true }),
    )?;
    ensure!(
        seen["another role"]
            .to_string()
            .contains("as: in a rule names the owner"),
        "{seen}"
    );
    job.holds(INVOICES, ALL).await?;
    job.holds(
        "SELECT string_agg(version || ' ' || description, ', ' ORDER BY installed_rank) FROM app.flyway_schema_history",
        "0 << Flyway Baseline >>, 1 invoices, 2 states of invoices",
    )
    .await
}

/// What golang-migrate sends, replayed: no package registry at hand carries it.
pub async fn golang_migrate(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "golang-migrate").await?;
    let seen = job.reports(Command::new(python()).arg(script("with_golang_migrate.py")), 1)?;
    saw(
        &seen,
        json!({ "first": 2, "again": 0, "back": 1, "zero": null, "head": 2 }),
    )?;
    ensure!(seen["missing"].to_string().contains("does not exist"), "{seen}");
    job.holds(INVOICES, ALL).await?;
    job.holds(
        "SELECT string_agg(version || ' ' || dirty, ', ') FROM app.schema_migrations",
        "2 false",
    )
    .await
}

/// Active Record's migrations, with the machine's Ruby.
pub async fn rails(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "rails").await?;
    let seen = job.reports(Command::new("ruby").arg(script("with_rails.rb")), 1)?;
    let head = 20_240_101_000_003_u64;
    saw(
        &seen,
        json!({ "pending": true, "head": head, "again": 0, "status": ["up"], "paid": 2, "dumped": true, "back": head - 2, "zero": 0 }),
    )?;
    ensure!(seen["denied"].to_string().contains("denied by broker.yaml:"), "{seen}");
    // Removed and made again: the rows came from the orders once more.
    job.holds(&INVOICES.replace("i.amount", "i.total"), ALL).await?;
    job.holds("SELECT count(*)::text FROM app.schema_migrations", "3").await
}

/// `prisma migrate deploy` and `status`, a migration that fails, `resolve`, and `migrate diff` against the database.
pub async fn prisma(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "prisma").await?;
    let folder = job.temporary("prisma");
    copy(&script("prisma"), &folder)?;
    let prisma = |arguments: &[&str]| {
        let mut command = node();
        command
            .arg(installed("prisma/node_modules/prisma/build/index.js"))
            .args(arguments)
            .args(["--config", "prisma.config.mjs"])
            .current_dir(&folder)
            .env("TOOLS_PACKAGE", installed("prisma/package.json"))
            .env("DATABASE_URL", "postgresql://is-not-used/shop")
            // The native engines would be downloaded, unless something stands in their place.
            .env("PRISMA_QUERY_ENGINE_LIBRARY", installed("prisma/package.json"))
            .env("PRISMA_SCHEMA_ENGINE_BINARY", installed("prisma/package.json"))
            .env("CHECKPOINT_DISABLE", "1");
        command
    };
    // Nothing is applied yet, which `status` tells by its exit.
    let pending = job.fails(&mut prisma(&["migrate", "status"]))?;
    ensure!(
        pending.contains("0001_invoices") && pending.contains("not yet been applied"),
        "{pending}"
    );
    // The shop was there before Prisma: its own way for that is a first migration that counts as applied.
    job.run(&mut prisma(&["migrate", "resolve", "--applied", "0000_baseline"]))?;
    job.run(&mut prisma(&["migrate", "deploy"]))?;
    job.holds(INVOICES, ALL).await?;
    ensure!(
        job.run(&mut prisma(&["migrate", "deploy"]))?
            .contains("No pending migrations")
    );
    ensure!(job.run(&mut prisma(&["migrate", "status"]))?.contains("up to date"));

    let broken = folder.join("migrations/0003_broken");
    std::fs::create_dir(&broken)?;
    std::fs::write(broken.join("migration.sql"), "DROP TABLE \"app\".\"card_tokens\";\n")?;
    let refused = job.fails(&mut prisma(&["migrate", "deploy"]))?;
    ensure!(refused.contains("denied by broker.yaml:"), "{refused}");
    std::fs::remove_dir_all(&broken)?;
    job.holds("SELECT count(*)::text FROM app.card_tokens", "1").await
}

/// Alembic: there, what it says of where it is, back, and there again.
pub async fn alembic(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "alembic").await?;
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
        job.run(&mut command)?;
    }
    job.nothing_refused()?;
    job.recorded(&[("CREATE TABLE app.alembic_version", "CREATE TABLE")])
}

/// Django: its own applications there, back and there again, the ORM, introspection, and `flush`.
pub async fn django(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "django").await?;
    let seen = job.reports(Command::new(python()).arg(script("with_django.py")), 1)?;
    saw(
        &seen,
        json!({ "orm": true, "introspection": true, "constraints": true, "flushed": true, "denied": true }),
    )?;
    // The flush starts sequences again.
    job.holds("SELECT last_value || ' ' || is_called FROM auth_user_id_seq", "1 false")
        .await?;
    job.recorded(&[("CREATE TABLE \"django_migrations\"", "CREATE TABLE")])
}

/// Knex: latest, rollback of all, latest, and queries.
pub async fn knex(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "knex").await?;
    let mut command = node();
    command.arg(script("with_knex.mjs")).arg(installed("npm/package.json"));
    let seen = job.reports(&mut command, 1)?;
    saw(&seen, json!({ "version": "0002", "old": 2 }))?;
    ensure!(seen["columns"].to_string().contains("order_id"), "{seen}");
    ensure!(seen["denied"].to_string().contains("denied by broker.yaml"), "{seen}");
    job.recorded(&[("insert into \"app\".\"knex_migrations\"", "INSERT 0 1")])
}

/// node-pg-migrate: a table with a function and a trigger, there, back and there again.
pub async fn node_pg_migrate(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "node-pg-migrate").await?;
    let mut command = node();
    command
        .arg(script("with_node_pg_migrate.mjs"))
        .arg(installed("npm/package.json"));
    let seen = job.reports(&mut command, 0)?;
    ensure!(seen["up"] == seen["down"], "{seen}");
    job.recorded(&[("CREATE TRIGGER", "CREATE TRIGGER")])
}

/// Drizzle, Sequelize and TypeORM, which have no preset.
pub async fn without_a_preset(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "without-a-preset").await?;
    let mut command = node();
    command.arg(script("with_orms.mjs")).arg(installed("orms/package.json"));
    let seen = job.reports(&mut command, 0)?;
    saw(&seen, json!({ "drizzle": 1, "typeorm": [1, 0, 1] }))?;
    ensure!(
        seen["sequelize"]["again"] == 0 && seen["sequelize"]["left"] == 1,
        "{seen}"
    );
    job.holds(
        "SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'invoices_of%'",
        "invoices_of_drizzle, invoices_of_sequelize, invoices_of_typeorm",
    )
    .await
}

/// What sqlx sends, replayed: building it takes longer than everything else that is tested.
pub async fn sqlx(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "sqlx").await?;
    let seen = job.reports(Command::new(python()).arg(script("with_sqlx.py")), 0)?;
    saw(&seen, json!({ "first": 2, "again": 0, "reverted": [2, 1], "head": 2 }))?;
    job.holds(INVOICES, ALL).await?;
    job.holds("SELECT count(*)::text FROM app._sqlx_migrations", "2").await
}
