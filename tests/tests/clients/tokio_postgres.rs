//! tokio-postgres: typed queries, COPY, portals, pipelined futures, cancelling.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use tests::House;
use tests::client::tls;
use tests::house::DATABASE;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::recorded;

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_works() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let mut client = house.connect(&grant).await?;
    queries(&client).await?;
    transactions(&mut client).await?;
    copies(&client).await?;
    cancels(&house, &client).await?;
    notifications(&house, &grant, &client).await?;
    drop(client);
    recorded(
        &house,
        &grant,
        &[
            ("SELECT note FROM app.orders", "SELECT 1"),
            ("COPY app.notes", "COPY 2000"),
        ],
    )
}

async fn queries(client: &Client) -> Result<()> {
    let row = client
        .query_one(
            "SELECT id, amount::float8, note FROM app.orders WHERE id = $1",
            &[&2_i32],
        )
        .await?;
    assert_eq!(
        (row.get::<_, i32>(0), row.get::<_, f64>(1), row.get::<_, &str>("note")),
        (2, 3.0, "order 2")
    );
    let rows = client
        .query(
            "SELECT id FROM app.orders WHERE id = ANY($1) ORDER BY id",
            &[&vec![3_i32, 1]],
        )
        .await?;
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [1, 3]);
    // A type the driver does not know makes it read the catalog.
    client
        .batch_execute("CREATE TYPE app.mood AS ENUM ('good', 'bad')")
        .await?;
    client.batch_execute("CREATE TABLE app.moods (mood app.mood)").await?;
    let statement = client.prepare("SELECT mood FROM app.moods WHERE mood = $1").await?;
    assert_eq!(
        (statement.columns()[0].type_().name(), statement.params()[0].name()),
        ("mood", "mood")
    );
    client.batch_execute("DROP TABLE app.moods").await?;
    client.batch_execute("DROP TYPE app.mood").await?;
    // The futures are polled together: their messages travel as one pipeline.
    let statement = client.prepare("SELECT note FROM app.orders WHERE id = $1").await?;
    let notes = futures_util::future::try_join_all((1_i32..=40).map(|id| {
        let statement = &statement;
        async move {
            client
                .query_one(statement, &[&id])
                .await
                .map(|row| row.get::<_, String>(0))
        }
    }))
    .await?;
    assert_eq!(notes, (1..=40).map(|id| format!("order {id}")).collect::<Vec<_>>());
    // One refusal among pipelined statements hits that one only.
    let (first, denied, last) = futures_util::join!(
        client.query_one("SELECT 1::int4", &[]),
        client.query("SELECT token FROM app.card_tokens", &[]),
        client.query_one("SELECT 3::int4", &[]),
    );
    assert_eq!((first?.get::<_, i32>(0), last?.get::<_, i32>(0)), (1, 3));
    assert_eq!(denied.unwrap_err().code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let error = client.query("SELECT $1::int4 / 0", &[&1_i32]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
    Ok(())
}

async fn transactions(client: &mut Client) -> Result<()> {
    let mut transaction = client.transaction().await?;
    transaction
        .execute("INSERT INTO app.notes VALUES ($1, $2)", &[&1_i32, &"kept"])
        .await?;
    let savepoint = transaction.savepoint("s").await?;
    savepoint
        .execute("INSERT INTO app.notes VALUES ($1, $2)", &[&2_i32, &"rolled back"])
        .await?;
    savepoint.rollback().await?;
    let portal = transaction.bind("SELECT id FROM app.orders ORDER BY id", &[]).await?;
    let mut read = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 20).await?;
        if rows.is_empty() {
            break;
        }
        read.push(rows.len());
        // Something else in between does not disturb the portal.
        transaction.query_one("SELECT 1::int4", &[]).await?;
    }
    assert_eq!(read, [20, 20, 10]);
    transaction.commit().await?;
    let rows = client.query("SELECT id FROM app.notes", &[]).await?;
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [1]);
    let transaction = client.build_transaction().read_only(true).start().await?;
    let error = transaction.execute("DELETE FROM app.notes", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
    Ok(())
}

async fn copies(client: &Client) -> Result<()> {
    let sink = client.copy_in("COPY app.notes (id, body) FROM STDIN").await?;
    let mut sink = std::pin::pin!(sink);
    for number in 100..2100 {
        sink.send(Bytes::from(format!("{number}\tcopied {number}\n"))).await?;
    }
    assert_eq!(sink.finish().await?, 2000);
    let out = client
        .copy_out("COPY (SELECT id FROM app.notes WHERE id >= 100 ORDER BY id) TO STDOUT")
        .await?;
    let bytes: Vec<Bytes> = out.try_collect().await?;
    let text = String::from_utf8(bytes.concat())?;
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        (100..2100).map(|id| id.to_string()).collect::<Vec<_>>()
    );
    // A sink that is dropped fails its COPY: nothing of it stays.
    {
        let sink = client.copy_in("COPY app.notes (id, body) FROM STDIN").await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(b"9999\tnever\n")).await?;
    }
    assert!(
        client
            .query("SELECT id FROM app.notes WHERE id = 9999", &[])
            .await?
            .is_empty()
    );
    let error = client
        .copy_in::<_, Bytes>("COPY app.card_tokens FROM STDIN")
        .await
        .err()
        .context("it was let in")?;
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    assert_eq!(
        client.execute("DELETE FROM app.notes WHERE id >= 100", &[]).await?,
        2000
    );
    Ok(())
}

/// Waits until the server runs the sleeper.
async fn asleep(house: &House) -> Result<()> {
    let sleepers = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'";
    while house.cluster.psql("shop", sleepers)? != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn cancels(house: &House, client: &Client) -> Result<()> {
    let token = client.cancel_token();
    let (slept, sent) = futures_util::join!(client.query("SELECT pg_sleep(30)", &[]), async {
        asleep(house).await?;
        // In plain text, as libpq before 17 sends it.
        let plain = tokio::net::TcpStream::connect(("127.0.0.1", house.port)).await?;
        token.cancel_query_raw(plain, NoTls).await?;
        anyhow::Ok(())
    });
    sent?;
    assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    let (slept, sent) = futures_util::join!(client.query("SELECT pg_sleep(30)", &[]), async {
        asleep(house).await?;
        token
            .cancel_query_raw(tls(house.port, house.authority.pem()).await?, NoTls)
            .await?;
        anyhow::Ok(())
    });
    sent?;
    assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    assert_eq!(client.query_one("SELECT 1::int4", &[]).await?.get::<_, i32>(0), 1);
    Ok(())
}

async fn notifications(house: &House, grant: &tests::Grant, sender: &Client) -> Result<()> {
    let mut config = tokio_postgres::Config::new();
    config.user(grant.user()).password(grant.password()).dbname(DATABASE);
    let (listener, mut connection) = config
        .connect_raw(tls(house.port, house.authority.pem()).await?, NoTls)
        .await?;
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let told = (notification.process_id(), notification.payload().to_owned());
                if tell.send(told).is_err() {
                    break;
                }
            }
        }
    });
    listener.batch_execute("LISTEN changed").await?;
    let pid = sender.query_one("SELECT pg_backend_pid()", &[]).await?.get::<_, i32>(0);
    sender.execute("SELECT pg_notify('changed', $1)", &[&"one"]).await?;
    let told = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await?;
    assert_eq!(told, Some((pid, "one".to_owned())));
    Ok(())
}
