//! The control plane: grants minted per second, and how long a revocation takes to reach the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::rig::{Broker, Leg, Rig, SCOPES};
use super::stats::quantile;
use super::wire::Client;

/// What was found.
#[derive(Debug, Clone)]
pub struct Control {
    /// Grants minted, one after the other: p50 and p99 in ms.
    pub mint: [f64; 2],
    /// Grants per second with eight callers.
    pub rate: f64,
    /// With eight callers: p50 and p99 in ms.
    pub crowded: [f64; 2],
    /// From the revoke request to the client's connection ending, p50 and p99 in ms.
    pub cut: [f64; 2],
    /// Live grants, and p50 in ms of minting one more.
    pub grown: Vec<(usize, f64)>,
    /// One small `fdatasync` beside the ledger, p50 and p99 in ms.
    pub fdatasync: [f64; 2],
}

/// Measures all of it on the broker of `leg`, `count` times each.
pub async fn run(rig: &Arc<Rig>, leg: Leg, count: usize) -> Result<Control> {
    let count = count.min((SCOPES - 1) * 64);
    let mut mint = Vec::new();
    let mut grants = Vec::new();
    for index in 0..(count / 4).max(20) {
        let token = rig.token()?;
        let start = Instant::now();
        grants.push(rig.mint((leg, false), 1 + index % (SCOPES - 1), &token).await?);
        mint.push(start.elapsed().as_secs_f64() * 1e3);
    }
    for grant in grants.drain(..) {
        rig.revoke((leg, false), &grant).await?;
    }
    let (rate, mut crowded) = crowd(rig, leg, count).await?;
    let mut cut = Vec::new();
    for _ in 0..(count / 10).max(20) {
        cut.push(revocation(rig, leg).await?);
    }
    let grown = grown(rig, leg, count).await?;
    Ok(Control {
        grown,
        mint: percentiles(&mut mint),
        rate,
        crowded: percentiles(&mut crowded),
        cut: percentiles(&mut cut),
        fdatasync: percentiles(&mut fdatasync(rig.broker(leg, false)?)?),
    })
}

fn percentiles(values: &mut [f64]) -> [f64; 2] {
    [0.5, 0.99].map(|q| quantile(values, q))
}

/// Eight callers, their tokens signed before.
async fn crowd(rig: &Arc<Rig>, leg: Leg, count: usize) -> Result<(f64, Vec<f64>)> {
    let tokens: Arc<Vec<String>> = Arc::new((0..count).map(|_| rig.token()).collect::<Result<_>>()?);
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (rig, tokens, next) = (rig.clone(), tokens.clone(), next.clone());
            tokio::spawn(async move {
                let (mut times, mut grants) = (Vec::new(), Vec::new());
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(token) = tokens.get(index) else { break };
                    let start = Instant::now();
                    grants.push(rig.mint((leg, false), 1 + index % (SCOPES - 1), token).await?);
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, anyhow::Error>((times, grants))
            })
        })
        .collect();
    let (mut times, mut grants) = (Vec::new(), Vec::new());
    for caller in callers {
        let (more, made) = caller.await??;
        times.extend(more);
        grants.extend(made);
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    for grant in grants {
        rig.revoke((leg, false), &grant).await?;
    }
    Ok((rate, times))
}

/// What one more grant costs the more of them are live.
async fn grown(rig: &Rig, leg: Leg, most: usize) -> Result<Vec<(usize, f64)>> {
    let (mut found, mut grants) = (Vec::new(), Vec::new());
    for step in [10, 100, 1000, 2000].into_iter().filter(|step| *step <= most) {
        let mut times = Vec::new();
        while grants.len() < step {
            let token = rig.token()?;
            let start = Instant::now();
            grants.push(rig.mint((leg, false), 1 + grants.len() % (SCOPES - 1), &token).await?);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // The last ones before the step: so many are live by then.
        let mut last = times.split_off(times.len().saturating_sub(50));
        found.push((step, quantile(&mut last, 0.5)));
    }
    for grant in grants {
        rig.revoke((leg, false), &grant).await?;
    }
    Ok(found)
}

/// A client in the middle of a long statement, from the request to the end of its connection.
async fn revocation(rig: &Rig, leg: Leg) -> Result<f64> {
    let (way, grant) = rig.way(leg, false).await?;
    let grant = grant.expect("this way has a grant");
    let mut client = Client::connect(&way, rig.authority.pem()).await?;
    let running = tokio::spawn(async move { (client.query("SELECT pg_sleep(30)").await, Instant::now()) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    rig.revoke((leg, false), &grant).await?;
    let (answer, ended) = running.await?;
    ensure!(answer.is_err(), "the statement outlived its grant");
    Ok(ended.saturating_duration_since(start).as_secs_f64() * 1e3)
}

/// What one group commit waits for at least.
fn fdatasync(broker: &Broker) -> Result<Vec<f64>> {
    let mut file = tempfile::tempfile_in(&broker.state)?;
    (0..200)
        .map(|_| {
            std::io::Write::write_all(&mut file, &[b'x'; 512])?;
            let start = Instant::now();
            file.sync_data()?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}
