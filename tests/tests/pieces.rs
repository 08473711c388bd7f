//! The same conversation in other pieces: cut at every byte, byte by byte, and in one write. The answers are the same,
//! and those of a server.

use anyhow::{Context as _, Result};
use tests::House;
use tests::raw::{
    Message, Raw, bind, bind_values, close, copy_data, copy_done, copy_fail, describe, describe_statement, endpoint,
    execute, execute_some, field, flush, parse, query, server, sync, tags,
};

const READY: usize = 8;

/// Messages of every kind, with errors in the middle; as many ReadyForQuery as [`READY`].
fn script() -> Vec<Vec<u8>> {
    let lines = "SELECT sku FROM app.order_lines ORDER BY order_id LIMIT 3";
    vec![
        query("SELECT 1; SELECT 'a;b'"),
        query("BEGIN; SAVEPOINT s"),
        parse("s", lines),
        describe_statement("s"),
        bind("p", "s"),
        describe("p"),
        execute_some("p", 1),
        flush(),
        execute_some("p", 1),
        close('P', "p"),
        execute("p"),
        parse("", "SELECT 1"),
        sync(),
        query("ROLLBACK TO s; COMMIT"),
        copy_data(b"stray"),
        copy_done(),
        copy_fail(),
        bind("", "s"),
        execute(""),
        parse("", "SELECT id + 1 FROM app.orders WHERE id = $1::int"),
        bind_values("", "", &[b"7"]),
        execute(""),
        sync(),
        query(""),
        query("COPY app.notes FROM STDIN"),
        copy_data(b"1\tone\n2\t"),
        copy_data(b"two\n"),
        copy_done(),
        query("TRUNCATE app.notes"),
    ]
}

fn shown((tag, body): &Message) -> String {
    if *tag == 'E' {
        return format!("E {} {}", field(body, 'C'), field(body, 'M'));
    }
    format!("{tag} {}", body.escape_ascii())
}

async fn answers(peer: &mut Raw) -> Result<Vec<String>> {
    let all = peer.until_ready(READY).await?;
    Ok(all.iter().filter(|(tag, _)| *tag != 'S').map(shown).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_means_the_same_in_any_pieces() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    let whole = script().concat();
    let mut direct = server(&house).await?;
    direct.send(&whole).await?;
    let expected = answers(&mut direct).await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    for cut in 0..whole.len() {
        let (head, tail) = whole.split_at(cut);
        peer.send(head).await?;
        peer.send(tail).await?;
        let seen = answers(&mut peer).await.with_context(|| format!("cut at {cut}"))?;
        assert_eq!(seen, expected, "cut at {cut}");
        // The named statement stays, or the next round could not make it.
        peer.send(&[close('S', "s"), sync()].concat()).await?;
        assert_eq!(tags(&peer.until_ready(1).await?), "3Z");
    }
    for byte in whole.chunks(1) {
        peer.send(byte).await?;
    }
    assert_eq!(answers(&mut peer).await?, expected);
    Ok(())
}

/// psql sends them so with `-c`, and waits for each to begin.
#[tokio::test(flavor = "multi_thread")]
async fn several_copies_in_one_query() -> Result<()> {
    let house = House::start().await?;
    let grant = house.grant("migrate").await?;
    for sql in [
        "COPY app.notes FROM STDIN; SELECT 1; COPY app.notes FROM STDIN",
        "BEGIN; COPY app.notes FROM STDIN; COPY app.notes (id, body) FROM STDIN; COMMIT",
    ] {
        let mut peer = endpoint(&house, &grant, &[]).await?;
        peer.send(&query(sql)).await?;
        for line in ["1\tone\n", "2\ttwo\n"] {
            peer.until('G').await?;
            peer.send(&[copy_data(line.as_bytes()), copy_done()].concat()).await?;
        }
        let ended = peer.until_ready(1).await?;
        assert!(!tags(&ended).contains('E'), "{sql}: {}", tags(&ended));
        let rows = house.cluster.psql(
            "shop",
            "WITH d AS (DELETE FROM app.notes RETURNING id) SELECT sum(id) FROM d",
        )?;
        assert_eq!(rows, "3", "{sql}");
    }
    Ok(())
}
