//! Rows that are written: `max-affected-rows`.

use anyhow::{Context as _, Result};
use tests::House;
use tests::raw::{copy_data, copy_done, frame, query, sync, tags};
use tokio_postgres::error::SqlState;

use crate::{ask, count, error, house, line, plan, q, raw, run, status, verified};

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
async fn an_old_snapshot_hides_no_rows() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "few").await?;
    for begin in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
    ] {
        for sql in [
            "INSERT INTO app.parted SELECT 1 FROM generate_series(1, 6)",
            "WITH i AS (INSERT INTO app.parted SELECT 1 FROM generate_series(1, 6) RETURNING 1) SELECT count(*) FROM i",
        ] {
            q(&mut peer, begin).await?;
            q(&mut peer, "SELECT count(*) FROM app.parted").await?;
            // The transaction's snapshot knows nothing of this partition; its INSERT goes there all the same.
            house.cluster.psql(
                "shop",
                "CREATE TABLE app.one (id int); ALTER TABLE app.parted ATTACH PARTITION app.one FOR VALUES IN (1)",
            )?;
            let (code, text) = error(&q(&mut peer, sql).await?);
            assert!(
                code == "42501" && text.contains("6 rows"),
                "{begin} {sql}: {code} {text}"
            );
            q(&mut peer, "COMMIT").await?;
            assert_eq!(count(&house, "parted")?, "0", "{begin} {sql}");
            house.cluster.psql("shop", "DROP TABLE app.one")?;
        }
    }
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
