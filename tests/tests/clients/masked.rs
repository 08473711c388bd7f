//! Masked tables through tokio-postgres, node-postgres, and a peer that speaks as the JDBC driver does; whoever keeps the
//! masks.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _};
use tests::house::Grant;
use tests::raw::{self, Message, Raw};
use tests::roles::{admin, keyed, masked, value};
use tests::{House, Plan};
use tokio_postgres::Client;

use crate::masks::house;
use crate::node::action;
use crate::{node, report, script};

/// What would be part of a raw value.
const RAW: &[&str] = &["canary", "CANARY", "4111-1111", "5500-0000", "1234.56"];

fn plans() -> [Plan; 3] {
    [masked("shared"), masked("role"), keyed()]
}

fn nothing_raw(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    for raw in RAW {
        assert!(!text.contains(raw), "{raw} in {text}");
    }
    text
}

/// The e-mail addresses as a plain query gives them: what every other way has to give, too.
async fn emails(house: &House, grant: &Grant) -> Result<Vec<String>> {
    let client = house.connect(grant).await?;
    let all = value(
        &client,
        "SELECT string_agg(email, ',' ORDER BY id) FROM crm.people WHERE id < 10",
    )
    .await?;
    nothing_raw(all.as_bytes());
    let all: Vec<String> = all.split(',').map(str::to_owned).collect();
    assert!(
        all.len() == 3 && all.iter().all(|one| one.ends_with("@example.test")),
        "{all:?}"
    );
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_reads_and_writes_masked_tables() -> Result<()> {
    for plan in plans() {
        let house = house(plan).await?;
        let grant = house.grant("masked").await?;
        let expected = emails(&house, &grant).await?;
        let mut client = house.connect(&grant).await?;
        typed(&client, &expected).await?;
        portals(&mut client, &expected).await?;
        copies(&house, &client, &expected).await?;
    }
    Ok(())
}

async fn typed(client: &Client, expected: &[String]) -> Result<()> {
    let statement = client
        .prepare("SELECT id, email, card, born, salary, extra, tags FROM crm.people WHERE id = $1")
        .await?;
    let types: Vec<&str> = statement.columns().iter().map(|column| column.type_().name()).collect();
    assert_eq!(
        types,
        ["int4", "varchar", "varchar", "date", "numeric", "jsonb", "_text"]
    );
    for _ in 0..3 {
        for (id, email) in (1_i32..).zip(expected) {
            let row = client.query_one(&statement, &[&id]).await?;
            assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (id, email.as_str()));
            assert_eq!(row.get::<_, Option<Vec<String>>>("tags"), None);
        }
    }
    // Polled together, they travel as one pipeline.
    let joined = client
        .prepare("SELECT p.email FROM crm.orders o JOIN crm.people p ON p.id = o.person WHERE o.id = $1")
        .await?;
    let rows = futures_util::future::try_join_all([10_i32, 11].iter().map(|id| {
        let joined = &joined;
        async move { client.query_one(joined, &[id]).await.map(|row| row.get::<_, String>(0)) }
    }));
    assert_eq!(rows.await?, expected[..2]);
    Ok(())
}

async fn portals(client: &mut Client, expected: &[String]) -> Result<()> {
    let transaction = client.transaction().await?;
    let portal = transaction
        .bind("SELECT email FROM crm.people ORDER BY id", &[])
        .await?;
    let mut read = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 2).await?;
        if rows.is_empty() {
            break;
        }
        read.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        transaction.query_one("SELECT email FROM crm.staff", &[]).await?;
    }
    assert_eq!(read, expected);
    Ok(transaction.commit().await?)
}

