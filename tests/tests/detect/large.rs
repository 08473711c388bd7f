//! Large values are looked through; before a row that is too large for that the result is cut, and the session goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use tests::House;
use tests::raw::{
    Message, Raw, bind, close, describe, endpoint, execute, execute_some, field, parse, query, sync, tags,
};

use crate::{bind_binary, clean, peer, plan, values};

/// 17.6 million bytes in one value, with a card at its end; of the first row only.
const TOO_LARGE: &str = "SELECT id, CASE id WHEN 2 THEN repeat('0123456789abcdef', 1100000) || ' 4111 1111 1111 1111' ELSE body END AS body \
     FROM notes.tickets ORDER BY id";

async fn ask(peer: &mut Raw, bytes: &[u8]) -> Result<Vec<Message>> {
    peer.send(bytes).await?;
    peer.until_ready(1).await
}

#[track_caller]
fn is_cut(what: &str, answer: &[Message]) {
    clean(what, answer);
    let errors: Vec<&Message> = answer.iter().filter(|(tag, _)| *tag == 'E').collect();
    let [(_, error)] = errors.as_slice() else {
        panic!("{what}: {}", tags(answer));
    };
    assert_eq!(field(error, 'C'), "54000", "{what}");
    let message = field(error, 'M');
    assert!(
        message.starts_with("denied by .hoop/db-access.yaml:") && message.contains("of a row with more than 16 MiB"),
        "{what}: {message}"
    );
    let line = "    detect: [card, email, iban, phone, national-id, token]";
    let place = 1 + include_str!("../../fixtures/detect.yaml")
        .lines()
        .position(|it| it == line)
        .expect("the line");
    assert!(message.contains(&format!("yaml:{place} ")), "{what}: {message}");
    assert!(field(error, 'H').contains("substr("), "{what}: {}", field(error, 'H'));
    assert!(
        tags(answer).ends_with("EZ"),
        "{what}: no end but the error: {}",
        tags(answer)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_cut_before_a_row_that_is_too_large() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (_, mut peer) = peer(&house, "netted").await?;
    let copy = |format: &str| format!("COPY ({TOO_LARGE}) TO STDOUT{format}");
    let extended = |sql: &str| [parse("", sql), bind("", ""), execute(""), sync()].concat();
    for (what, bytes) in [
        ("simple", query(TOO_LARGE)),
        ("extended", extended(TOO_LARGE)),
        (
            "described",
            [parse("", TOO_LARGE), bind("", ""), describe(""), execute(""), sync()].concat(),
        ),
        (
            "binary",
            [parse("", TOO_LARGE), bind_binary(""), execute(""), sync()].concat(),
        ),
        (
            "in parts",
            [
                parse("", TOO_LARGE),
                bind("", ""),
                execute_some("", 1),
                execute_some("", 1),
                close('S', ""),
                sync(),
            ]
            .concat(),
        ),
        ("copy", query(&copy(""))),
        ("csv", query(&copy(" WITH (FORMAT csv)"))),
        ("binary copy", extended(&copy(" WITH (FORMAT binary)"))),
        ("prepared", query(&format!("PREPARE p AS {TOO_LARGE}; EXECUTE p"))),
        (
            "cursor",
            query(&format!(
                "BEGIN; DECLARE c CURSOR FOR {TOO_LARGE}; FETCH ALL FROM c; COMMIT"
            )),
        ),
    ] {
        let answer = ask(&mut peer, &bytes).await?;
        is_cut(what, &answer);
        let rows = answer.iter().filter(|(tag, _)| matches!(tag, 'D' | 'd')).count();
        // A binary COPY begins with a header, which comes in front of the first row.
        assert!((1..=2).contains(&rows), "{what}: {}", tags(&answer));
        if what == "cursor" {
            ask(&mut peer, &query("ROLLBACK")).await?;
        }
        // The session goes on.
        let answer = ask(&mut peer, &query("SELECT tag FROM notes.tickets WHERE id = 2")).await?;
        assert_eq!(tags(&answer), "TDCZ", "{what}");
    }
    // What the statement changed is gone, and what its transaction did.
    for bytes in [
        query("UPDATE notes.tickets SET tag = 'changed' WHERE id = 2 RETURNING repeat('0123456789abcdef', 1100000)"),
        extended("UPDATE notes.tickets SET tag = 'changed' WHERE id = 2 RETURNING repeat('0123456789abcdef', 1100000)"),
        query(&format!(
            "UPDATE notes.tickets SET tag = 'changed' WHERE id = 2; {TOO_LARGE}"
        )),
        query(&format!(
            "{TOO_LARGE}; UPDATE notes.tickets SET tag = 'changed' WHERE id = 2"
        )),
    ] {
        is_cut("a change", &ask(&mut peer, &bytes).await?);
        let tag = house
            .cluster
            .psql("shop", "SELECT tag FROM notes.tickets WHERE id = 2")?;
        assert_eq!(tag, "plain", "{}", bytes.escape_ascii());
    }
    assert!(house.verify_ledger()?.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_are_looked_through_in_bounded_memory() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (_, mut peer) = peer(&house, "netted").await?;
    let long =
        "SELECT repeat('so much text. ', 100000) || ' 4111 1111 1111 1111' AS body, id FROM notes.tickets ORDER BY id";
    for steps in [
        query(long),
        [parse("", long), bind_binary(""), execute(""), sync()].concat(),
    ] {
        let answer = ask(&mut peer, &steps).await?;
        let text = clean("a long value", &answer);
        assert!(!tags(&answer).contains('E'), "{text}");
        let rows: Vec<_> = answer
            .iter()
            .filter(|(tag, _)| *tag == 'D')
            .map(|(_, body)| values(body))
            .collect();
        assert_eq!(rows.len(), 3);
        for row in rows {
            let value = row[0].as_deref().unwrap_or_default();
            assert_eq!(value.len(), 1_400_000 + " [card]".len());
            assert!(value.ends_with(b" [card]"));
        }
    }
    // A long one, and one of 64 MiB: what the broker ever held is a few such rows.
    let most = "SELECT repeat('so much text. ', 300000) || ' 4111 1111 1111 1111'";
    let answer = ask(&mut peer, &query(most)).await?;
    assert_eq!(tags(&answer), "TDCZ");
    clean("long", &answer);
    let huge = ask(&mut peer, &query("SELECT repeat('0123456789abcdef', 4194304)")).await?;
    assert_eq!(tags(&huge), "TEZ");
    let peak = peak(house.broker_pid());
    assert!(peak < 128 * 1024, "{peak} KiB at most");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_answered_while_a_large_row_is_looked_through() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (grant, mut large) = peer(&house, "netted").await?;
    // The kernel spreads connections over the broker's threads: some share that of the large row.
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(endpoint(&house, &grant, &[]).await?);
    }
    // One row that takes seconds, and some that take long together; and how much more often than the least lucky of the
    // others the luckiest may be answered meanwhile. Behind one that holds the thread it is hundreds of times.
    let texts = [
        ("SELECT repeat('0 ', 500000) FROM notes.tickets WHERE id = 2", 15),
        (
            "SELECT repeat('0 ', 30000) FROM notes.tickets, pg_catalog.generate_series(1, 8)",
            usize::MAX,
        ),
    ];
    let fewest = 5;
    for (text, apart) in texts {
        let asked = tokio::spawn(async move {
            let answer = ask(&mut large, &query(text)).await?;
            anyhow::Ok((large, answer))
        });
        let over = Arc::new(AtomicBool::new(false));
        let tasks = others.into_iter().map(|mut other| {
            let over = over.clone();
            tokio::spawn(async move {
                let mut turns = 0;
                while !over.load(Ordering::Relaxed) {
                    let answer = ask(&mut other, &query("SELECT tag FROM notes.tickets WHERE id = 2")).await?;
                    anyhow::ensure!(tags(&answer) == "TDCZ", "{}", tags(&answer));
                    turns += 1;
                }
                Ok((other, turns))
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let answer;
        (large, answer) = asked.await??;
        over.store(true, Ordering::Relaxed);
        assert!(!tags(&answer).contains('E'), "{text}");
        let mut turns = Vec::new();
        others = Vec::new();
        for task in tasks {
            let (other, own) = task.await??;
            others.push(other);
            turns.push(own);
        }
        let (least, most) = (
            turns.iter().min().copied().unwrap_or(0),
            turns.iter().max().copied().unwrap_or(0),
        );
        assert!(least >= fewest && most / least <= apart, "{text}: {turns:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_not_looked_through_but_withheld() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (_, mut peer) = peer(&house, "netted").await?;
    let answer = ask(
        &mut peer,
        &query("SELECT (repeat('0 ', 100000) || '4111 1111 1111 1111')::int"),
    )
    .await?;
    clean("a long error", &answer);
    let [(_, error), ..] = answer.as_slice() else {
        panic!("{}", tags(&answer))
    };
    assert_eq!(
        (field(error, 'C').as_str(), field(error, 'M').len() < 100),
        ("22P02", true)
    );
    Ok(())
}

/// The most memory a process ever had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("its peak")
}
