//! R5: a grant is revoked, or its client's connection breaks, at every place of a session's life. The client is told, the
//! backend is gone, what was not committed is rolled back; how long each took is measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::crash::{admin, door};
use super::{Aim, Canaries, Report, Rng, Score};
use crate::House;
use crate::house::{Grant, Plan};
use crate::raw::{self, Raw};

/// Where in its life a session is when its end comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the middle of a long statement, with an uncommitted row.
    Asleep,
    /// Waiting for somebody else's lock, with an uncommitted row.
    Locked,
    /// Sending COPY data.
    CopyIn,
    /// In the middle of one CopyData message.
    CopyInHalf,
    /// Receiving COPY data.
    CopyOut,
    /// Receiving COPY data and not reading it.
    CopyOutStalled,
    /// Doing nothing.
    Idle,
    /// Doing nothing, with an uncommitted row.
    IdleInTransaction,
    /// On its way in.
    Connecting,
    /// Gone in order; its connection upstream waits for the next one.
    Warm,
}

const PLACES: [Place; 10] = [
    Place::Asleep,
    Place::Locked,
    Place::CopyIn,
    Place::CopyInHalf,
    Place::CopyOut,
    Place::CopyOutStalled,
    Place::Idle,
    Place::IdleInTransaction,
    Place::Connecting,
    Place::Warm,
];

/// How the client's side ended.
#[derive(Debug, Clone)]
struct Seen {
    /// The SQLSTATE of the last error, empty when the connection just closed.
    sqlstate: String,
    message: String,
    at: Instant,
}

struct Cuts {
    house: House,
    admin: tokio_postgres::Client,
    blocker: tokio_postgres::Client,
    canaries: Canaries,
    told: Score,
    gone: Score,
    dropped: Score,
}

/// Ends `tries` sessions: two of three by revoking the grant, one by a connection that breaks.
pub async fn cut(seed: u64, tries: u64) -> Result<Report> {
    let house = House::plan(Plan {
        policy: super::policy(),
        extra: super::operator(),
        ..Plan::default()
    })
    .await?;
    let (floor, bar) = (Aim::within(1000, 500), Aim::within(1000, 100));
    let mut cuts = Cuts {
        admin: admin(&house).await?,
        blocker: admin(&house).await?,
        canaries: Canaries::new(),
        told: Score::new("R5", "revoke to the client's 57P01", floor, bar),
        gone: Score::new("R5", "revoke to the backend gone, rolled back", floor, bar),
        dropped: Score::new(
            "R5",
            "broken client connection to the backend gone, rolled back",
            floor,
            bar,
        ),
        house,
    };
    // Another session holds a lock for as long as this takes.
    cuts.blocker
        .batch_execute("BEGIN; LOCK TABLE app.order_lines IN ACCESS EXCLUSIVE MODE")
        .await?;
    let mut rng = Rng::new(seed);
    for number in 0..tries {
        let place = PLACES[usize::try_from(number)? % PLACES.len()];
        // Without a revocation a warm connection is meant to stay a while.
        let revoked = place == Place::Warm || (number / PLACES.len() as u64) % 3 != 2;
        cuts.one(number, place, revoked, &mut rng)
            .await
            .with_context(|| format!("try {number} of seed {seed}: {place:?}, revoked {revoked}"))?;
    }
    let (verifies, text) = cuts.house.verify_ledger()?;
    if !verifies {
        cuts.gone.wrong(text);
    }
    let secrets = cuts.canaries.search(&cuts.house).await?;
    let mut scores = vec![cuts.told, cuts.gone, cuts.dropped, secrets];
    scores.retain(|score| score.n > 0);
    Ok(Report { scores })
}

