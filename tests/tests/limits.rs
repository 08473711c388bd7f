//! Limits on a live server: what the job received, what the database holds afterwards, and where the session stands.

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use tests::raw::{
    Message, Raw, bind, copy_data, copy_done, describe, endpoint, execute, execute_some, field, frame, parse, query,
    sync, tags,
};
use tests::{Grant, House, Plan};
use tokio_postgres::error::SqlState;

const POLICY: &str = include_str!("../fixtures/limits.yaml");

fn plan() -> Plan {
    let mut plan = Plan::default();
    plan.schema += include_str!("../fixtures/limits.sql");
    plan.policy = POLICY.to_owned();
    plan.extra =
        include_str!("../fixtures/ceilings.yaml").replace("[\"pg_catalog.*\"]", "[\"pg_catalog.*\", \"app.*\"]");
    plan
}

async fn house() -> Result<House> {
    House::plan(plan()).await
}

/// The policy's line that sets `key` in `scope`.
fn line(scope: &str, key: &str) -> String {
    let start = POLICY.find(&format!("  {scope}:\n")).expect("the scope");
    let at = start + POLICY[start..].find(key).expect("the key");
    let line = POLICY[..at].matches('\n').count() + 1;
    format!(".hoop/db-access.yaml:{line} (scope {scope})")
}

async fn raw(house: &House, scope: &str) -> Result<(Raw, Grant)> {
    let grant = house.grant(scope).await?;
    Ok((endpoint(house, &grant, &[("database", "shop")]).await?, grant))
}

async fn ask(peer: &mut Raw, bytes: &[u8], readies: usize) -> Result<Vec<Message>> {
    peer.send(bytes).await?;
    peer.until_ready(readies).await
}

async fn q(peer: &mut Raw, sql: &str) -> Result<Vec<Message>> {
    ask(peer, &query(sql), 1).await
}

/// SQLSTATE and message of the only error.
#[track_caller]
fn error(messages: &[Message]) -> (String, String) {
    let mut errors = messages.iter().filter(|(tag, _)| *tag == 'E');
    let (_, body) = errors
        .next()
        .unwrap_or_else(|| panic!("no error in {}", tags(messages)));
    assert!(errors.next().is_none(), "one error");
    (field(body, 'C'), field(body, 'M'))
}

fn status(messages: &[Message]) -> char {
    messages.last().map_or('?', |(_, body)| char::from(body[0]))
}

fn rows(messages: &[Message]) -> usize {
    messages.iter().filter(|(tag, _)| matches!(tag, 'D' | 'd')).count()
}

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", ""), describe(""), execute("")].concat()
}

fn count(house: &House, table: &str) -> Result<String> {
    house.cluster.psql("shop", &format!("SELECT count(*) FROM app.{table}"))
}

fn verified(house: &House) -> Result<()> {
    let (verifies, text) = house.verify_ledger()?;
    assert!(verifies, "{text}");
    Ok(())
}

