//! What runs only when a transaction commits, and code that commits by itself, under `max-affected-rows`.

use anyhow::Result;
use tests::House;
use tests::raw::{bind, execute, parse, query, sync, tags};

use crate::{ask, count, error, house, line, q, raw, run, status, verified};

/// Rows that the trigger's function writes at the commit for one row of the statement.
fn logged(house: &House) -> Result<String> {
    count(house, "log")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deferred_to_the_commit_is_counted_before_it() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "few").await?;
    // One row by the tag and by the first count; `$1` more at the commit.
    let insert = |rows: u32| format!("INSERT INTO app.queue VALUES ({rows}, {rows})");
    let why = line("few", "max-affected-rows");
    let six = insert(6);
    let ways = [
        ("simple", query(&six), 1),
        ("behind another", query(&format!("SELECT 1; {six}")), 1),
        ("before another", query(&format!("{six}; SELECT 1")), 1),
        ("block in one", query(&format!("BEGIN; {six}; COMMIT")), 1),
        (
            "then more",
            query(&format!("BEGIN; {six}; COMMIT; INSERT INTO app.log VALUES (1)")),
            1,
        ),
        ("no block, COMMIT", query(&format!("{six}; COMMIT; SELECT 1")), 1),
        (
            "made immediate",
            query(&format!("BEGIN; {six}; SET CONSTRAINTS ALL IMMEDIATE; COMMIT")),
            1,
        ),
        ("messages", [query("BEGIN"), query(&six), query("COMMIT")].concat(), 3),
        ("END", [query("BEGIN"), query(&six), query("END")].concat(), 3),
        (
            "chain",
            [query("BEGIN"), query(&six), query("COMMIT AND CHAIN")].concat(),
            3,
        ),
        (
            "savepoint",
            [query("BEGIN; SAVEPOINT s"), query(&six), query("RELEASE s; COMMIT")].concat(),
            3,
        ),
        ("extended", [run(&six), sync()].concat(), 1),
        (
            "extended block",
            [run("BEGIN"), run(&six), run("COMMIT"), sync()].concat(),
            1,
        ),
        ("extended, no block", [run(&six), run("COMMIT"), sync()].concat(), 1),
        (
            "as JDBC sends it",
            [run("BEGIN"), run(&six), sync(), run("COMMIT"), sync()].concat(),
            2,
        ),
        (
            "prepared commit",
            [
                parse("c", "COMMIT"),
                query("BEGIN"),
                query(&six),
                bind("", "c"),
                execute(""),
                sync(),
            ]
            .concat(),
            3,
        ),
    ];
    for (way, bytes, readies) in ways {
        let answer = ask(&mut peer, &bytes, readies).await?;
        let (code, text) = error(&answer);
        assert_eq!(code, "42501", "{way}: {text}");
        assert!(text.contains(&why), "{way}: {text}");
        if status(&answer) != 'I' {
            assert_eq!(status(&answer), 'E', "{way}");
            assert_eq!(tags(&q(&mut peer, "ROLLBACK").await?), "CZ", "{way}");
        }
        assert_eq!(
            (count(&house, "queue")?, logged(&house)?),
            ("0".into(), "0".into()),
            "{way}"
        );
        assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ", "{way}");
    }
    // Up to the limit everything works, and once.
    let five = |id: u32| format!("INSERT INTO app.queue VALUES ({id}, 5)");
    let ways = [
        (query(&five(1)), 1),
        (query(&format!("BEGIN; {}; COMMIT", five(2))), 1),
        ([query("BEGIN"), query(&five(3)), query("COMMIT")].concat(), 3),
        ([run(&five(4)), sync()].concat(), 1),
        ([run("BEGIN"), run(&five(5)), run("COMMIT"), sync()].concat(), 1),
        ([run("BEGIN"), run(&five(6)), sync(), run("COMMIT"), sync()].concat(), 2),
        ([query("BEGIN"), query(&five(7)), run("COMMIT"), sync()].concat(), 3),
    ];
    for (number, (bytes, readies)) in (1..).zip(ways) {
        let answer = ask(&mut peer, &bytes, readies).await?;
        assert!(!tags(&answer).contains('E'), "{number}: {answer:?}");
        assert_eq!(status(&answer), 'I', "{number}");
        assert_eq!(logged(&house)?, (number * 5).to_string(), "{number}");
    }
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deferred_stays_deferred_until_the_commit() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "few").await?;
    let child = |id: u32| format!("INSERT INTO app.late VALUES ({id}, {id})");
    let parent = |id: u32| format!("INSERT INTO app.parents VALUES ({id})");
    // The parent comes after the child, in every way there is to begin a transaction.
    for (bytes, readies) in [
        (query(&format!("{}; {}", child(10), parent(10))), 1),
        (query(&format!("BEGIN; {}; {}; COMMIT", child(11), parent(11))), 1),
        (
            [query("BEGIN"), query(&child(12)), query(&parent(12)), query("COMMIT")].concat(),
            4,
        ),
        ([run(&child(13)), run(&parent(13)), sync()].concat(), 1),
        (
            [
                run("BEGIN"),
                run(&child(14)),
                sync(),
                run(&parent(14)),
                sync(),
                run("COMMIT"),
                sync(),
            ]
            .concat(),
            3,
        ),
        (
            [
                query("BEGIN"),
                query("SAVEPOINT s"),
                run(&child(15)),
                sync(),
                run("ROLLBACK TO s"),
                run(&child(15)),
                sync(),
                query(&parent(15)),
                query("COMMIT"),
            ]
            .concat(),
            6,
        ),
    ] {
        let answer = ask(&mut peer, &bytes, readies).await?;
        assert!(
            !tags(&answer).contains('E') && status(&answer) == 'I',
            "{}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(count(&house, "late")?, "6");
    // A COMMIT that a constraint fails leaves no block behind, and says what the server says.
    for (bytes, readies) in [
        ([query("BEGIN"), query(&child(20)), query("COMMIT")].concat(), 3),
        (
            [
                query("BEGIN"),
                query(&child(20)),
                run("COMMIT"),
                run("SELECT 1"),
                sync(),
            ]
            .concat(),
            3,
        ),
        (
            [query("BEGIN"), query(&child(20)), query("COMMIT; SELECT 1")].concat(),
            3,
        ),
    ] {
        let answer = ask(&mut peer, &bytes, readies).await?;
        let (code, text) = error(&answer);
        assert_eq!((code.as_str(), status(&answer)), ("23503", 'I'), "{text}");
        assert_eq!(tags(&q(&mut peer, "SELECT 1").await?), "TDCZ");
    }
    assert_eq!(count(&house, "late")?, "6");
    verified(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_commits_by_itself_needs_a_block() -> Result<()> {
    let house = house().await?;
    let (mut peer, _grant) = raw(&house, "bodies").await?;
    let why = line("bodies", "max-affected-rows");
    let body = "DO 'BEGIN DELETE FROM app.many WHERE id <= 9; COMMIT; END'";
    for sql in ["CALL app.sweep(9)", "CALL app.sweep(1)", body] {
        for (bytes, readies) in [
            (query(sql), 1),
            (query(&format!("SELECT 1; {sql}")), 1),
            ([run(sql), sync()].concat(), 1),
            ([query("BEGIN"), query("COMMIT"), query(sql)].concat(), 3),
        ] {
            let (code, text) = error(&ask(&mut peer, &bytes, readies).await?);
            assert!(
                code == "42501" && text.contains(&why) && text.contains("transaction block"),
                "{sql}: {text}"
            );
        }
        assert_eq!(count(&house, "many")?, "1000", "{sql}");
    }
    // Inside a block it cannot commit, and what it changes is counted.
    for (sql, wanted) in [
        ("CALL app.sweep(9)", "2D000"),
        (body, "2D000"),
        ("CALL app.clean(6)", "42501"),
        ("DO 'BEGIN DELETE FROM app.many WHERE id <= 6; END'", "42501"),
    ] {
        q(&mut peer, "BEGIN").await?;
        let (code, text) = error(&q(&mut peer, sql).await?);
        assert_eq!(code, wanted, "{sql}: {text}");
        q(&mut peer, "COMMIT").await?;
        assert_eq!(count(&house, "many")?, "1000", "{sql}");
    }
    let answer = ask(
        &mut peer,
        &[query("BEGIN"), query("CALL app.clean(5)"), query("COMMIT")].concat(),
        3,
    )
    .await?;
    assert_eq!((tags(&answer).as_str(), status(&answer)), ("CZCZCZ", 'I'));
    assert_eq!(count(&house, "many")?, "995");
    // A cursor that outlives the transaction runs its query again at the commit.
    q(&mut peer, "BEGIN").await?;
    let (code, text) = error(&q(&mut peer, "DECLARE c CURSOR WITH HOLD FOR SELECT app.purge()").await?);
    assert!(code == "42501" && text.contains("WITH HOLD"), "{code} {text}");
    q(&mut peer, "ROLLBACK").await?;
    verified(&house)
}
