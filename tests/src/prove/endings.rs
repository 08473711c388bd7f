//! R5, the other ends: the operator's kill switch, `max-session`, and the two limits that only concern new connections.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio_postgres::{Client, Error};

use super::crash::admin;
use super::{Aim, Canaries, OPERATOR, Report, Score};
use crate::House;
use crate::house::Plan;

/// Runs each ending `rounds` times.
pub async fn endings(rounds: u64) -> Result<Report> {
    let house = House::plan(Plan {
        policy: super::policy(),
        extra: super::operator(),
        ..Plan::default()
    })
    .await?;
    let admin = admin(&house).await?;
    let mut score = Score::new(
        "R5",
        "operator's kill, max-session, ttl, max-connections: the right word, the YAML line, nothing left",
        Aim::of(20),
        Aim::of(100),
    );
    let mut canaries = Canaries::new();
    for _ in 0..rounds {
        kill(&house, &admin, &mut score, &mut canaries).await?;
        clock(&house, &admin, &mut score, &mut canaries).await?;
        crowd(&house, &mut score, &mut canaries).await?;
    }
    let secrets = canaries.search(&house).await?;
    Ok(Report {
        scores: vec![score, secrets],
    })
}

/// SQLSTATE, message and hint of a refused statement.
fn said(result: Result<(), Error>) -> String {
    let Err(error) = result else {
        return "no error".to_owned();
    };
    match error.as_db_error() {
        Some(error) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{} {} {}{hint}", error.severity(), error.code().code(), error.message())
        }
        None => format!("no word of the server's: {error}"),
    }
}

async fn statement(client: &Client, sql: &str) -> String {
    said(client.batch_execute(sql).await)
}

/// What somebody hears who connects.
async fn knock(house: &House, grant: &crate::Grant) -> String {
    match house.connect(grant).await {
        Ok(_) => "let in".to_owned(),
        Err(error) => match error.downcast::<Error>() {
            Ok(error) => said(Err(error)),
            Err(error) => format!("{error:#}"),
        },
    }
}

async fn left(admin: &Client) -> Result<bool> {
    let start = Instant::now();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'hoop %'";
    while start.elapsed() < Duration::from_secs(2) {
        if admin.query_one(sql, &[]).await?.get::<_, i64>(0) == 0 {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(true)
}

async fn kill(house: &House, admin: &Client, score: &mut Score, canaries: &mut Canaries) -> Result<()> {
    let (doomed, spared) = (house.grant("migrate").await?, house.grant("read").await?);
    canaries.grant(&doomed);
    canaries.grant(&spared);
    let (client, other) = (house.connect(&doomed).await?, house.connect(&spared).await?);
    for wrong in [
        None,
        Some("wrong"),
        Some(doomed.revoke_token().as_str()),
        Some(&OPERATOR[1..]),
    ] {
        let (status, answer) = house
            .api("POST", "/v1/kill", wrong, Some(json!({ "scope": "migrate" })))
            .await?;
        score.check(status == 401, || {
            format!(
                "kill as {}: {status}",
                if wrong.is_some() { "somebody" } else { "nobody" }
            )
        });
        canaries.answer(answer.to_string());
    }
    let (status, answer) = house.api("POST", "/v1/kill", Some(OPERATOR), Some(json!({}))).await?;
    score.check(status == 400, || {
        format!("a kill of nothing in particular: {status} {answer}")
    });
    let running = statement(
        &client,
        "BEGIN; INSERT INTO app.notes VALUES (1, 'killed'); SELECT pg_catalog.pg_sleep(60)",
    );
    let killing = async {
        let start = Instant::now();
        while admin
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
                &[],
            )
            .await?
            .get::<_, i64>(0)
            == 0
        {
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(10),
                "the statement does not start"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        house
            .api("POST", "/v1/kill", Some(OPERATOR), Some(json!({ "scope": "migrate" })))
            .await
    };
    let (heard, answered) = tokio::join!(running, killing);
    let (status, answer) = answered?;
    canaries.answer(answer.to_string());
    let one = status == 200 && answer["grants"] == json!([doomed.id()]);
    score.check(one, || format!("the kill of one scope: {status} {answer}"));
    let right = heard.starts_with("FATAL 57P01") && heard.contains("operator");
    score.check(right, || format!("the killed session heard: {heard}"));
    let heard = statement(&other, "SELECT 1").await;
    score.check(heard == "no error", || {
        format!("a session of another scope heard: {heard}")
    });
    let heard = knock(house, &doomed).await;
    score.check(heard != "let in", || "a killed grant lets in".to_owned());
    drop(other);
    house.revoke(&spared).await?;
    let left = left(admin).await?;
    score.check(!left, || "backends are left after a kill".to_owned());
    let rows = admin
        .query_one("SELECT count(*) FROM app.notes WHERE body = 'killed'", &[])
        .await?;
    score.check(rows.get::<_, i64>(0) == 0, || {
        "a killed transaction was committed".to_owned()
    });
    Ok(())
}

/// `brief`: ttl 1s, max-session 2s.
async fn clock(house: &House, admin: &Client, score: &mut Score, canaries: &mut Canaries) -> Result<()> {
    let minted = Instant::now();
    let grant = house.grant("brief").await?;
    canaries.grant(&grant);
    let client = house.connect(&grant).await?;
    let until = |seconds: f64| Duration::from_secs_f64(seconds).saturating_sub(minted.elapsed());
    tokio::time::sleep(until(1.4)).await;
    let heard = statement(&client, "SELECT 1").await;
    score.check(heard == "no error", || {
        format!("after ttl an open session heard: {heard}")
    });
    let heard = knock(house, &grant).await;
    let named = heard.contains("ttl") && heard.contains(".hoop/db-access.yaml:");
    score.check(named, || format!("after ttl a new connection heard: {heard}"));
    let heard = statement(
        &client,
        "BEGIN; INSERT INTO app.notes VALUES (2, 'expired'); SELECT pg_catalog.pg_sleep(60)",
    )
    .await;
    let named = heard.contains("max-session") && heard.contains(".hoop/db-access.yaml:");
    score.check(heard.starts_with("FATAL 57P01") && named, || {
        format!("after max-session the session heard: {heard}")
    });
    let late = minted.elapsed();
    // Not a measure of speed: a second of grace is what the goal about time allows.
    score.check(late < Duration::from_secs(4), || {
        format!("max-session of 2 s ended after {late:?}")
    });
    let left = left(admin).await?;
    score.check(!left, || "backends are left after max-session".to_owned());
    let rows = admin
        .query_one("SELECT count(*) FROM app.notes WHERE body = 'expired'", &[])
        .await?;
    score.check(rows.get::<_, i64>(0) == 0, || {
        "an expired transaction was committed".to_owned()
    });
    Ok(())
}

/// `brief`: max-connections 1.
async fn crowd(house: &House, score: &mut Score, canaries: &mut Canaries) -> Result<()> {
    let grant = house.grant("brief").await?;
    canaries.grant(&grant);
    let client = house.connect(&grant).await?;
    let heard = knock(house, &grant).await;
    let named = heard.contains("max-connections") && heard.contains(".hoop/db-access.yaml:");
    score.check(heard.starts_with("FATAL 53300") && named, || {
        format!("the second of one connection heard: {heard}")
    });
    let heard = statement(&client, "SELECT 1").await;
    score.check(heard == "no error", || {
        format!("the first of one connection heard: {heard}")
    });
    house.revoke(&grant).await?;
    Ok(())
}
