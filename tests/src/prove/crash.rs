//! R1 and R2: the broker is killed at random moments under load; what the server ran is in the recovered ledger, and
//! what a client was told is in it too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hoop::ledger::Status;

use super::oracle::{Book, ServerLog};
use super::workload::{Door, Fate, Journal, Worker};
use super::{Aim, Canaries, Report, Rng, Score};
use crate::House;
use crate::house::{Grant, Plan};

/// Clients at work when the broker dies.
const CLIENTS: u64 = 6;
/// How long a backend may outlive the broker.
const ORPHANS: Duration = Duration::from_secs(5);
/// A grant that is older is replaced before its ttl of 15 minutes ends it.
const GRANT_AGE: Duration = Duration::from_secs(8 * 60);

struct Crash {
    house: House,
    grant: Grant,
    minted: Instant,
    admin: tokio_postgres::Client,
    log: ServerLog,
    book: Book,
    canaries: Canaries,
    intents: Score,
    outcomes: Score,
    restarts: Score,
}

/// Kills the broker `kills` times.
pub async fn crash(seed: u64, kills: u64) -> Result<Report> {
    let house = House::plan(Plan {
        policy: super::policy(),
        extra: super::operator(),
        ..Plan::default()
    })
    .await?;
    let grant = house.grant("migrate").await?;
    let mut crash = Crash {
        admin: admin(&house).await?,
        log: ServerLog::new(house.cluster.home()),
        book: Book::new(&house.path("state")),
        canaries: Canaries::new(),
        intents: Score::new(
            "R1",
            "kill -9 points; statements in the server's log without an intent",
            Aim::of(500),
            Aim::of(2000),
        ),
        outcomes: Score::new(
            "R2",
            "answers a client saw against the recovered outcomes",
            Aim::of(100_000),
            Aim::of(100_000),
        ),
        restarts: Score::new(
            "R1",
            "kill -9: ledger verifies, endpoint works again, orphans gone within 5 s (time: kill to ready)",
            Aim::of(500),
            Aim::of(2000),
        ),
        minted: Instant::now(),
        house,
        grant,
    };
    crash.canaries.grant(&crash.grant);
    let rng = Rng::new(seed);
    let mut statements = 0;
    for kill in 0..kills {
        statements += crash
            .round(kill, rng.part(kill))
            .await
            .with_context(|| format!("kill {kill} of seed {seed}"))?;
    }
    let ran: u64 = crash.log.seen.values().map(|(_, times)| times).sum();
    crash.intents.what += &format!(
        " ({statements} sent, {ran} in the server's log, {} unknown)",
        crash.book.unknown
    );
    crash.intents.check(ran > 0, || {
        "the server's log shows nothing: this proves nothing".to_owned()
    });
    crash.intents.n -= 1;
    let secrets = crash.canaries.search(&crash.house).await?;
    Ok(Report {
        scores: vec![crash.intents, crash.outcomes, crash.restarts, secrets],
    })
}

/// A superuser's connection.
pub async fn admin(house: &House) -> Result<tokio_postgres::Client> {
    let cluster = &house.cluster;
    crate::client::connect(
        cluster.port(),
        "postgres",
        cluster.password(),
        "shop",
        Some(house.authority.pem()),
    )
    .await
}

async fn at_work(journal: &Mutex<Journal>) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while journal.lock().unwrap().sessions < CLIENTS && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How to enter a grant's endpoint.
pub fn door(house: &House, grant: &Grant) -> Door {
    Door {
        port: house.port,
        ca: house.authority.pem().to_owned(),
        user: grant.user(),
        password: grant.password(),
    }
}

