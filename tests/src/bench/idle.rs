//! What a session costs that does nothing.

use anyhow::Result;
use tokio::task::JoinSet;

use super::cpu::resident;
use super::rig::{Leg, Rig};
use super::wire::Client;

/// Memory at one number of sessions.
#[derive(Debug, Clone)]
pub struct Idle {
    /// Which proxy.
    pub leg: Leg,
    /// TLS on the client's leg.
    pub tls: bool,
    /// How many sessions.
    pub sessions: usize,
    /// KiB per session, what the process held before taken off.
    pub kib: f64,
}

/// Opens up to the last of `steps` sessions, each of which runs one statement, and measures at every step.
pub async fn run(rig: &Rig, leg: Leg, tls: bool, steps: &[usize]) -> Result<Vec<Idle>> {
    let (way, grant) = rig.way(leg, tls).await?;
    let pid = way.pid.unwrap_or_default();
    // One session first: what the process needs once is not a session's.
    let mut open = vec![warm(&way, rig).await?];
    let base = resident(pid);
    let mut found = Vec::new();
    for &step in steps {
        while open.len() < step {
            let mut batch = JoinSet::new();
            for _ in 0..(step - open.len()).min(16) {
                let (way, ca) = (way.clone(), rig.authority.pem().to_owned());
                batch.spawn(async move {
                    let mut client = Client::connect(&way, &ca).await?;
                    client
                        .query("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
                        .await?;
                    Ok::<_, anyhow::Error>(client)
                });
            }
            while let Some(client) = batch.join_next().await {
                open.push(client??);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        found.push(Idle {
            leg,
            tls,
            sessions: step,
            kib: (resident(pid) - base) / (step - 1) as f64,
        });
    }
    eprintln!(
        "idle over {}{}: {:.1} KiB per session",
        leg.name(),
        if tls { ", TLS" } else { "" },
        found.last().map_or(0.0, |idle| idle.kib)
    );
    drop(open);
    if let Some(grant) = grant {
        rig.revoke((leg, tls), &grant).await?;
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    Ok(found)
}

async fn warm(way: &super::rig::Way, rig: &Rig) -> Result<Client> {
    let mut client = Client::connect(way, rig.authority.pem()).await?;
    client
        .query("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
        .await?;
    Ok(client)
}
