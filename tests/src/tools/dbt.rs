//! dbt-postgres: seed, views, tables, incremental models, materialized views, snapshots, tests, documentation.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Job, Mode, house, installed, script};

/// What the models say of the shop as it is.
const REVENUE: &str = "SELECT string_agg(code || ' ' || amount, ', ' ORDER BY code) FROM analytics.revenue";

/// Builds the project, changes what it reads, and builds it twice more.
pub async fn dbt(mode: Mode) -> Result<()> {
    let house = house(mode).await?;
    let job = Job::new(&house, "dbt").await?;
    let dbt = |arguments: &[&str]| {
        let mut command = Command::new(installed("dbt/bin/dbt"));
        command
            .arg("--no-version-check")
            .args(arguments)
            .current_dir(script("dbt"))
            .env("DBT_PROFILES_DIR", script("dbt"))
            .env("DBT_TARGET_PATH", job.temporary("dbt-target"))
            .env("DBT_LOG_PATH", job.temporary("dbt-logs"));
        command
    };
    // It makes its schema, and every kind of relation, from nothing.
    job.run(&mut dbt(&["build"]))?;
    job.holds(REVENUE, "AT 553.50, CH 693.00, DE 666.00").await?;
    let kinds = "SELECT string_agg(relname || ' ' || relkind::text, ', ' ORDER BY relname COLLATE \"C\") FROM pg_class \
                 WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'v', 'm')";
    let all = "countries r, customers_history r, events r, large r, ledger r, orders_clean v, revenue r, totals m";
    job.holds(kinds, all).await?;
    let comment = "SELECT obj_description('analytics.orders_clean'::regclass)";
    job.holds(comment, "Orders with their country; it's a view.").await?;

    // Rows that are new, changed and gone; then a column more in the incremental model.
    for sql in [
        "INSERT INTO app.orders (id, customer_id, amount) VALUES (1001, 2, 1000), (1002, 3, 500)",
        "UPDATE app.customers SET email = 'new@example.test' WHERE id = 1",
        "UPDATE app.orders SET amount = 1 WHERE id = 50",
    ] {
        job.direct.batch_execute(sql).await?;
    }
    job.run(&mut dbt(&["build", "--vars", "{wide: true}"]))?;
    job.holds(REVENUE, "AT 1053.50, CH 1619.00, DE 666.00").await?;
    let events = "SELECT count(*) || ' ' || count(channel) || ' ' || count(DISTINCT id) FROM analytics.events";
    job.holds(events, "52 7 52").await?;
    let history = "SELECT count(*) || ' ' || count(dbt_valid_to) FROM analytics.customers_history";
    job.holds(history, "21 1").await?;
    if mode == Mode::Shared {
        // Nothing new: the same again.
        job.run(&mut dbt(&["build", "--vars", "{wide: true}"]))?;
        job.holds(events, "52 7 52").await?;
        job.holds(history, "21 1").await?;
        job.run(&mut dbt(&[
            "build",
            "--full-refresh",
            "--exclude",
            "resource_type:test",
        ]))?;
        job.holds(kinds, all).await?;
        job.run(&mut dbt(&["docs", "generate"]))?;
    }
    job.nothing_refused()?;

    let mut curious = dbt(&["show", "--inline", "select token from app.card_tokens"]);
    let said = job.fails(&mut curious)?;
    ensure!(
        said.contains("denied by broker.yaml:") && said.contains("app.card_tokens"),
        "{said}"
    );
    ensure!(!said.contains("SECRET"), "{said}");
    Ok(())
}