// === results ===

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_cut_at_max_rows() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "rows").await?;
    let over = format!("denied by {}: SELECT with more than 10 rows", line("rows", "max-rows"));
    // As many as allowed, then one more, in both protocols.
    let fits = "SELECT id FROM app.many WHERE id <= 10";
    let long = "SELECT id FROM app.many";
    for (sql, bytes) in [("simple", query(fits)), ("extended", [run(fits), sync()].concat())] {
        let answer = ask(&mut peer, &bytes, 1).await?;
        assert_eq!((rows(&answer), status(&answer)), (10, 'I'), "{sql} {}", tags(&answer));
    }
    for bytes in [query(long), [run(long), sync()].concat()] {
        let answer = ask(&mut peer, &bytes, 1).await?;
        assert_eq!(error(&answer), ("54000".to_owned(), over.clone()));
        assert_eq!((rows(&answer), status(&answer)), (10, 'I'));
        assert!(!tags(&answer).contains('C'), "no end but the error: {}", tags(&answer));
        // The session goes on.
        assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    }
    // A result that never ends by itself is stopped upstream.
    let endless = "SELECT a.id FROM app.many a, app.many b, app.many c, app.many d";
    let answer = q(&mut peer, endless).await?;
    assert_eq!(error(&answer).0, "54000");
    assert_eq!(
        house.cluster.psql("shop", "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%app.many d%' AND pid <> pg_backend_pid()")?,
        "0"
    );
    // In a transaction it is aborted, as after the server's own error.
    q(&mut peer, "BEGIN").await?;
    q(&mut peer, "INSERT INTO app.notes VALUES (1, 'gone')").await?;
    let answer = q(&mut peer, long).await?;
    assert_eq!((error(&answer).0.as_str(), status(&answer)), ("54000", 'E'));
    assert_eq!(error(&q(&mut peer, "SELECT 1").await?).0, "25P02");
    assert_eq!(status(&q(&mut peer, "COMMIT").await?), 'I');
    assert_eq!(count(&house, "notes")?, "0");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_around_a_cut_result_is_rolled_back() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "rows").await?;
    // 11 rows: the server has finished before anybody could cancel.
    let eleven = "SELECT id FROM app.many WHERE id <= 11";
    let insert = "INSERT INTO app.notes VALUES (1, 'x')";
    let together = [
        query(&format!("{insert}; {eleven}")),
        query(&format!("{eleven}; {insert}")),
        query(&format!("{eleven}; COMMIT; {insert}")),
        query(&format!("BEGIN; {insert}; {eleven}; COMMIT")),
        [run(insert), run(eleven), sync()].concat(),
        [run(eleven), run(insert), sync()].concat(),
        [run("BEGIN"), run(insert), run(eleven), run("COMMIT"), sync()].concat(),
    ];
    for bytes in together {
        let answer = ask(&mut peer, &bytes, 1).await?;
        assert_eq!(error(&answer).0, "54000", "{}", bytes.escape_ascii());
        assert_eq!(rows(&answer), 10, "{}", bytes.escape_ascii());
        if status(&answer) != 'I' {
            q(&mut peer, "ROLLBACK").await?;
        }
        assert_eq!(count(&house, "notes")?, "0", "{}", bytes.escape_ascii());
    }
    // A savepoint brings the transaction back.
    for sql in ["BEGIN", insert, "SAVEPOINT s"] {
        q(&mut peer, sql).await?;
    }
    assert_eq!(error(&q(&mut peer, eleven).await?).0, "54000");
    for sql in ["ROLLBACK TO s", "COMMIT"] {
        q(&mut peer, sql).await?;
    }
    assert_eq!(count(&house, "notes")?, "1");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_and_cursors_count_over_all_their_executions() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "rows").await?;
    let mut bytes = [query("BEGIN"), parse("s", "SELECT id FROM app.many"), bind("p", "s")].concat();
    for _ in 0..2 {
        bytes.extend([execute_some("p", 4), sync()].concat());
    }
    let answer = ask(&mut peer, &bytes, 3).await?;
    assert_eq!((rows(&answer), status(&answer)), (8, 'T'));
    let answer = ask(&mut peer, &[execute_some("p", 4), sync()].concat(), 1).await?;
    assert_eq!(
        (rows(&answer), error(&answer).0.as_str(), status(&answer)),
        (2, "54000", 'E')
    );
    // A portal of the same name is a new one.
    q(&mut peer, "ROLLBACK").await?;
    let again = [query("BEGIN"), bind("p", "s"), execute_some("p", 9), sync()].concat();
    let answer = ask(&mut peer, &again, 2).await?;
    assert_eq!((rows(&answer), status(&answer)), (9, 'T'));
    q(&mut peer, "DECLARE c CURSOR FOR SELECT id FROM app.many").await?;
    assert_eq!(rows(&q(&mut peer, "FETCH 6 FROM c").await?), 6);
    let answer = q(&mut peer, "FETCH 6 FROM c").await?;
    assert_eq!((rows(&answer), error(&answer).0.as_str()), (4, "54000"));
    q(&mut peer, "ROLLBACK").await?;
    // Prepared in SQL, explained, returned.
    q(&mut peer, "PREPARE all_of AS SELECT id FROM app.many").await?;
    assert_eq!(error(&q(&mut peer, "EXECUTE all_of").await?).0, "54000");
    let answer = q(&mut peer, "UPDATE app.many SET body = '' RETURNING id").await?;
    assert_eq!((rows(&answer), error(&answer).0.as_str()), (10, "54000"));
    assert_eq!(
        house
            .cluster
            .psql("shop", "SELECT count(*) FROM app.many WHERE body = ''")?,
        "0"
    );
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_out_is_cut_and_ends_well_for_libpq() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "rows").await?;
    for sql in [
        "COPY app.many TO STDOUT",
        "COPY (SELECT id FROM app.many WHERE id <= 11) TO STDOUT (FORMAT binary)",
    ] {
        let answer = q(&mut peer, sql).await?;
        assert_eq!(
            (rows(&answer), error(&answer).0.as_str(), status(&answer)),
            (10, "54000", 'I'),
            "{sql}"
        );
        assert!(!tags(&answer).contains('c'), "{}", tags(&answer));
    }
    // Ten rows and the binary trailer pass.
    let answer = q(
        &mut peer,
        "COPY (SELECT id FROM app.many WHERE id <= 10) TO STDOUT (FORMAT binary)",
    )
    .await?;
    assert!(tags(&answer).ends_with("dcCZ"), "{}", tags(&answer));
    let (ok, out, err) = house.psql(
        &grant,
        &["-v", "ON_ERROR_STOP=0"],
        "\\copy app.many to stdout\nSELECT 'on' || 'ward';\n",
    )?;
    assert!(ok && out.contains("onward") && err.contains("max-rows"), "{out} {err}");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_cut_at_max_bytes() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "bytes").await?;
    for bytes in [
        query("SELECT * FROM app.many"),
        query("COPY app.many TO STDOUT"),
        // One row alone that is far larger than a read of the socket.
        query("SELECT body FROM app.big"),
        [run("SELECT * FROM app.many"), sync()].concat(),
    ] {
        let answer = ask(&mut peer, &bytes, 1).await?;
        let (code, text) = error(&answer);
        assert!(
            code == "54000" && text.contains(&line("bytes", "max-bytes")),
            "{code} {text}"
        );
        let received: usize = answer
            .iter()
            .filter(|(tag, _)| matches!(tag, 'D' | 'd'))
            .map(|(_, body)| body.len() + 5)
            .sum();
        assert!(received <= 1000, "{received}");
    }
    assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    // A real driver: rows stream, the error is the statement's, the connection goes on.
    let client = house.connect(&grant).await?;
    let none: [&str; 0] = [];
    let stream = client.query_raw("SELECT id, body FROM app.many", none).await?;
    let failed = stream.try_collect::<Vec<_>>().await.expect_err("cut");
    assert_eq!(failed.code(), Some(&SqlState::PROGRAM_LIMIT_EXCEEDED));
    assert_eq!(client.query_one("SELECT 7", &[]).await?.get::<_, i32>(0), 7);
    verified(&house)
}

