//! What differs between PostgreSQL 15, 16, 17 and 18 for the broker. `PG_BINDIR` chooses the server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tests::House;
use tests::house::Grant;
use tests::roles::{house, login_of, value};
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(60);

/// Runs what the log says to run, after `asked`.
async fn cured(house: &House, admin: &Client, asked: &str) -> Result<()> {
    let token = house.github.github(&json!({}))?;
    let (code, answer) = house
        .api("POST", "/v1/grants", Some(&token), Some(json!({"scope": "migrate"})))
        .await?;
    assert_eq!(code, 503, "{answer}");
    let log = house.broker_log().replace("\\\"", "\"");
    let (_, cure) = log
        .rsplit_once(asked)
        .with_context(|| format!("{asked} is not in {log}"))?;
    let (cure, _) = cure.split_once(';').context("no end")?;
    admin.batch_execute(&format!("{asked}{cure}")).await?;
    let grant = house.grant("migrate").await?;
    house
        .connect(&grant)
        .await?
        .batch_execute("CREATE TABLE app.cured (); DROP TABLE app.cured")
        .await?;
    house.revoke(&grant).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_say_over_a_role_is_told_the_cure() -> Result<()> {
    let (house, admin) = house().await?;
    if value(&admin, "SHOW server_version_num").await?.parse::<u32>()? < 160_000 {
        println!("skipped: before PostgreSQL 16 CREATEROLE is a say over every role, and memberships have no INHERIT");
        return Ok(());
    }
    let grant = house.grant("migrate").await?;
    let group = group_of(&admin, &grant).await?;
    house.revoke(&grant).await?;
    // As if another broker had made it, with a login of its own.
    admin
        .batch_execute(&format!("REVOKE {group} FROM hoop_broker CASCADE"))
        .await?;
    cured(&house, &admin, &format!("GRANT \"{group}\" TO \"hoop_broker\"")).await?;
    admin
        .batch_execute("GRANT app_owner TO hoop_broker WITH INHERIT FALSE")
        .await?;
    cured(&house, &admin, "GRANT \"app_owner\" TO \"hoop_broker\"").await
}

async fn group_of(admin: &Client, grant: &Grant) -> Result<String> {
    let login = login_of(admin, grant).await?;
    let group = format!(
        "SELECT roleid::regrole FROM pg_auth_members WHERE member = '{login}'::regrole AND roleid::regrole::text LIKE 'hoop\\_g\\_%'"
    );
    value(admin, &group).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_beside_the_rules_is_taken_again() -> Result<()> {
    let (house, admin) = house().await?;
    let grant = house.grant("read").await?;
    let group = group_of(&admin, &grant).await?;
    let newest = value(&admin, "SHOW server_version_num").await?.parse::<u32>()? >= 170_000;
    let more = if newest { ", MAINTAIN" } else { "" };
    admin
        .batch_execute(&format!(
            "GRANT TRIGGER, REFERENCES, DELETE{more} ON app.orders TO {group}; GRANT CREATE ON SCHEMA app TO {group}; \
             GRANT REFERENCES (name) ON app.customers TO {group}"
        ))
        .await?;
    let held = format!(
        "SELECT coalesce(string_agg(a::text, ' '), '') FROM (SELECT unnest(relacl) FROM pg_class UNION ALL SELECT unnest(attacl) FROM pg_attribute \
         UNION ALL SELECT unnest(nspacl) FROM pg_namespace) x(a) WHERE a::text ~ '^{group}=.*[xtmDdC].*/'"
    );
    assert_ne!(value(&admin, &held).await?, "");
    let began = std::time::Instant::now();
    while !value(&admin, &held).await?.is_empty() {
        anyhow::ensure!(began.elapsed() < SOON, "{}", value(&admin, &held).await?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_psql_may_open_with_tls_and_speak_the_newest_protocol() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let psql = house.cluster.bin("psql");
    let version = String::from_utf8(Command::new(&psql).arg("--version").output()?.stdout)?;
    let major = version.split([' ', '.']).find_map(|word| word.parse::<u32>().ok());
    if major.is_none_or(|major| major < 18) {
        println!(
            "skipped: {} knows neither sslnegotiation nor max_protocol_version",
            version.trim()
        );
        return Ok(());
    }
    let output = tokio::task::spawn_blocking({
        let variables = house.libpq(&grant);
        move || {
            let mut psql = Command::new(psql);
            psql.args(["-X", "-A", "-t", "-c", "\\conninfo", "-c", "SELECT 'served'"])
                .envs(variables);
            psql.env("PGSSLNEGOTIATION", "direct")
                .env("PGMINPROTOCOLVERSION", "3.2")
                .env("PGMAXPROTOCOLVERSION", "3.2");
            psql.output()
        }
    })
    .await??;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    for wanted in ["Protocol Version|3.2", "ALPN|postgresql", "served"] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_more_scram_rounds_is_served() -> Result<()> {
    let (house, admin) = house().await?;
    if value(&admin, "SHOW server_version_num").await?.parse::<u32>()? < 160_000 {
        println!("skipped: before PostgreSQL 16 every verifier has 4096 rounds");
        return Ok(());
    }
    let password = tests::house::LOGIN_PASSWORD;
    admin
        .batch_execute(&format!(
            "SET scram_iterations = 40000; ALTER ROLE hoop_broker PASSWORD '{password}'; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hoop_broker'"
        ))
        .await?;
    let grant = house.grant("read").await?;
    house
        .connect(&grant)
        .await?
        .batch_execute("SELECT id FROM app.orders")
        .await?;
    Ok(())
}
