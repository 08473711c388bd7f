//! Results are cut: `max-rows`, `max-bytes`.

use anyhow::Result;
use futures_util::TryStreamExt as _;
use tests::raw::{bind, execute_some, parse, query, sync, tags};
use tokio_postgres::error::SqlState;

use crate::{ask, count, error, house, line, q, raw, rows, run, status, verified};

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