// === what is written ===

#[tokio::test(flavor = "multi_thread")]
async fn more_affected_rows_than_allowed_are_never_permanent() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "few").await?;
    let six = "INSERT INTO app.notes SELECT id, body FROM app.many WHERE id <= 6";
    let cases = [
        six,
        "UPDATE app.many SET body = 'y' WHERE id <= 6",
        "DELETE FROM app.many WHERE id <= 6",
        "WITH d AS (DELETE FROM app.many WHERE id <= 6 RETURNING id) SELECT count(*) FROM d",
        "WITH u AS (UPDATE app.many SET body = 'y' WHERE id <= 3), i AS (INSERT INTO app.notes VALUES (1, ''), (2, ''), (3, '')) SELECT 1",
        "MERGE INTO app.many t USING (SELECT generate_series(1, 6) AS n) s ON t.id = s.n WHEN MATCHED THEN DELETE",
        // One row by the tag, 51 with its cascade.
        "DELETE FROM app.parents WHERE id = 1",
        "SELECT app.purge()",
        "EXPLAIN ANALYZE DELETE FROM app.many",
        "COPY (WITH d AS (DELETE FROM app.many RETURNING id) SELECT id FROM d) TO STDOUT",
    ];
    let state = |house: &House| {
        house.cluster.psql("shop", "SELECT (SELECT count(*) FROM app.notes), (SELECT count(*) || md5(string_agg(body, '' ORDER BY id)) FROM app.many), (SELECT count(*) FROM app.parents), (SELECT count(*) FROM app.children)")
    };
    let before = state(&house)?;
    for sql in cases {
        for (kind, bytes, readies) in [
            ("simple", query(sql), 1),
            ("extended", [run(sql), sync()].concat(), 1),
            ("many", query(&format!("SELECT 1; {sql}; SELECT 2")), 1),
            ("committed in one message", query(&format!("BEGIN; {sql}; COMMIT")), 1),
            (
                "pipeline",
                [run("SELECT 1"), run(sql), run("SELECT 2"), sync()].concat(),
                1,
            ),
            (
                "explicit pipeline",
                [run("BEGIN"), run(sql), run("COMMIT"), sync()].concat(),
                1,
            ),
            (
                "messages at once",
                [query("BEGIN"), query(sql), query("COMMIT")].concat(),
                3,
            ),
            (
                "denied behind",
                query(&format!("BEGIN; {sql}; COMMIT; SELECT 1 FROM audit.events")),
                1,
            ),
        ] {
            let answer = ask(&mut peer, &bytes, readies)
                .await
                .with_context(|| format!("{kind}: {sql}"))?;
            let (code, text) = error(&answer);
            assert_eq!(code, "42501", "{kind}: {sql}: {text}");
            assert!(
                text.contains(&line("few", "max-affected-rows")),
                "{kind}: {sql}: {text}"
            );
            if status(&answer) != 'I' {
                assert_eq!(status(&answer), 'E', "{kind}: {sql}");
                q(&mut peer, "ROLLBACK").await?;
            }
            assert_eq!(state(&house)?, before, "{kind}: {sql}");
        }
    }
    // Up to the limit everything works, and is permanent.
    let five = six.replace('6', "5");
    let answer = q(&mut peer, &five).await?;
    assert_eq!((tags(&answer).as_str(), status(&answer)), ("CZ", 'I'));
    assert_eq!(count(&house, "notes")?, "5");
    for bytes in [
        [run("DELETE FROM app.notes WHERE id <= 2"), sync()].concat(),
        query("BEGIN; DELETE FROM app.notes WHERE id = 3; DELETE FROM app.notes WHERE id = 4; COMMIT"),
        [
            run("BEGIN"),
            run("DELETE FROM app.notes WHERE id = 5"),
            run("COMMIT"),
            sync(),
        ]
        .concat(),
    ] {
        let answer = ask(&mut peer, &bytes, 1).await?;
        assert!(
            !tags(&answer).contains('E') && status(&answer) == 'I',
            "{}",
            tags(&answer)
        );
    }
    assert_eq!(count(&house, "notes")?, "0");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn affected_rows_of_copy_in_and_drivers() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "few").await?;
    let data = |rows: std::ops::Range<u32>| -> Vec<u8> {
        rows.flat_map(|row| copy_data(format!("{row}\tx\n").as_bytes()))
            .collect()
    };
    // (rows, told to be over)
    for (range, over) in [(0..6, true), (10..15, false)] {
        peer.send(&query("COPY app.notes FROM STDIN")).await?;
        peer.until('G').await?;
        let answer = ask(&mut peer, &[data(range), copy_done()].concat(), 1).await?;
        assert_eq!(tags(&answer), if over { "EZ" } else { "CZ" });
        assert_eq!(status(&answer), 'I');
    }
    assert_eq!(count(&house, "notes")?, "5");
    // As libpq sends it: Sync at once, and another one behind the data.
    for (range, over) in [(20..26, true), (30..35, false)] {
        peer.send(&[run("COPY app.notes FROM STDIN"), sync()].concat()).await?;
        peer.until('G').await?;
        let answer = ask(&mut peer, &[data(range), copy_done(), sync()].concat(), 1).await?;
        assert_eq!(tags(&answer), if over { "EZ" } else { "CZ" });
    }
    assert_eq!(count(&house, "notes")?, "10");
    // Outside the limit's reach: statements that cannot run in a block.
    for sql in [
        "CREATE INDEX CONCURRENTLY notes_body ON app.notes (body)",
        "VACUUM app.notes",
        "TRUNCATE app.notes",
    ] {
        let answer = q(&mut peer, sql).await?;
        assert_eq!(tags(&answer), "CZ", "{sql}: {answer:?}");
        let answer = ask(
            &mut peer,
            &[run(&sql.replace("notes_body", "notes_two")), sync()].concat(),
            1,
        )
        .await?;
        assert_eq!(tags(&answer), "12nCZ", "{sql}: {answer:?}");
    }
    let mut client = house.connect(&grant).await?;
    assert_eq!(
        client
            .execute(
                "INSERT INTO app.notes SELECT id, body FROM app.many WHERE id <= $1",
                &[&5]
            )
            .await?,
        5
    );
    let failed = client
        .execute("DELETE FROM app.many WHERE id <= $1", &[&6])
        .await
        .expect_err("over");
    assert_eq!(failed.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    let transaction = client.transaction().await?;
    for id in 100..120 {
        transaction
            .execute("INSERT INTO app.notes VALUES ($1, 'many small ones')", &[&id])
            .await?;
    }
    transaction.commit().await?;
    assert_eq!(count(&house, "notes")?, "25");
    // Staging in a temporary table is not permanent, and not counted. What it writes on is.
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_is_not_announced() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "few").await?;
    // The reference is looked at when the transaction commits.
    let dangling = "INSERT INTO app.late VALUES (1, 99)";
    let answer = q(&mut peer, dangling).await?;
    assert_eq!(
        (tags(&answer).as_str(), error(&answer).0.as_str(), status(&answer)),
        ("EZ", "23503", 'I')
    );
    let answer = q(&mut peer, &format!("INSERT INTO app.notes VALUES (1, ''); {dangling}")).await?;
    assert_eq!((tags(&answer).as_str(), error(&answer).0.as_str()), ("CEZ", "23503"));
    assert_eq!(
        (count(&house, "late")?, count(&house, "notes")?),
        ("0".to_owned(), "0".to_owned())
    );
    // A client that goes away in the middle leaves nothing.
    peer.send(&[run("INSERT INTO app.notes VALUES (2, '')"), frame('H', b"")].concat())
        .await?;
    peer.until('C').await?;
    peer.send(&frame('X', b"")).await?;
    peer.until_closed().await?;
    assert_eq!(count(&house, "notes")?, "0");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_count_lets_nothing_pass() -> Result<()> {
    let mut plan = plan();
    plan.settings.push(("track_counts", "off"));
    let house = House::plan(plan).await?;
    let (mut peer, _grant) = raw(&house, "few").await?;
    let (code, text) = error(&q(&mut peer, "DELETE FROM app.many WHERE id = 1").await?);
    assert!(code == "42501" && text.contains("not counted"), "{code} {text}");
    assert_eq!(count(&house, "many")?, "1000");
    Ok(())
}