impl Cuts {
    async fn one(&mut self, number: u64, place: Place, revoked: bool, rng: &mut Rng) -> Result<()> {
        let grant = self.house.grant("migrate").await?;
        self.canaries.grant(&grant);
        let marker = format!("cut{number}x");
        let session = self.bring(&grant, place, &marker, number).await?;
        tokio::time::sleep(Duration::from_millis(rng.below(20))).await;
        let name = format!("try {number} ({place:?})");
        if revoked {
            self.revoke(&name, place, &grant, session, rng.below(80)).await?;
        } else {
            let start = Instant::now();
            drop(session);
            let gone = self.backends_gone(start).await?;
            self.dropped
                .check(gone.is_some(), || format!("{name}: the backend outlived its client"));
            gone.into_iter().for_each(|time| self.dropped.took(time));
        }
        let rows = self
            .admin
            .query_one("SELECT count(*) FROM app.notes WHERE body = $1", &[&marker])
            .await?;
        if rows.get::<_, i64>(0) > 0 {
            self.gone.wrong(format!("{name}: uncommitted rows are there"));
        }
        if !revoked {
            self.house.revoke(&grant).await?;
        }
        Ok(())
    }

    async fn revoke(
        &mut self,
        name: &str,
        place: Place,
        grant: &Grant,
        session: Option<Raw>,
        delay: u64,
    ) -> Result<()> {
        let connecting = place == Place::Connecting;
        let client = async {
            if connecting {
                return Some(seen_connecting(door(&self.house, grant).enter().await).await);
            }
            match session {
                Some(mut raw) if place == Place::CopyOutStalled => {
                    // It reads nothing until the broker has given up on it.
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    Some(seen(&mut raw).await)
                }
                Some(mut raw) => Some(seen(&mut raw).await),
                None => None,
            }
        };
        let mut start = Instant::now();
        let (answer, seen, gone) = if connecting {
            let late = async {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                (Instant::now(), self.house.revoke(grant).await)
            };
            let ((sent, answer), seen) = tokio::join!(late, client);
            start = sent;
            (answer, seen, self.backends_gone(start).await)
        } else {
            tokio::join!(self.house.revoke(grant), client, self.backends_gone(start))
        };
        let answer = answer?;
        self.canaries.answer(answer.to_string());
        let state = answer.pointer("/grant/state").and_then(Value::as_str) == Some("revoked");
        let gone = gone?;
        self.gone.check(gone.is_some() && state, || {
            format!("{name}: backend gone {gone:?}, answer {answer}")
        });
        gone.into_iter().for_each(|time| self.gone.took(time));
        let Some(seen) = seen else { return Ok(()) };
        self.canaries.answer(seen.message.clone());
        let right = match place {
            // Whoever comes too late is told that the endpoint is gone; whoever was in is told that it has ended.
            Place::Connecting => ["57P01", "28P01", "28000"].contains(&seen.sqlstate.as_str()),
            // The data it did not read stands before anything the broker could say.
            Place::CopyOutStalled => ["57P01", ""].contains(&seen.sqlstate.as_str()),
            _ => seen.sqlstate == "57P01" && seen.message.contains("revoked"),
        };
        self.told.check(right, || {
            format!("{name}: the client saw {:?} {:?}", seen.sqlstate, seen.message)
        });
        if place != Place::CopyOutStalled && seen.at > start {
            self.told.took(seen.at.saturating_duration_since(start));
        }
        Ok(())
    }

