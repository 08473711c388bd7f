//! Many rows in one statement: SELECT, COPY out, COPY in.

use std::time::Instant;

use anyhow::Result;

use super::cpu::{Watch, process};
use super::rig::{DATABASE, Leg, Rig};
use super::slices::Method;
use super::stats::Seeded;
use super::wire::Client;
use crate::raw::frame;

/// What is moved.
pub const KINDS: [&str; 3] = ["SELECT", "COPY out", "COPY in"];

/// One measurement.
#[derive(Debug, Clone)]
pub struct Moved {
    /// Which repeat.
    pub repeat: u32,
    /// Over which way.
    pub leg: Leg,
    /// TLS on the client's leg.
    pub tls: bool,
    /// Which of [`KINDS`].
    pub kind: &'static str,
    /// Seconds.
    pub seconds: f64,
    /// The proxy's CPU seconds.
    pub cpu: f64,
    /// Others used more than is allowed.
    pub noisy: bool,
}

/// Moves `rows` rows each way over every leg.
pub async fn run(rig: &Rig, method: &Method, rows: u64) -> Result<Vec<Moved>> {
    let data = data(rows);
    let mut all = Vec::new();
    let mut order = Seeded::new(method.seed + 1);
    for repeat in 0..method.repeats {
        let mut turns = Vec::new();
        for leg in [Leg::Direct, Leg::Relay, Leg::PgBouncer, Leg::PgBouncer64k, Leg::Hoop] {
            turns.extend(KINDS.map(|kind| (leg, false, kind)));
        }
        for leg in [Leg::Direct, Leg::PgBouncer, Leg::Hoop] {
            turns.extend(KINDS.map(|kind| (leg, true, kind)));
        }
        order.shuffle(&mut turns);
        for (leg, tls, kind) in turns {
            let mut moved = once(rig, method, (leg, tls, kind), &data, repeat).await?;
            for _ in 0..method.retries {
                if !moved.noisy {
                    break;
                }
                moved = once(rig, method, (leg, tls, kind), &data, repeat).await?;
            }
            eprintln!(
                "bulk {kind}{} over {}: {:.2} s",
                if tls { ", TLS" } else { "" },
                leg.name(),
                moved.seconds
            );
            all.push(moved);
        }
    }
    Ok(all)
}

async fn once(rig: &Rig, method: &Method, turn: (Leg, bool, &'static str), data: &[u8], repeat: u32) -> Result<Moved> {
    let (leg, tls, kind) = turn;
    let (way, grant) = rig.way(leg, tls).await?;
    let mut client = Client::connect(&way, rig.authority.pem()).await?;
    if kind == "COPY in" {
        rig.cluster.psql(DATABASE, "TRUNCATE sink")?;
    }
    let watch = Watch::begin();
    let before = way.pid.map(process);
    let start = Instant::now();
    match kind {
        "SELECT" => client.query("SELECT id, amount, note, at FROM bulk").await?,
        "COPY out" => client.query("COPY bulk (id, amount, note, at) TO STDOUT").await?,
        _ => {
            client
                .copy_in("COPY sink (id, amount, note, at) FROM STDIN", data)
                .await?
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let noisy = watch.others() > method.tolerated;
    let cpu = way.pid.map_or(f64::NAN, process) - before.unwrap_or(f64::NAN);
    drop(client);
    if let Some(grant) = grant {
        rig.revoke((leg, tls), &grant).await?;
    }
    Ok(Moved {
        repeat,
        leg,
        tls,
        kind,
        seconds,
        cpu,
        noisy,
    })
}

/// COPY data for `rows` rows, in messages of about 8 KiB as libpq's users send.
fn data(rows: u64) -> Vec<u8> {
    let (mut framed, mut text) = (Vec::new(), Vec::new());
    for row in 1..=rows {
        text.extend(
            format!(
                "{row}\t{}\t0123456789abcdef0123456789abcdef\t2026-01-01 00:00:00+00\n",
                row * 7
            )
            .into_bytes(),
        );
        if text.len() > 8192 || row == rows {
            framed.extend(frame('d', &text));
            text.clear();
        }
    }
    framed
}
