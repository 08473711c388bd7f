//! A policy that changes while grants live: what it takes away is gone at once, what it adds is for new grants.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::House;
use tests::raw::{endpoint, field, query, served, tags};

const POLICY: &str = include_str!("../fixtures/policy.yaml");

/// Waits until the broker has the new file.
async fn in_force(house: &House, grants: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let (_, metrics) = house.api("GET", "/metrics", None, None).await?;
        let metrics = metrics.as_str().unwrap_or_default().to_owned();
        let live = metrics.lines().find_map(|line| line.strip_prefix("hoop_grants_live "));
        if live.and_then(|live| live.parse().ok()) == Some(grants) {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < Duration::from_secs(30), "still {live:?} live grants");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_takes_away_is_gone_at_once() -> Result<()> {
    let mut house = House::start().await?;
    let (migrate, read) = (house.grant("migrate").await?, house.grant("read").await?);
    let mut session = endpoint(&house, &migrate, &[]).await?;
    session
        .send(&query("BEGIN; INSERT INTO app.notes VALUES (1, 'x')"))
        .await?;
    assert_eq!(tags(&session.until_ready(1).await?), "CCZ");

    // Wider rules, moved lines: everybody goes on.
    let wider = POLICY.replace("tables: [app.orders, app.order_lines]", "tables: [\"app.order*\"]");
    assert_ne!(wider, POLICY);
    house.write_policy(&format!("# a comment more\n{wider}"))?;
    tokio::time::sleep(Duration::from_secs(7)).await;
    in_force(&house, 2).await?;
    session.send(&query("SELECT 1")).await?;
    assert_eq!(tags(&session.until_ready(1).await?), "TDCZ");

    // One scope loses a class: its session is cut in the middle of its transaction, the other one goes on.
    house.write_policy(&wider.replace("[read, write, ddl, truncate, lock, listen, notify]", "[read]"))?;
    let last = session.until_closed().await?;
    let (_, error) = last.iter().find(|(tag, _)| *tag == 'E').context("not told")?;
    assert_eq!(field(error, 'C'), "57P01");
    let said = field(error, 'M');
    assert!(
        said.contains("its policy changed: `insert` is not granted any more"),
        "{said}"
    );
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM app.notes")?, "0");
    in_force(&house, 1).await?;
    served(&house, &read).await?;

    // A scope that is gone ends its grants, and so does a file that cannot be read.
    house.write_policy("version: 1\nscopes: [")?;
    in_force(&house, 0).await?;
    let refused = endpoint(&house, &read, &[]).await.err().context("let in")?.to_string();
    assert!(
        refused.contains("C57P01") && refused.contains("its policy changed"),
        "{refused}"
    );
    // Ended for good: the old file does not bring it back, nor does a restart.
    house.write_policy(POLICY)?;
    house.kill_broker();
    house.start_broker().await?;
    assert!(endpoint(&house, &read, &[]).await.is_err());
    Ok(())
}