// === what may not be written at all ===

#[tokio::test(flavor = "multi_thread")]
async fn read_only_holds_against_every_way_out() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "reader").await?;
    let why = line("reader", "read-only");
    for sql in [
        "INSERT INTO app.notes VALUES (1, '')",
        "UPDATE app.many SET body = ''",
        "DELETE FROM app.many",
        "WITH d AS (DELETE FROM app.many RETURNING 1) SELECT count(*) FROM d",
        "TRUNCATE app.many",
        "CREATE TABLE app.x (id int)",
        "SELECT id INTO app.x FROM app.many",
        "EXPLAIN ANALYZE DELETE FROM app.many",
        "PREPARE p AS DELETE FROM app.many",
        "BEGIN READ WRITE",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        "SET TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
        "SET LOCAL transaction_read_only TO DEFAULT",
        "RESET transaction_read_only",
        "SET default_transaction_read_only = off",
        "SET default_transaction_read_only = 'of'",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
    ] {
        let (code, text) = error(&q(&mut peer, sql).await?);
        assert!(code == "42501" && text.contains(&why), "{sql}: {code} {text}");
    }
    // COPY data is swallowed before the refusal.
    peer.send(&query("COPY app.notes FROM STDIN")).await?;
    peer.until('G').await?;
    let answer = ask(&mut peer, &[copy_data(b"1\tx\n"), copy_done()].concat(), 1).await?;
    assert!(error(&answer).1.contains(&why));
    // What is named on purpose still runs in a read-only transaction.
    assert_eq!(error(&q(&mut peer, "SELECT app.purge()").await?).0, "25006");
    for sql in [
        "RESET ALL",
        "RESET default_transaction_read_only",
        "SET default_transaction_read_only TO DEFAULT",
    ] {
        assert_eq!(tags(&q(&mut peer, sql).await?), "CZ", "{sql}");
        assert_eq!(error(&q(&mut peer, "SELECT app.purge()").await?).0, "25006", "{sql}");
    }
    for sql in [
        "BEGIN READ ONLY",
        "LOCK TABLE app.many IN ACCESS SHARE MODE",
        "SELECT count(*) FROM app.many",
        "COMMIT",
    ] {
        assert!(!tags(&q(&mut peer, sql).await?).contains('E'), "{sql}");
    }
    // Start-up options are judged alike.
    for keys in [
        ("options", "-c default_transaction_read_only=off"),
        ("default_transaction_read_only", "off"),
    ] {
        let refused = endpoint(&house, &grant, &[("database", "shop"), keys]).await;
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(&why), "{text}");
    }
    // Code that switches it off behind the broker's back ends the session, before a transaction can make use of it.
    for bytes in [
        query("SELECT app.lift()"),
        [query("SELECT app.lift()"), query("SELECT app.purge()")].concat(),
        [
            run("SELECT app.lift()"),
            run("COMMIT"),
            run("SELECT app.purge()"),
            sync(),
        ]
        .concat(),
        query("SELECT app.lift(); COMMIT; SELECT app.purge()"),
    ] {
        let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
        peer.send(&bytes).await?;
        let answer = peer.until_closed().await?;
        let (code, text) = error(&answer);
        assert!(
            code == "57P01" && text.contains("transaction_read_only"),
            "{code} {text} {}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(count(&house, "many")?, "1000");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_and_deletes_need_a_where_that_bounds_them() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "careful").await?;
    let why = line("careful", "no-where");
    for sql in [
        "DELETE FROM app.many",
        "UPDATE app.many SET body = ''",
        "DELETE FROM app.many WHERE true",
        "DELETE FROM app.many WHERE 1 = 1 AND 'a' = 'a'",
        "DELETE FROM app.many WHERE id = 5 OR 1 = 1",
        "DELETE FROM app.many WHERE NOT (id = 5 AND false)",
        "DELETE FROM app.many WHERE id = id",
        "DELETE FROM app.many m WHERE m.id = id",
        "DELETE FROM app.many WHERE EXISTS (SELECT 1 FROM app.parents)",
        "DELETE FROM app.many USING app.parents p WHERE p.id = 1",
        "UPDATE app.many SET body = p.id::text FROM app.parents p WHERE p.id = 1",
        "DELETE FROM app.many t USING app.many u WHERE u.id = 1",
        "WITH d AS (DELETE FROM app.many RETURNING 1) SELECT count(*) FROM d",
        "EXPLAIN DELETE FROM app.many",
        "PREPARE p AS DELETE FROM app.many WHERE $1",
        "MERGE INTO app.many t USING app.parents s ON true WHEN MATCHED THEN DELETE",
        "MERGE INTO app.many t USING app.parents s ON s.id = 1 WHEN MATCHED AND s.id > 0 THEN UPDATE SET body = ''",
    ] {
        let (code, text) = error(&q(&mut peer, sql).await?);
        assert!(
            code == "42501" && text.contains(&why) && text.contains("without WHERE"),
            "{sql}: {code} {text}"
        );
    }
    assert_eq!(count(&house, "many")?, "1000");
    for sql in [
        "DELETE FROM app.many WHERE id = 1",
        "UPDATE app.many SET body = '' WHERE id IN (2, 3) AND true",
        "DELETE FROM app.many t USING app.parents p WHERE t.id = p.id",
        "DELETE FROM app.many t WHERE EXISTS (SELECT 1 FROM app.parents p WHERE p.id = t.id)",
        "MERGE INTO app.many t USING app.parents s ON t.id = s.id WHEN MATCHED THEN DELETE",
        "INSERT INTO app.notes VALUES (1, '') ON CONFLICT (id) DO UPDATE SET body = ''",
    ] {
        assert_eq!(tags(&q(&mut peer, sql).await?), "CZ", "{sql}");
    }
    Ok(())
}

// === time ===

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_cannot_be_raised() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "quick").await?;
    for sql in [
        "SET statement_timeout = 0",
        "SET statement_timeout = '2s'",
        "SET LOCAL statement_timeout = '1min'",
        "SELECT set_config('statement_timeout', '0', false)",
        "SET lock_timeout = 0",
        "SET idle_in_transaction_session_timeout = '1h'",
        "SET idle_session_timeout = 0",
        "ALTER ROLE hoop_broker SET statement_timeout = 0",
        "ALTER DATABASE shop SET statement_timeout = 0",
        "ALTER SYSTEM SET statement_timeout = 0",
        "CREATE FUNCTION app.f() RETURNS void LANGUAGE sql SET statement_timeout = 0 AS 'SELECT pg_sleep(9)'",
    ] {
        assert_eq!(error(&q(&mut peer, sql).await?).0, "42501", "{sql}");
    }
    for options in [
        "-c statement_timeout=0",
        "-c lock_timeout=1h",
        "--idle-session-timeout=0",
    ] {
        assert!(
            endpoint(&house, &grant, &[("database", "shop"), ("options", options)])
                .await
                .is_err(),
            "{options}"
        );
    }
    for sql in [
        "RESET ALL",
        "RESET statement_timeout",
        "SET statement_timeout TO DEFAULT",
        "SET statement_timeout = 900",
    ] {
        assert_eq!(tags(&q(&mut peer, sql).await?), "CZ", "{sql}");
        assert_eq!(error(&q(&mut peer, "SELECT pg_sleep(20)").await?).0, "57014", "{sql}");
    }
    // Where the server's own timer was switched off behind the broker's back, the broker cancels, and says why.
    assert!(!tags(&q(&mut peer, "SELECT app.untimed()").await?).contains('E'));
    let (code, text) = error(&q(&mut peer, "SELECT pg_sleep(60)").await?);
    assert!(
        code == "57014" && text.contains(&line("quick", "statement-timeout")),
        "{code} {text}"
    );
    assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends_and_gives_up_its_locks() -> Result<()> {
    let house = house().await?;
    let (mut peer, grant) = raw(&house, "quick").await?;
    for sql in ["BEGIN", "INSERT INTO app.notes VALUES (1, '')"] {
        q(&mut peer, sql).await?;
    }
    let answer = peer.until_closed().await?;
    let (code, text) = error(&answer);
    let place = line("quick", "idle-timeout");
    let place = place.split(' ').next().unwrap_or_default();
    assert!(code == "57P05" && text.contains(place), "{code} {text}");
    assert_eq!(house.cluster.psql("shop", "SELECT count(*) FROM app.notes")?, "0");
    // The grant goes on.
    let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
    assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    verified(&house)
}
