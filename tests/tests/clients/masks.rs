//! Masked tables through real clients and object mappers, and a dump of one that restores.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use tests::house::MASK_KEY;
use tests::roles::{admin, keyed, masked};
use tests::{House, Plan};

use crate::{client, nothing_refused, python, report, script};

/// Within this time a broker has read what was changed in its policies.
const SOON: Duration = Duration::from_secs(60);

/// The masks' own tables, under a scope that may ask the catalogs what a client asks.
pub async fn house(mut plan: Plan) -> Result<House> {
    plan.policy = plan.policy.replace(
        "    can:\n",
        "    can:\n      - { preset: introspection/clients }\n      - { preset: introspection/pg-dump }\n      \
         - { statements: [lock], tables: [crm.people] }\n",
    );
    House::plan(plan).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_mappers_see_masked_values_in_their_own_types() -> Result<()> {
    clients_and_mappers(house(masked("shared")).await?, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_where_the_database_keeps_the_masks() -> Result<()> {
    clients_and_mappers(house(masked("role")).await?, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_masks_with_a_key_join_and_group_in_mappers() -> Result<()> {
    let mut plan = keyed();
    plan.policy = plan.policy.replace(
        "      crm.people.email:",
        "      crm.orders.note: { email: stable }\n      crm.people.email:",
    );
    clients_and_mappers(house(plan).await?, &["keyed"]).await
}

async fn clients_and_mappers(house: House, arguments: &[&str]) -> Result<()> {
    let grant = house.grant("masked").await?;
    let mut command = Command::new(python());
    command
        .arg(script("with_masks.py"))
        .args(arguments)
        .env("MASK_KEY", MASK_KEY)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let seen = report(&house, &grant, &mut command)?;
    let parts = [
        "psycopg binary thrice",
        "psycopg copy (FORMAT binary) masked",
        "asyncpg twice",
    ];
    let mapped = if arguments.is_empty() {
        ["sqlalchemy upserts", "django upserts"]
    } else {
        ["sqlalchemy token joins", "django token joins"]
    };
    for part in parts.iter().chain(&mapped) {
        assert_eq!(seen[*part], true, "{part}: {seen}");
    }
    // What was written is there, and what is masked was not touched.
    let direct = admin(&house).await?;
    let row = direct
        .query_one("SELECT name, email::text FROM crm.people WHERE id = 1", &[])
        .await?;
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, String>(1)),
        ("Anne".to_owned(), "ann.canary@corp.example".to_owned())
    );
    nothing_refused(&house, &grant)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_a_masked_table_restores_with_masks() -> Result<()> {
    dump_restores("shared").await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_the_database_keeps_the_masks() -> Result<()> {
    dump_restores("role").await
}

async fn dump_restores(enforcement: &'static str) -> Result<()> {
    let house = house(masked(enforcement)).await?;
    // The dump reads every column that is not computed, so the scope has to.
    let policy = std::fs::read_to_string(house.path("policies/acme/orders/db-access.yaml"))?;
    house.write_policy(&policy.replace(", upper_name]", ", upper_name, secret]").replace(
        "      crm.people.tags: nullify\n",
        "      crm.people.tags: nullify\n      crm.people.secret: { fixed: \"hidden\" }\n",
    ))?;
    house
        .cluster
        .psql("shop", "UPDATE crm.people SET email = NULL WHERE id = 2")?;
    let mut dump = Command::new(house.cluster.bin("pg_dump"));
    dump.args(["--no-owner", "--no-privileges", "-t", "crm.people"]);
    let began = Instant::now();
    let text = loop {
        let grant = house.grant("masked").await?;
        match client(&house, &grant, &mut dump, "") {
            Ok(text) => {
                nothing_refused(&house, &grant)?;
                break text;
            }
            // Until the broker has read the policy: it ends grants of the one before, too.
            Err(_) if began.elapsed() < SOON => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    };
    assert!(text.contains("COPY crm.people (id, name, email"), "{text}");
    for raw in ["canary", "s3cr3t", "4111-1111", "1234.56", "05-17"] {
        // The default of a column is part of the schema, which everybody may read.
        let data = text.split_once("\nCOPY ").map_or("", |(_, data)| data);
        assert!(!data.contains(raw), "{raw}: {data}");
    }
    // Somewhere else, where the types are.
    let types = "CREATE DATABASE elsewhere";
    house.cluster.psql("postgres", types)?;
    house.cluster.psql(
        "elsewhere",
        "CREATE SCHEMA crm; CREATE DOMAIN crm.address AS varchar(80) CHECK (VALUE LIKE '%@%'); CREATE TYPE crm.mood AS ENUM ('calm', 'cross')",
    )?;
    let file = house.path("people.sql");
    std::fs::write(&file, &text)?;
    house.cluster.psql("elsewhere", &format!("\\i {}", file.display()))?;
    assert_eq!(
        house.cluster.psql(
            "elsewhere",
            "SELECT string_agg(concat_ws(' ', id, email, card, born, salary, secret, upper_name), '; ' ORDER BY id) FROM crm.people"
        )?,
        "1 x***@example.test ***************1234 1980-01-01 1000.00 hidden ANN; 2 ***************9999 1990-01-01 7000.00 hidden BOB"
    );
    Ok(())
}