async fn copies(house: &House, client: &Client, expected: &[String]) -> Result<()> {
    for format in ["text", "csv", "binary"] {
        let sql = format!("COPY crm.people (id, email, card) TO STDOUT (FORMAT {format})");
        let data: Vec<Bytes> = client.copy_out(&sql).await?.try_collect().await?;
        let text = nothing_raw(&data.concat());
        // COPY of a table leaves its children out.
        assert!(expected[..2].iter().all(|email| text.contains(email)), "{text}");
        assert_eq!(text.starts_with("PGCOPY"), format == "binary");
    }
    let sink = client.copy_in("COPY crm.people (id, name) FROM STDIN").await?;
    let mut sink = std::pin::pin!(sink);
    for id in 100..400 {
        sink.send(Bytes::from(format!("{id}\tcopied {id}\n"))).await?;
    }
    assert_eq!(sink.finish().await?, 300);
    let direct = admin(house).await?;
    let there = "SELECT count(*) || ' ' || count(email) FROM crm.people WHERE name LIKE 'copied %'";
    assert_eq!(value(&direct, there).await?, "300 0");
    assert_eq!(
        client.execute("DELETE FROM crm.people WHERE id >= 100", &[]).await?,
        300
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres_reads_and_writes_masked_tables() -> Result<()> {
    for plan in plans() {
        let house = house(plan).await?;
        let grant = house.grant("masked").await?;
        let expected = emails(&house, &grant).await?;
        let mut command = node();
        command
            .arg(script("with_pg_masks.mjs"))
            .arg(action()?.join("package.json"));
        let seen = report(&house, &grant, &mut command)?;
        assert_eq!(seen["email"], expected[0].as_str(), "{seen}");
        let parts = ["prepared", "portal", "filter", "written"];
        assert!(parts.iter().all(|part| seen[part] == true), "{seen}");
    }
    Ok(())
}

/// Sends, and reads up to `ready` times ReadyForQuery; no error, nothing raw.
async fn asked(peer: &mut Raw, bytes: &[u8], ready: usize) -> Result<Vec<Message>> {
    peer.send(bytes).await?;
    let seen = peer.until_ready(ready).await?;
    for (tag, body) in &seen {
        let text = nothing_raw(body);
        anyhow::ensure!(*tag != 'E', "{text}");
    }
    Ok(seen)
}

fn rows(seen: &[Message]) -> Vec<&[u8]> {
    let rows = seen.iter().filter(|(tag, _)| *tag == 'D');
    rows.map(|(_, body)| body.as_slice()).collect()
}

/// A DataRow with these values.
fn row(values: &[&[u8]]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).expect("few").to_be_bytes().to_vec();
    for value in values {
        body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
        body.extend(*value);
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_describes_once_fetches_and_sends_batches() -> Result<()> {
    for plan in plans() {
        let house = house(plan).await?;
        let grant = house.grant("masked").await?;
        let expected = emails(&house, &grant).await?;
        let mut peer = raw::endpoint(&house, &grant, &[]).await?;
        describes_once(&mut peer, &expected).await?;
        fetches(&mut peer, &expected).await?;
        batches(&house, &mut peer).await?;
    }
    Ok(())
}

/// Parse with a name and Describe once; then Bind and Execute alone, results in binary.
async fn describes_once(peer: &mut Raw, expected: &[String]) -> Result<()> {
    let sql = "SELECT id, email FROM crm.people WHERE id = $1";
    let parse = [
        raw::parse_typed("S_1", sql, &[23]),
        raw::describe_statement("S_1"),
        raw::sync(),
    ];
    assert_eq!(raw::tags(&asked(peer, &parse.concat(), 1).await?), "1tTZ");
    for _ in 0..4 {
        for (id, email) in (1_i32..).zip(expected) {
            let run = [
                raw::bind_binary("", "S_1", &[id.to_string().as_bytes()]),
                raw::execute(""),
                raw::sync(),
            ];
            let seen = asked(peer, &run.concat(), 1).await?;
            assert_eq!(raw::tags(&seen), "2DCZ");
            assert_eq!(rows(&seen), [row(&[&id.to_be_bytes(), email.as_bytes()])]);
        }
    }
    Ok(())
}

/// A result of several parts: a named portal that is suspended, in a transaction.
async fn fetches(peer: &mut Raw, expected: &[String]) -> Result<()> {
    let begin = [raw::parse("", "BEGIN"), raw::bind("", ""), raw::execute("")];
    let open = [
        raw::parse("S_2", "SELECT email FROM crm.people ORDER BY id"),
        raw::bind_binary("C_1", "S_2", &[]),
        raw::describe("C_1"),
        raw::execute_some("C_1", 1),
        raw::sync(),
    ];
    let seen = asked(peer, &[begin.concat(), open.concat()].concat(), 1).await?;
    assert_eq!(raw::tags(&seen), "12C12TDsZ");
    let mut read: Vec<Vec<u8>> = rows(&seen).into_iter().map(<[u8]>::to_vec).collect();
    for more in ["DsZ", "DsZ", "CZ"] {
        let seen = asked(peer, &[raw::execute_some("C_1", 1), raw::sync()].concat(), 1).await?;
        assert_eq!(raw::tags(&seen), more);
        read.extend(rows(&seen).into_iter().map(<[u8]>::to_vec));
    }
    let all: Vec<Vec<u8>> = expected.iter().map(|email| row(&[email.as_bytes()])).collect();
    assert_eq!(read, all);
    let end = [raw::close('P', "C_1"), raw::parse("", "COMMIT"), raw::bind("", "")];
    let end = [end.concat(), raw::execute(""), raw::sync()].concat();
    assert_eq!(raw::tags(&asked(peer, &end, 1).await?), "312CZ");
    Ok(())
}

/// Many Binds and Executes before one Sync; columns that are not masked are written.
async fn batches(house: &House, peer: &mut Raw) -> Result<()> {
    let mut out = raw::parse_typed("S_3", "INSERT INTO crm.people (id, name) VALUES ($1, $2)", &[23, 25]);
    for id in ["50", "51", "52"] {
        out.extend(raw::bind_values("", "S_3", &[id.as_bytes(), b"batched"]));
        out.extend(raw::describe(""));
        out.extend(raw::execute(""));
    }
    out.extend(raw::sync());
    assert_eq!(raw::tags(&asked(peer, &out, 1).await?), "12nC2nC2nCZ");
    let mut out = raw::parse("S_4", "UPDATE crm.people SET name = 'Bea' WHERE id = $1 RETURNING name");
    for id in ["50", "51"] {
        out.extend(raw::bind_binary("", "S_4", &[id.as_bytes()]));
        out.extend(raw::execute(""));
    }
    out.extend(raw::sync());
    assert_eq!(raw::tags(&asked(peer, &out, 1).await?), "12DC2DCZ");
    let direct = admin(house).await?;
    let there = value(
        &direct,
        "SELECT string_agg(name, ',' ORDER BY id) FROM crm.people WHERE id BETWEEN 50 AND 52",
    )
    .await;
    assert_eq!(there.context("what was written")?, "Bea,Bea,batched");
    Ok(())
}

/// `pg_dump` says that it reads no views: those that stand for masked tables are read, and no others are.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_says_about_views_holds_for_views() -> Result<()> {
    let house = house(masked("role")).await?;
    let grant = house.grant("masked").await?;
    let client = house.connect(&grant).await?;
    let view = "SELECT id FROM crm.made_view";
    client
        .batch_execute("CREATE VIEW crm.made_view AS SELECT id FROM crm.orders")
        .await?;
    assert_eq!(value(&client, view).await?, "10");
    let said = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";
    assert_eq!(value(&client, said).await?, "view, foreign-table");
    for _ in 0..2 {
        client.batch_execute("BEGIN").await?;
        for _ in 0..2 {
            let email = "SELECT email FROM crm.people WHERE id = 1";
            assert_eq!(value(&client, email).await?, "x***@example.test");
            assert_eq!(
                client.query_one(email, &[]).await?.get::<_, &str>(0),
                "x***@example.test"
            );
        }
        let error = client.batch_execute(view).await.err().context("a view was read")?;
        assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{error:?}");
        client.batch_execute("ROLLBACK").await?;
        let error = client.query(view, &[]).await.err().context("a view was read")?;
        assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{error:?}");
    }
    Ok(())
}
