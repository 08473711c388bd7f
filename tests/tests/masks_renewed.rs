//! The views of masked tables go and come with DDL of others, and who reads the tables all the while sees no error and
//! no raw value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tests::House;
use tests::roles::{masked, value};
use tokio_postgres::{Client, SimpleQueryMessage};

/// How often DDL changes the table.
const CHANGES: usize = 14;

/// What readers have read, and when they are to stop.
#[derive(Default)]
struct Read {
    enough: AtomicBool,
    count: AtomicUsize,
}

impl Read {
    fn one(&self, seen: &str) -> Result<()> {
        anyhow::ensure!(seen == "***", "raw: {seen}");
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn goes_on(&self) -> bool {
        !self.enough.load(Ordering::SeqCst)
    }

    /// Waits until the readers have read again.
    async fn more(&self) -> Result<()> {
        let before = self.count.load(Ordering::SeqCst);
        let more = async {
            while self.count.load(Ordering::SeqCst) < before + 6 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), more)
            .await
            .context("nobody reads any more")
    }
}

async fn simple(client: Client, read: Arc<Read>) -> Result<()> {
    while read.goes_on() {
        for message in client.simple_query("SELECT ssn FROM crm.parted WHERE id = 1").await? {
            if let SimpleQueryMessage::Row(row) = message {
                read.one(row.get(0).unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

async fn prepared_once(client: Client, read: Arc<Read>) -> Result<()> {
    let statement = client
        .prepare("SELECT ssn FROM crm.parted WHERE at > $1::text::date")
        .await?;
    while read.goes_on() {
        read.one(client.query_one(&statement, &[&"2000-01-01"]).await?.get(0))?;
    }
    Ok(())
}

async fn prepared_each_time(client: Client, read: Arc<Read>) -> Result<()> {
    while read.goes_on() {
        read.one(client.query_one("SELECT ssn FROM ONLY crm.parted_1", &[]).await?.get(0))?;
    }
    Ok(())
}

async fn in_transactions(mut client: Client, read: Arc<Read>) -> Result<()> {
    while read.goes_on() {
        let transaction = client.transaction().await?;
        read.one(transaction.query_one("SELECT ssn FROM crm.parted", &[]).await?.get(0))?;
        let portal = transaction.bind("SELECT ssn FROM crm.parted_1", &[]).await?;
        read.one(transaction.query_portal(&portal, 1).await?[0].get(0))?;
        transaction.query("SELECT email FROM crm.people", &[]).await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Another scope's DDL, each time of another kind.
async fn change(client: &Client, number: usize) -> Result<()> {
    let kind = if number.is_multiple_of(2) { "bigint" } else { "int" };
    match number % 3 {
        0 => client
            .execute(&format!("ALTER TABLE crm.parted ADD COLUMN n{number} int"), &[])
            .await
            .map(drop),
        1 => {
            client
                .batch_execute(&format!("ALTER TABLE crm.parted ALTER COLUMN id TYPE {kind}"))
                .await
        }
        _ => {
            client
                .batch_execute(&format!("BEGIN; ALTER TABLE crm.parted ADD COLUMN n{number} int"))
                .await?;
            client
                .batch_execute(&format!("ALTER TABLE crm.parted DROP COLUMN n{number}; COMMIT"))
                .await
        }
    }
    .with_context(|| format!("change {number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_while_another_scope_changes_the_table_sees_no_error() -> Result<()> {
    let house = House::plan(masked("role")).await?;
    let (migrate, reader) = (house.grant("masked").await?, house.grant("reader").await?);
    let ddl = house.connect(&migrate).await?;
    let read = Arc::new(Read::default());
    let mut readers = tokio::task::JoinSet::new();
    let mut add = |name: &'static str, reading: BoxFuture<'static, Result<()>>| {
        readers.spawn(async move { reading.await.with_context(|| name) });
    };
    let (all, one) = (|| read.clone(), house.connect(&migrate).await?);
    add("simple", simple(house.connect(&reader).await?, all()).boxed());
    add("simple, as who changes it", simple(one, all()).boxed());
    add(
        "prepared once",
        prepared_once(house.connect(&reader).await?, all()).boxed(),
    );
    add(
        "prepared",
        prepared_each_time(house.connect(&reader).await?, all()).boxed(),
    );
    add(
        "in transactions",
        in_transactions(house.connect(&reader).await?, all()).boxed(),
    );
    let changes = async {
        read.more().await?;
        for number in 0..CHANGES {
            change(&ddl, number).await?;
            read.more().await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        changed = changes => changed?,
        Some(ended) = readers.join_next() => {
            ended??;
        }
    }
    read.enough.store(true, Ordering::SeqCst);
    while let Some(ended) = readers.join_next().await {
        ended??;
    }
    Ok(())
}

/// What the client was told of a prepared statement's columns stays true, or the server's own error says that it does not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_described_does_not_change_unseen() -> Result<()> {
    let house = House::plan(masked("role")).await?;
    let (migrate, reader) = (house.grant("masked").await?, house.grant("reader").await?);
    let (ddl, client) = (house.connect(&migrate).await?, house.connect(&reader).await?);
    let id = client.prepare("SELECT id, ssn FROM crm.parted").await?;
    let ssn = client.prepare("SELECT ssn FROM crm.parted WHERE id = $1").await?;
    assert_eq!(client.query_one(&id, &[]).await?.get::<_, i32>(0), 1);
    ddl.batch_execute("ALTER TABLE crm.parted ALTER COLUMN id TYPE bigint")
        .await?;
    for _ in 0..2 {
        let error = client
            .query_one(&id, &[])
            .await
            .err()
            .context("it gave other columns")?;
        assert_eq!(error.code().map(|code| code.code()), Some("0A000"));
        // The parameter is still what the client was told.
        assert_eq!(client.query_one(&ssn, &[&1_i32]).await?.get::<_, String>(0), "***");
    }
    let again = client.prepare("SELECT id, ssn FROM crm.parted").await?;
    assert_eq!(client.query_one(&again, &[]).await?.get::<_, i64>(0), 1);
    // A column that is gone is gone.
    ddl.batch_execute("ALTER TABLE crm.parted ADD COLUMN late int").await?;
    assert_eq!(client.query_one(&ssn, &[&1_i32]).await?.get::<_, String>(0), "***");
    assert_eq!(value(&client, "SELECT ssn FROM crm.parted").await?, "***");
    Ok(())
}
