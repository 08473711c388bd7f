//! Two brokers, each with a state of its own, on one database: one runs the migrations of a masked table, jobs read it
//! through the other, which hears of them late. Nothing raw comes at any time, and reading goes on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use tests::house::Plan;
use tests::roles::{Second, masked};
use tests::{Grant, House};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

/// Each leaves the table as it found it.
const CHANGES: &[&[&str]] = &[
    &[
        "ALTER TABLE crm.parted RENAME COLUMN ssn TO id2",
        "ALTER TABLE crm.parted RENAME COLUMN id2 TO ssn",
    ],
    // The open column and the masked one exchange their names.
    &[
        "ALTER TABLE crm.parted RENAME COLUMN ssn TO x; ALTER TABLE crm.parted RENAME COLUMN note TO ssn; ALTER TABLE crm.parted RENAME COLUMN x TO note",
        "ALTER TABLE crm.parted RENAME COLUMN ssn TO x; ALTER TABLE crm.parted RENAME COLUMN note TO ssn; ALTER TABLE crm.parted RENAME COLUMN x TO note",
    ],
    &[
        "ALTER TABLE crm.parted ALTER COLUMN ssn TYPE varchar(40)",
        "ALTER TABLE crm.parted ALTER COLUMN ssn TYPE text",
    ],
    &[
        "ALTER TABLE crm.parted ADD COLUMN later text DEFAULT 'canary-later'",
        "ALTER TABLE crm.parted DROP COLUMN later",
    ],
    // The masked table goes out of the way of one that looks like it, and comes back.
    &[
        "BEGIN; ALTER TABLE crm.parted RENAME TO made_parted; CREATE TABLE crm.parted (id int, at date, ssn text, note text); COMMIT",
        "BEGIN; DROP TABLE crm.parted; ALTER TABLE crm.made_parted RENAME TO parted; COMMIT",
    ],
    // What is open takes the place of what is masked.
    &[
        "BEGIN; ALTER TABLE crm.parted DROP COLUMN note; ALTER TABLE crm.parted RENAME COLUMN ssn TO note; COMMIT",
        "BEGIN; ALTER TABLE crm.parted RENAME COLUMN note TO ssn; ALTER TABLE crm.parted ADD COLUMN note text DEFAULT 'open'; COMMIT",
    ],
];

const READS: &[&str] = &[
    "SELECT * FROM crm.parted",
    "SELECT id, ssn, note FROM crm.parted",
    "SELECT ssn FROM crm.parted_1",
    "SELECT note FROM crm.parted",
    "SELECT row_to_json(p) FROM crm.parted p",
    "SELECT id2 FROM crm.parted",
    "SELECT later FROM crm.parted",
    "SELECT * FROM crm.made_parted",
    "UPDATE crm.parted SET at = at RETURNING note, id",
];

/// What the readers have seen, and when they may stop.
#[derive(Default)]
struct Seen {
    answers: AtomicUsize,
    enough: AtomicBool,
}

impl Seen {
    fn one(&self, sql: &str, answer: &str) -> Result<()> {
        anyhow::ensure!(!answer.contains("canary"), "{sql}: {answer}");
        self.answers.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn goes_on(&self) -> bool {
        !self.enough.load(Ordering::SeqCst)
    }

    /// Waits until more was read.
    async fn more(&self) -> Result<()> {
        let (before, began) = (self.answers.load(Ordering::SeqCst), Instant::now());
        while self.answers.load(Ordering::SeqCst) < before + 2 * READS.len() {
            anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "nobody reads any more");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Errors may come, and may not tell either.
fn told(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| format!("{error:?}"))
}

/// Where readers get their sessions: one that was ended, since what it was about to show was not what it had read of, is
/// replaced.
struct Source<'h> {
    house: &'h House,
    other: &'h Second,
    reader: &'h Grant,
}

impl Source<'_> {
    async fn open(&self) -> Result<Client> {
        self.other.connect(self.house, self.reader).await
    }

    async fn renew(&self, client: &mut Client) -> Result<()> {
        if client.is_closed() {
            *client = self.open().await?;
        }
        Ok(())
    }
}

async fn simple(source: &Source<'_>, seen: &Seen) -> Result<()> {
    let mut client = source.open().await?;
    while seen.goes_on() {
        source.renew(&mut client).await?;
        for sql in READS {
            let answer = match client.simple_query(sql).await {
                Ok(rows) => rows.iter().map(|row| format!("{row:?}")).collect(),
                Err(error) => told(&error),
            };
            seen.one(sql, &answer)?;
        }
    }
    Ok(())
}