impl Crash {
    async fn round(&mut self, kill: u64, mut rng: Rng) -> Result<u64> {
        if self.minted.elapsed() > GRANT_AGE {
            self.house.revoke(&self.grant).await?;
            self.grant = self.house.grant("migrate").await?;
            self.canaries.grant(&self.grant);
            self.minted = Instant::now();
        }
        let journal = Arc::new(Mutex::new(Journal::default()));
        let prefix = format!("mk{kill}");
        let mut workers = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let keys = (kill * CLIENTS + client) * 100_000;
            let door = door(&self.house, &self.grant);
            let worker = Worker::new(
                door,
                journal.clone(),
                rng.part(client + 1),
                format!("{prefix}c{client}"),
                keys + 1,
            );
            workers.spawn(worker.run());
        }
        if !kill.is_multiple_of(4) {
            // In three of four rounds the moment falls into the work, in the others often into the logins.
            at_work(&journal).await;
        }
        tokio::time::sleep(Duration::from_millis(rng.between(20, 400))).await;
        self.house.kill_broker();
        let killed = Instant::now();
        while let Some(ended) = workers.join_next().await {
            ended?;
        }
        self.house.start_broker().await?;
        self.restarts.took(killed.elapsed());
        self.restarts.n += 1;
        self.intents.n += 1;
        self.no_orphans(kill, killed).await?;
        let journal = std::mem::take(&mut *journal.lock().unwrap());
        self.compare(kill, &journal).await?;
        let (verifies, text) = self.house.verify_ledger()?;
        if !verifies {
            self.restarts.wrong(format!("kill {kill}: {text}"));
        }
        self.alive(kill).await;
        Ok(journal.sent)
    }

    async fn no_orphans(&mut self, kill: u64, killed: Instant) -> Result<()> {
        let sql = "SELECT count(*), coalesce(string_agg(state || ' ' || query, '; '), '') FROM pg_stat_activity WHERE application_name LIKE 'hoop %'";
        loop {
            let row = self.admin.query_one(sql, &[]).await?;
            if row.get::<_, i64>(0) == 0 {
                return Ok(());
            }
            if killed.elapsed() > ORPHANS {
                self.restarts
                    .wrong(format!("kill {kill}: still at the server: {}", row.get::<_, String>(1)));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same endpoint serves again. The statement is checked against the ledger in the next round.
    async fn alive(&mut self, kill: u64) {
        let works = async {
            let client = self.house.connect(&self.grant).await?;
            client
                .simple_query(&format!("SELECT id FROM app.orders WHERE note = 'mk{kill}alivex'"))
                .await?;
            anyhow::Ok(())
        };
        if let Err(error) = works.await {
            self.restarts.wrong(format!(
                "kill {kill}: the endpoint does not work after the restart: {error:#}"
            ));
        }
    }

    async fn compare(&mut self, kill: u64, journal: &Journal) -> Result<()> {
        let wrong = self.book.read()?;
        self.outcomes.violations.extend(wrong);
        let (fresh, unexplained) = self.log.read()?;
        self.intents.violations.extend(unexplained);
        for marker in &fresh {
            let (backend, times) = self.log.seen[marker];
            let all = self.book.executions.get(marker);
            let meant = all.map_or(0, |all| {
                all.iter().filter(|one| one.backend == Some(backend)).count() as u64
            });
            if times > meant {
                self.intents.wrong(format!(
                    "{marker} ran {times} times in backend {backend}, with {meant} intents"
                ));
            }
            let ok = self.book.count(marker, |outcome| outcome.status == Status::Ok);
            // A prepared statement that failed is logged once; what is `ok` was run.
            if ok > times {
                self.outcomes
                    .wrong(format!("{marker} is ok {ok} times, and ran {times} times"));
            }
        }
        for marker in &journal.forbidden {
            if self.log.seen.contains_key(marker) {
                self.intents
                    .wrong(format!("{marker} is forbidden and reached the server"));
            }
        }
        self.told(journal);
        self.rows(kill, journal).await
    }

    /// Everything a client was told is in the ledger.
    fn told(&mut self, journal: &Journal) {
        let mut told: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (marker, tag) in &journal.acknowledged {
            *told.entry((marker, tag)).or_default() += 1;
        }
        for ((marker, tag), times) in told {
            let ok = self
                .book
                .count(marker, |outcome| outcome.status == Status::Ok && outcome.tag == tag);
            self.outcomes.n += times;
            if ok < times {
                let all = self.book.executions.get(marker);
                self.outcomes.wrong(format!(
                    "{marker} was acknowledged {times} times as {tag}, the ledger has {all:?}"
                ));
            }
        }
        for (marker, sqlstate) in &journal.failed {
            let failed = self.book.count(marker, |outcome| outcome.sqlstate == *sqlstate);
            let all = self.book.executions.get(marker);
            self.outcomes.check(failed > 0, || {
                format!("{marker} failed with {sqlstate}, the ledger has {all:?}")
            });
        }
        for marker in &journal.denied {
            let known = self.book.denied.contains(marker);
            self.outcomes
                .check(known, || format!("{marker} was denied, and the ledger does not know"));
        }
        self.outcomes.violations.extend(journal.strange.iter().cloned());
    }

    /// Nothing uncommitted is visible, everything whose commit was acknowledged is.
    async fn rows(&mut self, kill: u64, journal: &Journal) -> Result<()> {
        let sql = "SELECT body FROM app.notes WHERE body LIKE $1 UNION SELECT note FROM app.orders WHERE note LIKE $1";
        let rows = self.admin.query(sql, &[&format!("mk{kill}c%")]).await?;
        let there: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        for (marker, fate) in &journal.rows {
            match (fate, there.contains(marker)) {
                (Fate::There, false) => self.outcomes.wrong(format!("{marker} was committed and is not there")),
                (Fate::NotThere, true) => self.outcomes.wrong(format!("{marker} was not committed and is there")),
                _ => {}
            }
        }
        self.admin
            .batch_execute("TRUNCATE app.notes; DELETE FROM app.orders WHERE note LIKE 'mk%'")
            .await?;
        Ok(())
    }
}
