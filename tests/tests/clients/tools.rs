//! Migration tools and dumps with the preset made for them, and rules for nothing but the application's own tables.

use std::process::Command;

use anyhow::Result;
use tests::house::run;
use tests::tools::{self, Mode, migrate};

use crate::{client, nothing_refused};

/// The same tool where the broker alone enforces, and where PostgreSQL does as well.
macro_rules! in_both {
    ($($name:ident: $tool:path,)*) => {
        $(mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn works_with_its_preset() -> Result<()> {
                $tool(Mode::Shared).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn works_where_postgresql_enforces_as_well() -> Result<()> {
                $tool(Mode::Role).await
            }
        })*
    };
}

in_both! {
    active_record: migrate::rails,
    alembic: migrate::alembic,
    django: migrate::django,
    knex: migrate::knex,
    liquibase: migrate::liquibase,
    node_pg_migrate: migrate::node_pg_migrate,
    prisma: migrate::prisma,
    sequelize_typeorm_and_drizzle: migrate::without_a_preset,
    what_flyway_sends: migrate::flyway,
    what_golang_migrate_sends: migrate::golang_migrate,
    what_sqlx_sends: migrate::sqlx,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_allowed_tables_is_restored() -> Result<()> {
    let house = tools::house(Mode::Shared).await?;
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