/// Statements described once, and executed for as long as they are good for it.
async fn prepared(source: &Source<'_>, seen: &Seen) -> Result<()> {
    let mut client = source.open().await?;
    let mut statements: Vec<(&str, Option<Statement>)> = READS.iter().take(4).map(|sql| (*sql, None)).collect();
    while seen.goes_on() {
        source.renew(&mut client).await?;
        for (sql, statement) in &mut statements {
            let Some(known) = statement else {
                *statement = client.prepare(sql).await.ok();
                continue;
            };
            let answer = match client.query(&*known, &[]).await {
                Ok(rows) => rows
                    .iter()
                    .map(|row| {
                        format!(
                            "{:?}",
                            (0..row.len())
                                .map(|at| row.try_get::<_, &str>(at).unwrap_or_default())
                                .collect::<Vec<_>>()
                        )
                    })
                    .collect(),
                Err(error) => {
                    *statement = None;
                    told(&error)
                }
            };
            seen.one(sql, &answer)?;
        }
    }
    Ok(())
}

/// COPY, and cursors within a transaction.
async fn copied(source: &Source<'_>, seen: &Seen) -> Result<()> {
    let mut client = source.open().await?;
    while seen.goes_on() {
        source.renew(&mut client).await?;
        let sql = "COPY crm.parted TO STDOUT";
        let answer = match client.copy_out(sql).await {
            Ok(rows) => match rows.try_collect::<Vec<_>>().await {
                Ok(rows) => String::from_utf8_lossy(&rows.concat()).into_owned(),
                Err(error) => told(&error),
            },
            Err(error) => told(&error),
        };
        seen.one(sql, &answer)?;
        let sql = "BEGIN; DECLARE c CURSOR FOR SELECT * FROM crm.parted; FETCH ALL FROM c";
        let answer = match client.simple_query(sql).await {
            Ok(rows) => rows.iter().map(|row| format!("{row:?}")).collect(),
            Err(error) => told(&error),
        };
        seen.one(sql, &answer)?;
        if let Err(error) = client.simple_query("ROLLBACK").await {
            seen.one("ROLLBACK", &told(&error))?;
        }
    }
    Ok(())
}

/// The other broker may make a view, or give a right, in the middle of it: the server then says that it stands in the way,
/// and it is tried again.
async fn changed(ddl: &Client, sql: &str) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = ddl.batch_execute(sql).await {
        let in_the_way = [
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::T_R_DEADLOCK_DETECTED,
            // A tuple of the catalog that both change.
            SqlState::INTERNAL_ERROR,
        ];
        let passes = error.code().is_some_and(|code| in_the_way.contains(code));
        if !passes || began.elapsed() > Duration::from_secs(30) {
            return Err(error.into());
        }
        ddl.batch_execute("ROLLBACK").await?;
    }
    Ok(())
}

fn plan() -> Plan {
    let mut plan = masked("role");
    plan.schema += "\nALTER TABLE crm.parted ADD COLUMN note text DEFAULT 'open';";
    // Who masks a column may not rename it.
    plan.policy += "\n  mover:
    database: shop
    who:
      - { issuer: github, branch: main, environment: production, events: [push] }
    can:
      - { statements: [ddl], tables: [\"crm.*\"], as: crm_owner }
    limits: { ttl: 15m, max-session: 45m, max-connections: 16 }
";
    plan
}

/// The masked value, as the reader sees it.
async fn reads_masked(client: &Client) -> Result<()> {
    let began = Instant::now();
    loop {
        let rows = client.simple_query("SELECT ssn FROM crm.parted").await;
        let value = rows.as_ref().ok().and_then(|rows| {
            rows.iter().find_map(|row| match row {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
        });
        if value.as_deref() == Some("***") {
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(40), "still {rows:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_broker_changes_the_other_does_not_show() -> Result<()> {
    let house = House::plan(plan()).await?;
    let other = Second::start(&house, "state-2").await?;
    let (mover, reader) = (house.grant("mover").await?, other.grant(&house, "reader").await?);
    let ddl = house.connect(&mover).await?;
    reads_masked(&other.connect(&house, &reader).await?).await?;
    let seen = Seen::default();
    let source = Source {
        house: &house,
        other: &other,
        reader: &reader,
    };
    let changes = async {
        for (number, steps) in CHANGES.iter().enumerate() {
            for sql in *steps {
                changed(&ddl, sql)
                    .await
                    .with_context(|| format!("change {number}: {sql}"))?;
                seen.more().await?;
            }
        }
        seen.enough.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let readers = (simple(&source, &seen), prepared(&source, &seen), copied(&source, &seen));
    tokio::try_join!(changes, readers.0, readers.1, readers.2)?;
    reads_masked(&other.connect(&house, &reader).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_their_brokers_own() -> Result<()> {
    let house = House::plan(plan()).await?;
    let other = Second::start(&house, "state-2").await?;
    let (mine, theirs) = (house.grant("reader").await?, other.grant(&house, "reader").await?);
    // Neither knows the other's.
    assert!(other.connect(&house, &mine).await.is_err());
    assert!(house.connect(&theirs).await.is_err());
    let (near, far) = (house.connect(&mine).await?, other.connect(&house, &theirs).await?);
    house.revoke(&mine).await?;
    assert!(near.simple_query("SELECT 1").await.is_err());
    reads_masked(&far).await
}
