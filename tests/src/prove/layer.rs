//! The second enforcer's invariant: grants are minted, used and ended under load while the broker is killed at random
//! moments; afterwards no login is past its time, none belongs to an ended grant, and none owns anything.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::join_all;

use super::{Aim, Report, Rng, Score};
use crate::House;
use crate::house::Grant;
use crate::roles;

/// Grants that are minted and used at the same time.
const TOGETHER: u64 = 8;
/// How long a sweep may take, a restart before it not counted.
const SWEPT: Duration = Duration::from_secs(20);

/// Mints and ends at least `grants` grants, in waves; half of the waves are cut short by a kill.
pub async fn layer(seed: u64, grants: u64) -> Result<Report> {
    let mut house = House::plan(roles::plan()).await?;
    let admin = roles::admin(&house).await?;
    let mut score = Score::new(
        "role",
        "role layer: grants under load, brokers killed at random points; expired, orphaned or owning roles (time: sweep)",
        Aim::of(200),
        Aim::of(200),
    );
    let seeds = Rng::new(seed);
    let mut wave = 0;
    while score.n < grants {
        let mut rng = seeds.part(wave);
        wave += 1;
        let live = Mutex::new(Vec::new());
        let kill = (wave % 2 == 0).then(|| Duration::from_millis(rng.below(600)));
        let members: Vec<Rng> = (0..TOGETHER).map(|member| rng.part(member)).collect();
        let work = join_all(members.into_iter().map(|rng| member(&house, rng, &live)));
        let told: Vec<Result<()>> = match kill {
            Some(after) => tokio::time::timeout(after, work).await.unwrap_or_default(),
            None => work.await,
        };
        let live = live.into_inner().unwrap_or_else(PoisonError::into_inner);
        if kill.is_some() {
            house.kill_broker();
            house
                .start_broker()
                .await
                .with_context(|| format!("wave {wave} of seed {seed}"))?;
        } else {
            // Without a kill everything asked for has to work.
            for error in told.into_iter().filter_map(Result::err) {
                score.wrong(format!("wave {wave} of seed {seed}: {error:#}"));
            }
        }
        let held: Vec<&Grant> = live.iter().collect();
        let swept = roles::settle(&admin, &held, SWEPT).await;
        for _ in 0..TOGETHER {
            score.check(swept.is_ok(), || format!("wave {wave} of seed {seed}: {swept:?}"));
        }
        if let Ok(time) = swept {
            score.took(time);
        }
        for grant in &live {
            house
                .revoke(grant)
                .await
                .with_context(|| format!("wave {wave} of seed {seed}"))?;
        }
        roles::settle(&admin, &[], SWEPT).await?;
    }
    Ok(Report { scores: vec![score] })
}

/// One job: a grant, work that makes and fills a table, and an end of some kind.
async fn member(house: &House, mut rng: Rng, live: &Mutex<Vec<Grant>>) -> Result<()> {
    let keep = |grant: &Grant| live.lock().unwrap_or_else(PoisonError::into_inner).push(grant.clone());
    let writes = rng.below(2) == 0;
    let grant = house.grant(if writes { "migrate" } else { "read" }).await?;
    keep(&grant);
    if rng.below(4) == 0 {
        return Ok(());
    }
    let client = house.connect(&grant).await?;
    if writes {
        let table = format!("app.t{:016x}", rng.number());
        client
            .batch_execute(&format!(
                "CREATE TABLE {table} (id serial); INSERT INTO {table} DEFAULT VALUES"
            ))
            .await?;
        if rng.below(2) == 0 {
            client
                .batch_execute(&format!("BEGIN; ALTER TABLE {table} ADD COLUMN x int"))
                .await?;
        } else {
            client.execute(&format!("DROP TABLE {table}"), &[]).await?;
        }
    } else {
        client.batch_execute("SELECT id FROM app.orders").await?;
    }
    if rng.below(3) > 0 {
        house.revoke(&grant).await?;
        live.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|held| held.id() != grant.id());
    }
    Ok(())
}