    /// Waits until no job's backend is left; `None` after five seconds.
    async fn backends_gone(&self, start: Instant) -> Result<Option<Duration>> {
        while start.elapsed() < Duration::from_secs(5) {
            if self.backends("true").await? == 0 {
                return Ok(Some(start.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(None)
    }

    async fn backends(&self, condition: &str) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'hoop %' AND {condition}");
        Ok(self.admin.query_one(&sql, &[]).await?.get(0))
    }

    /// Waits until a job's backend is in a state.
    async fn reaches(&self, condition: &str) -> Result<()> {
        let start = Instant::now();
        while self.backends(condition).await? == 0 {
            ensure!(start.elapsed() < Duration::from_secs(10), "no backend with {condition}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// A session at `place`.
    async fn bring(&self, grant: &Grant, place: Place, marker: &str, key: u64) -> Result<Option<Raw>> {
        if place == Place::Connecting {
            return Ok(None);
        }
        let mut raw = door(&self.house, grant).enter().await?;
        let insert = format!("BEGIN; INSERT INTO app.notes VALUES ({}, '{marker}')", key + 1);
        match place {
            Place::Asleep => {
                run(&mut raw, &insert).await?;
                raw.send(&raw::query("SELECT pg_catalog.pg_sleep(60)")).await?;
                self.reaches("wait_event = 'PgSleep'").await?;
            }
            Place::Locked => {
                run(&mut raw, &insert).await?;
                raw.send(&raw::query("SELECT sku FROM app.order_lines")).await?;
                self.reaches("wait_event_type = 'Lock'").await?;
            }
            Place::CopyIn | Place::CopyInHalf => {
                raw.send(&raw::query("COPY app.notes (id, body) FROM STDIN")).await?;
                ensure!(raw.next().await?.0 == 'G', "no CopyInResponse");
                let lines: String = (0..1000)
                    .map(|line| format!("{}\t{marker}\n", 1_000_000 + line))
                    .collect();
                let data = raw::frame('d', lines.as_bytes());
                raw.send(&data).await?;
                if place == Place::CopyInHalf {
                    raw.send(&data[..data.len() / 2]).await?;
                }
            }
            Place::CopyOut | Place::CopyOutStalled => {
                let sql = "COPY (SELECT a.id, b.id, c.id, d.id FROM app.orders a, app.orders b, app.orders c, app.orders d) TO STDOUT";
                raw.send(&raw::query(sql)).await?;
                ensure!(raw.next().await?.0 == 'H', "no CopyOutResponse");
                ensure!(raw.next().await?.0 == 'd', "no data");
            }
            Place::Idle => {}
            Place::IdleInTransaction => run(&mut raw, &insert).await?,
            Place::Warm => {
                raw.message('X', b"").await?;
                drop(raw);
                self.reaches("query = 'RESET ROLE' AND state = 'idle'").await?;
                return Ok(None);
            }
            Place::Connecting => {}
        }
        Ok(Some(raw))
    }
}

/// One simple query that must succeed.
async fn run(raw: &mut Raw, sql: &str) -> Result<()> {
    raw.send(&raw::query(sql)).await?;
    let answer = raw.until_ready(1).await?;
    if let Some((_, body)) = answer.iter().find(|(tag, _)| *tag == 'E') {
        bail!("{sql}: {}", raw::fields(body).join(" "));
    }
    Ok(())
}

/// Reads until the connection is over.
async fn seen(raw: &mut Raw) -> Seen {
    let mut seen = Seen {
        sqlstate: String::new(),
        message: String::new(),
        at: Instant::now(),
    };
    let reading = async {
        while let Ok((tag, body)) = raw.next().await {
            if tag == 'E' {
                seen.sqlstate = raw::field(&body, 'C');
                seen.message = raw::fields(&body).join(" ");
                seen.at = Instant::now();
            }
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(10), reading).await.is_ok();
    if !closed {
        seen.message = "the connection stays open".to_owned();
    }
    if seen.sqlstate.is_empty() {
        seen.at = Instant::now();
    }
    seen
}

/// What a client saw whose grant was revoked while it came in.
async fn seen_connecting(entered: Result<Raw>) -> Seen {
    match entered {
        Ok(mut raw) => seen(&mut raw).await,
        Err(error) => {
            let message = format!("{error:#}");
            let sqlstate = message
                .split(' ')
                .find_map(|word| word.strip_prefix('C').filter(|code| code.len() == 5));
            Seen {
                sqlstate: sqlstate.unwrap_or_default().to_owned(),
                message,
                at: Instant::now(),
            }
        }
    }
}
