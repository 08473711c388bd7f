//! Measured inside this process, through the product's own modules: what a decision costs, what the ledger takes.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use hoop::base::clock::Clock;
use hoop::base::id::SessionId;
use hoop::base::secret::Secret;
use hoop::catalog::Catalogs;
use hoop::decide::judge::{Ground, judge};
use hoop::ledger::{Counts, Record, Rules, Status};
use hoop::policy::Scope;
use hoop::policy::operator::Operator;
use hoop::policy::set::Policies;
use hoop::record::{Recorder, verify};
use hoop::session::prepared::DecisionCache;
use hoop::sql::{self, Class, Snapshot};
use hoop::upstream::Target;
use hoop::upstream::control::Controls;

use super::rig::{DATABASE, Rig};
use super::stats::Spread;
use crate::house::{LOGIN, LOGIN_PASSWORD};

/// What was found.
#[derive(Debug, Clone)]
pub struct Inner {
    /// Decisions: the statement's name, µs cold, µs from the cache.
    pub decisions: Vec<(&'static str, Spread, Spread)>,
    /// A SELECT by key whose number is always another one, through the cache, in µs.
    pub other_literal: Spread,
    /// Records per second: appended one `write` each, appended 64 to a `write`, verified.
    pub ledger: [f64; 3],
}

const JOINS: &str = "SELECT a.aid, b.bbalance, t.tbalance, h.delta FROM pgbench_accounts a \
    JOIN pgbench_branches b ON b.bid = a.bid JOIN pgbench_tellers t ON t.bid = b.bid \
    LEFT JOIN pgbench_history h ON h.aid = a.aid AND h.tid = t.tid \
    WHERE a.aid BETWEEN 1 AND 50 AND b.bbalance >= 0 ORDER BY a.aid LIMIT 10";

/// Measures all of it.
pub async fn run(rig: &Rig, records: u64) -> Result<Inner> {
    let scope = scope(rig)?;
    let snapshot = snapshot(rig).await?;
    let rows: Vec<String> = (0..1000).map(|row| format!("({row}, 1, 2, 3, now())")).collect();
    let insert = format!(
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES {}",
        rows.join(", ")
    );
    let statements = [
        (
            "pgbench select",
            "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
        ),
        ("3 joins", JOINS),
        ("INSERT of 1,000 rows", &insert),
        (
            "CREATE TABLE",
            "CREATE TABLE public.notes (id bigint PRIMARY KEY, author int REFERENCES pgbench_accounts (aid), body text NOT NULL DEFAULT '')",
        ),
    ];
    let mut decisions = Vec::new();
    for (name, text) in statements {
        let cold = time(|| {
            let read = sql::lower::read(black_box(text), &snapshot);
            black_box(
                read.map(|statements| {
                    statements
                        .iter()
                        .map(|one| judge(one, &scope, &Ground::here(text, &snapshot)))
                        .collect::<Vec<_>>()
                })
                .is_ok(),
            );
        });
        let mut cache = DecisionCache::default();
        let cached = time(|| {
            black_box(cache.judge(black_box(text), &scope, &snapshot));
        });
        decisions.push((name, cold, cached));
    }
    let (mut cache, mut number) = (DecisionCache::default(), 0_u32);
    let other_literal = time(|| {
        number += 1;
        let text = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {number};");
        black_box(cache.judge(&text, &scope, &snapshot));
    });
    let dir = rig.path("state-inner");
    let ledger = tokio::task::spawn_blocking(move || ledger(&dir, records)).await??;
    Ok(Inner {
        decisions,
        other_literal,
        ledger,
    })
}

/// µs per call: five batches of about 60 ms.
pub fn time(mut call: impl FnMut()) -> Spread {
    call();
    let batches = (0..5).map(|_| {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_millis(60) {
            for _ in 0..8 {
                call();
            }
            calls += 8;
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    });
    Spread::of(batches).expect("five batches")
}

fn scope(rig: &Rig) -> Result<Arc<Scope>> {
    let path = rig.path("broker-false.yaml");
    let text = std::fs::read_to_string(&path)?;
    let operator = Operator::read(&text, "broker.yaml").map_err(|found| anyhow!("{found:?}"))?;
    let folder = rig.path("policies");
    let policies = Policies::load(&operator, |file| std::fs::read_to_string(folder.join(file)));
    let repository = policies.repository("github", "260064828").context("no repository")?;
    let policy = repository.policy.as_ref().map_err(|missing| anyhow!("{missing}"))?;
    let scope = policy.scopes.get("bench-0").context("no scope")?;
    scope.as_ref().map(Arc::clone).map_err(|broken| anyhow!("{broken:?}"))
}

async fn snapshot(rig: &Rig) -> Result<Arc<Snapshot>> {
    let target = Arc::new(Target {
        name: DATABASE.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: rig.cluster.port(),
        database: DATABASE.to_owned(),
        user: LOGIN.to_owned(),
        password: Secret::new(LOGIN_PASSWORD.to_owned()),
        tls: None,
        job: None,
    });
    let (snapshot, _) = Catalogs::new(Controls::default()).subscribe(&target).await?;
    Ok(snapshot)
}

fn ledger(dir: &Path, records: u64) -> Result<[f64; 3]> {
    let recorder = Recorder::open(dir, Clock::system())?;
    let mut journal = recorder.journal("bench")?;
    let session = SessionId::fresh();
    let mut rates = Vec::new();
    let mut i = 0;
    for batch in [1, 64] {
        let start = Instant::now();
        for turn in 1..=records / 2 {
            i += 1;
            journal.append(&Record::Intent {
                session,
                i,
                n: None,
                params: None,
                class: Some(Class::Select),
                text: Some("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;".into()),
                cut: None,
                rules: Rules::default(),
            });
            if batch == 1 {
                journal.commit()?;
            }
            journal.append(&Record::Outcome {
                session,
                i,
                status: Status::Ok,
                tag: Some("SELECT 1".into()),
                rows: Some(1),
                sqlstate: None,
                masked: Counts::new(),
                detected: Counts::new(),
                micros: 80,
            });
            if batch == 1 || turn % (batch / 2) == 0 {
                journal.commit()?;
            }
        }
        journal.commit()?;
        rates.push(records as f64 / start.elapsed().as_secs_f64());
    }
    drop(journal);
    recorder.close()?;
    let start = Instant::now();
    let report = verify(dir).map_err(|finding| anyhow!("{finding}"))?;
    Ok([
        rates[0],
        rates[1],
        report.records as f64 / start.elapsed().as_secs_f64(),
    ])
}
