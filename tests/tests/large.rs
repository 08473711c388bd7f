//! Large, deep and hostile statements through a real broker: honest ones run, bombs are refused in words, a reader that
//! dies costs one statement, and temporary tables stay what they are.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::House;
use tests::command::taken;
use tests::house::Plan;
use tokio_postgres::Client;

async fn broker(scope: &str) -> Result<(House, Client)> {
    let house = House::start().await?;
    let grant = house.grant(scope).await?;
    let client = house.connect(&grant).await?;
    Ok((house, client))
}

fn readers(house: &House) -> Vec<Pid> {
    let parent = house.broker_pid().to_string();
    let all = fs::read_dir("/proc").expect("a list of processes");
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default();
            fields.split(' ').nth(1) == Some(parent.as_str())
        })
        .map(Pid::from_raw)
        .collect()
}

fn code(error: &tokio_postgres::Error) -> String {
    error.code().map(|code| code.code().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_tools_send_is_read_whatever_its_size() -> Result<()> {
    let (house, client) = broker("migrate").await?;
    let joins: String = (0..60)
        .map(|number| format!(" LEFT JOIN app.notes n{number} ON n{number}.id = o.id"))
        .collect();
    let values: Vec<String> = (0..5_000).map(|id| format!("({id}, 'note {id}')")).collect();
    let branches = vec!["(o.id = 1 AND o.note = 'order 1')"; 500].join(" OR ");
    let list = (0..10_000).map(|id| id.to_string()).collect::<Vec<_>>().join(", ");
    client
        .batch_execute(&format!(
            "INSERT INTO app.notes (id, body) VALUES {}",
            values.join(", ")
        ))
        .await?;
    for (name, text, rows) in [
        ("60 joins", format!("SELECT count(*) FROM app.orders o{joins}"), 50_i64),
        (
            "500 branches",
            format!("SELECT count(*) FROM app.orders o WHERE {branches}"),
            1,
        ),
        (
            "10,000 elements",
            format!("SELECT count(*) FROM app.notes WHERE id IN ({list})"),
            5_000,
        ),
        (
            "2 MB",
            format!(
                "SELECT count(*) FROM app.notes WHERE body <> '{}'",
                "x".repeat(2_000_000)
            ),
            5_000,
        ),
    ] {
        // In both protocols: Query, and Parse with Bind and Execute.
        let extended: i64 = client.query_one(&text, &[]).await.context(name)?.get(0);
        assert_eq!(extended, rows, "{name}");
        client.batch_execute(&text).await.context(name)?;
    }
    // A large statement that was prepared runs on after the schema has moved.
    let text = format!("SELECT count(*) FROM app.notes WHERE id IN ({list})");
    let prepared = client.prepare(&text).await?;
    client.batch_execute("CREATE TABLE app.moved (id int)").await?;
    assert_eq!(client.query_one(&prepared, &[]).await?.get::<_, i64>(0), 5_000);
    client.batch_execute(&format!("PREPARE big AS {text}")).await?;
    client.batch_execute("DROP TABLE app.moved").await?;
    client.batch_execute("EXECUTE big").await?;
    client
        .batch_execute(&format!(
            "CREATE TABLE app.moved (id int); INSERT INTO app.moved VALUES (1); {text}"
        ))
        .await?;
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_and_nobody_else_waits() -> Result<()> {
    let (house, client) = broker("migrate").await?;
    let other = house.connect(&house.grant("migrate").await?).await?;
    let around = |open: &str, inner: &str, close: &str, times: usize| {
        format!("SELECT {}{inner}{}", open.repeat(times), close.repeat(times))
    };
    for (name, text) in [
        ("100,000 terms", format!("SELECT 1{}", "+1".repeat(100_000))),
        ("unions", format!("SELECT 1{}", " UNION SELECT 1".repeat(32_000))),
        ("casts", format!("SELECT 1{}", "::int".repeat(100_000))),
        ("comments", around("/*", "1", "*/", 40_000)),
        ("brackets", around("(", "1", ")", 50_000)),
        ("case", around("CASE WHEN true THEN ", "1", " END", 30_000)),
        ("sub-queries", around("(SELECT ", "1", ")", 30_000)),
    ] {
        let refused = client.batch_execute(&text).await.expect_err(name);
        assert_eq!(code(&refused), "54001", "{name}: {refused}");
        assert_eq!(other.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1, "{name}");
    }
    // Flat chains are flat in PostgreSQL's tree, and the server is asked.
    let flat = format!("SELECT true{}", " AND true".repeat(50_000));
    assert!(client.query_one(&flat, &[]).await?.get::<_, bool>(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_dies_costs_the_statement_it_was_reading() -> Result<()> {
    let (house, client) = broker("migrate").await?;
    let other = house.connect(&house.grant("migrate").await?).await?;
    // Long enough to be stopped in the middle.
    let text = format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 100_000].join(","));
    client.batch_execute(&text).await?;
    let [first] = readers(&house)[..] else {
        panic!("{:?}", readers(&house))
    };
    let before = taken(first);
    let reading = tokio::spawn(async move {
        let refused = client.batch_execute(&text).await;
        (client, text, refused)
    });
    while taken(first) == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    kill(first, Signal::SIGSTOP)?;
    assert_eq!(other.query_one("SELECT 2", &[]).await?.get::<_, i32>(0), 2);
    kill(first, Signal::SIGABRT)?;
    kill(first, Signal::SIGCONT)?;
    let (client, text, refused) = reading.await?;
    let refused = refused.expect_err("its reader died");
    assert_eq!(code(&refused), "42501");
    let words = refused.as_db_error().map(ToString::to_string).unwrap_or_default();
    assert!(words.contains("a statement that cannot be read"), "{words}");
    client.batch_execute(&text).await?;
    let (_, metrics) = house.api("GET", "/metrics", None, None).await?;
    let metrics = metrics.as_str().unwrap_or_default();
    let counted = "hoop_statements_unread_total{code=\"reader-failed\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_table_needs_its_own_rule_and_hides_the_real_one() -> Result<()> {
    let (_house, client) = broker("migrate").await?;
    let refused = client
        .batch_execute("CREATE TEMP TABLE t (id int)")
        .await
        .expect_err("no rule");
    assert!(
        refused.to_string().contains("pg_temp.t") || code(&refused) == "42501",
        "{refused}"
    );

    let with_own = |text: &str| {
        text.replace(
            "tables: [\"app.*\", \"public.*\"]",
            "tables: [\"app.*\", \"public.*\", \"pg_temp.*\"]",
        )
    };
    let usual = Plan::default();
    let house = House::plan(Plan {
        policy: with_own(&usual.policy),
        extra: with_own(include_str!("../fixtures/ceilings.yaml")),
        ..usual
    })
    .await?;
    let client = house.connect(&house.grant("migrate").await?).await?;
    client
        .batch_execute(
            "CREATE TEMP TABLE notes (id int); INSERT INTO notes VALUES (7); CREATE TABLE public.notes (id int)",
        )
        .await?;
    assert_eq!(client.query_one("SELECT id FROM notes", &[]).await?.get::<_, i32>(0), 7);
    // What it hides cannot be had through it, nor it through that.
    client
        .batch_execute("CREATE TEMP TABLE card_tokens (id int); INSERT INTO card_tokens VALUES (1)")
        .await?;
    client.query_one("SELECT id FROM card_tokens", &[]).await?;
    let refused = client
        .query_one("SELECT id FROM app.card_tokens", &[])
        .await
        .expect_err("never");
    assert_eq!(code(&refused), "42501");
    // Another session neither sees it nor is led astray by it.
    let other = house.connect(&house.grant("migrate").await?).await?;
    assert!(
        other.query_opt("SELECT id FROM notes", &[]).await?.is_none(),
        "the real one, empty"
    );
    // The session follows what others do.
    other.batch_execute("CREATE TABLE app.later (id int)").await?;
    other.batch_execute("SELECT 1").await?;
    client.query_opt("SELECT id FROM app.later", &[]).await?;
    // A rollback takes it away, and the name means the real one again.
    client.batch_execute("DROP TABLE notes").await?;
    assert!(client.query_opt("SELECT id FROM notes", &[]).await?.is_none());
    client.batch_execute("BEGIN").await?;
    client.batch_execute("CREATE TEMP TABLE notes (id int)").await?;
    client.batch_execute("ROLLBACK").await?;
    client.batch_execute("INSERT INTO notes VALUES (1)").await?;
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM public.notes")?, "1");
    // One that is gone at commit.
    client
        .batch_execute("BEGIN; CREATE TEMP TABLE notes (id int) ON COMMIT DROP; COMMIT")
        .await?;
    client.batch_execute("INSERT INTO notes VALUES (2)").await?;
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM public.notes")?, "2");
    // Through a view of its own nothing is written that could not be written otherwise.
    client
        .batch_execute("CREATE TEMP VIEW v AS SELECT id, note FROM app.orders")
        .await?;
    client.query("SELECT id FROM v", &[]).await?;
    let refused = client
        .batch_execute("UPDATE v SET note = 'x'")
        .await
        .expect_err("it is a view");
    assert_eq!(code(&refused), "42501");
    Ok(())
}
