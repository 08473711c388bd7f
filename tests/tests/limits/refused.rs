//! What may not be written at all: `read-only`, `no-where`.

use anyhow::Result;
use tests::raw::{copy_data, copy_done, endpoint, query, sync, tags};

use crate::{ask, count, error, house, line, q, raw, run, verified};

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
        "DELETE FROM app.many WHERE id >= id",
        "DELETE FROM app.many WHERE id::text = id::text",
        "DELETE FROM app.many WHERE id IS NOT DISTINCT FROM id",
        "DELETE FROM app.many WHERE id IN (1, id)",
        "DELETE FROM app.many WHERE id BETWEEN id AND id",
        "DELETE FROM app.many WHERE id IS NOT NULL",
        "DELETE FROM app.many WHERE NOT (id IS NULL)",
        "DELETE FROM app.many WHERE id = 5 OR id IS NOT NULL",
        "DELETE FROM app.many WHERE (id = id) IS TRUE",
        "DELETE FROM app.many WHERE (id <> id) IS NOT TRUE",
        "DELETE FROM app.many WHERE (id = 5) IS NOT UNKNOWN",
        "DELETE FROM app.many WHERE body LIKE '%'",
        "DELETE FROM app.many WHERE body ILIKE '%%'",
        "DELETE FROM app.many WHERE body ~ ''",
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
        "DELETE FROM app.many WHERE body IS NULL",
        "DELETE FROM app.many WHERE (id = 7) IS TRUE",
        "DELETE FROM app.many WHERE NOT (id <> 8)",
        "DELETE FROM app.many WHERE NOT (body IS NOT NULL)",
        "DELETE FROM app.many WHERE body LIKE 'a%' AND id IS NOT NULL",
        "DELETE FROM app.many WHERE id BETWEEN 9 AND 9",
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
