//! Cases of the wire: each plays its messages and says when the attack worked. What it received is searched for
//! secrets, and the database for effects, by the caller.

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ground::Plot;
use super::wire::Received;
use crate::raw::{Raw, bind, copy_data, copy_fail, describe, execute, execute_some, frame, packet, parse, query, sync};

/// What a played case showed.
#[derive(Debug, Default)]
pub struct Played {
    /// Everything received.
    pub received: Received,
    /// The attack worked, and how one can tell.
    pub worked: Option<String>,
}

const STOLEN: &str = "SELECT token FROM secrets";
const PUT: &str = "INSERT INTO scratch VALUES (77, 'implicit', 1)";

/// Plays the case `name`; `None` when there is no script for it.
pub async fn play(plot: &mut Plot<'_>, name: &str) -> Result<Option<Played>> {
    let mut played = Played::default();
    match name {
        "binary-format" => {
            let mut binary = [&b"\0\0\0\0\0\0"[..], &[0, 1, 0, 1]].concat();
            binary = frame('B', &binary);
            let sql = "SELECT ssn FROM customers";
            say(
                plot,
                &mut played,
                &[parse("", sql), binary, describe(""), execute(""), sync()],
                1,
            )
            .await?;
        }
        "copy-in-smuggle" => copy_in_smuggle(plot, &mut played).await?,
        "deep-nesting" => {
            for sql in deep() {
                say(plot, &mut played, &[query(&sql)], 1).await?;
                say(
                    plot,
                    &mut played,
                    &[parse("", &sql), bind("", ""), execute(""), sync()],
                    1,
                )
                .await?;
            }
        }
        "encoding-sjis" => sjis(plot, &mut played).await?,
        "fastpath" => fastpath(plot, &mut played).await?,
        "gssenc" => gssenc(plot, &mut played).await?,
        "ident-truncate" => {
            let long = "s".repeat(70);
            let cut = "s".repeat(63);
            for sql in [
                format!("WITH {long} AS (SELECT 1 AS token) SELECT token FROM {cut}, secrets"),
                format!("SELECT {cut}.token FROM secrets AS {long}"),
                format!("SELECT * FROM \"secrets{}\"", "\u{e9}".repeat(40)),
            ] {
                say(plot, &mut played, &[query(&sql)], 1).await?;
            }
        }
        "msg-length-small" => {
            for length in [0_u32, 3, 0xffff_fff0, 0x8000_0004] {
                let bytes = [
                    &b"Q"[..],
                    &length.to_be_bytes(),
                    STOLEN.as_bytes(),
                    b"\0",
                    &query(STOLEN),
                ]
                .concat();
                say(plot, &mut played, &[bytes], 2).await?;
            }
        }
        "multi-parse-mixed" => say(plot, &mut played, &[query(&format!("{PUT}; {STOLEN}"))], 1).await?,
        "notice-error-fields" => {
            for sql in [
                "UPDATE customers SET name = NULL WHERE id = 1",
                "INSERT INTO customers SELECT 1, name, 'x', 'y' FROM customers",
                "DO $$ BEGIN RAISE NOTICE '%', (SELECT token FROM secrets); END $$",
                "SELECT id FROM customers ORDER BY ssn::int",
            ] {
                say(plot, &mut played, &[query(sql)], 1).await?;
                say(
                    plot,
                    &mut played,
                    &[parse("", sql), bind("", ""), execute(""), sync()],
                    1,
                )
                .await?;
            }
        }
        "pipeline-error" => {
            let out = [
                parse("", STOLEN),
                bind("", ""),
                execute(""),
                parse("", PUT),
                bind("", ""),
                execute(""),
                sync(),
            ];
            say(plot, &mut played, &out, 1).await?;
        }
        "pipeline-txn" => {
            let out = [
                parse("", PUT),
                bind("", ""),
                execute(""),
                parse("", STOLEN),
                bind("", ""),
                execute(""),
                sync(),
            ];
            say(plot, &mut played, &out, 1).await?;
        }
        "portal-suspend" => {
            let out = [
                parse("p", STOLEN),
                bind("c", "p"),
                execute_some("c", 1),
                execute_some("c", 1),
                sync(),
                bind("c", "p"),
                execute_some("c", 1),
                sync(),
                query("FETCH ALL FROM c"),
            ];
            say(plot, &mut played, &out, 3).await?;
        }
        "query-nul" => {
            for sql in ["SELECT 1\0; DROP TABLE scratch", "SELECT token FROM secrets\0 SELECT 1"] {
                say(plot, &mut played, &[query(sql)], 1).await?;
                say(
                    plot,
                    &mut played,
                    &[parse("", sql), bind("", ""), execute(""), sync()],
                    1,
                )
                .await?;
            }
        }
        "startup-dbname" => {
            for database in ["postgres", "template1", "tpl", "shop"] {
                started(
                    plot,
                    &mut played,
                    &[("database", database)],
                    "SELECT current_database()",
                    &["postgres", "template1", "tpl", "shop"],
                )
                .await?;
            }
        }
        "startup-options" => {
            let options =
                "-c search_path=public -c standard_conforming_strings=off -c session_replication_role=replica";
            let trick = "SELECT '\\'', (SELECT token FROM secrets), '\\''";
            started(
                plot,
                &mut played,
                &[("options", options)],
                "SHOW standard_conforming_strings",
                &["off"],
            )
            .await?;
            started(plot, &mut played, &[("options", options)], trick, &[]).await?;
            let keys = [("standard_conforming_strings", "off")];
            started(plot, &mut played, &keys, "SHOW standard_conforming_strings", &["off"]).await?;
        }
        "startup-replication" => {
            for value in ["database", "true", "1"] {
                started(plot, &mut played, &[("replication", value)], "IDENTIFY_SYSTEM", &[]).await?;
                if played.received.results.contains("IDENTIFY_SYSTEM") {
                    played.worked = Some("a replication command was answered".to_owned());
                }
            }
        }
        "trailing-bytes" => {
            let hidden = format!("SELECT 1\0{STOLEN}\0");
            say(plot, &mut played, &[frame('Q', hidden.as_bytes())], 1).await?;
            let hidden = format!("\0SELECT 1\0\0\0{STOLEN}\0");
            say(
                plot,
                &mut played,
                &[frame('P', hidden.as_bytes()), bind("", ""), execute(""), sync()],
                1,
            )
            .await?;
            say(plot, &mut played, &[frame('S', &query(STOLEN)), sync()], 1).await?;
        }
        _ => return Ok(None),
    }
    Ok(Some(played))
}

/// Sends messages on a connection of their own and takes the answers up to `ready` times ReadyForQuery.
async fn say(plot: &Plot<'_>, played: &mut Played, messages: &[Vec<u8>], ready: usize) -> Result<()> {
    let mut peer = plot.job().await?;
    let _refused = peer.send(&messages.concat()).await;
    hear(&mut peer, played, ready).await
}

async fn hear(peer: &mut Raw, played: &mut Played, ready: usize) -> Result<()> {
    let messages = peer.until_ready(ready).await?;
    played.received.take(&messages);
    Ok(())
}

/// Logs in with `keys`, asks, and reports when the answer is one of `bad`.
async fn started(plot: &Plot<'_>, played: &mut Played, keys: &[(&str, &str)], sql: &str, bad: &[&str]) -> Result<()> {
    // To be refused is fine.
    let Ok(mut peer) = plot.job_with(keys).await else {
        return Ok(());
    };
    let mut answer = Played::default();
    peer.send(&query(sql)).await?;
    hear(&mut peer, &mut answer, 1).await?;
    if let Some(bad) = bad
        .iter()
        .find(|bad| answer.received.text.lines().any(|line| line == **bad))
    {
        played.worked = Some(format!("{keys:?}: {sql} gives {bad}"));
    }
    played.received.bytes.extend(answer.received.bytes);
    played.received.text += &answer.received.text;
    played.received.results += &answer.received.results;
    Ok(())
}

/// 10,000 levels of what nests.
fn deep() -> Vec<String> {
    let nest = |open: &str, middle: &str, close: &str| {
        format!("SELECT {}{middle}{}", open.repeat(10_000), close.repeat(10_000))
    };
    vec![
        nest("(", "1", ")"),
        nest("NOT ", "true", ""),
        nest("CASE WHEN true THEN ", "1", " END"),
        nest("(SELECT ", "token FROM secrets", ")"),
        nest("- ", "1", ""),
        nest("ARRAY[", "1", "]"),
        format!("SELECT 1{}", "+1".repeat(100_000)),
        format!("SELECT {}1", "/*".repeat(10_000)),
        format!("SELECT 1 FROM {}orders{}", "(".repeat(10_000), ")".repeat(10_000)),
    ]
}

async fn copy_in_smuggle(plot: &Plot<'_>, played: &mut Played) -> Result<()> {
    for end in [copy_fail(), query(STOLEN), frame('F', &[0; 10]), sync()] {
        let mut peer = plot.job().await?;
        peer.send(&query("COPY audit_log(id, msg) FROM STDIN")).await?;
        let began = peer.until('G').await?;
        played.received.take(&began);
        let inside = query(STOLEN);
        let (head, tail) = inside.split_at(7);
        let out = [
            copy_data(head),
            copy_data(tail),
            copy_data(&inside),
            end,
            copy_fail(),
            query(STOLEN),
        ];
        let _refused = peer.send(&out.concat()).await;
        hear(&mut peer, played, 2).await?;
    }
    Ok(())
}

async fn sjis(plot: &Plot<'_>, played: &mut Played) -> Result<()> {
    // In SJIS the second byte of 0x95 0x5C is a letter's; in UTF-8 it is a backslash.
    let tricks: [&[u8]; 2] = [
        b"SELECT E'\x95\\', (SELECT token FROM secrets), --'\0",
        b"SELECT '\x95\\' || (SELECT token FROM secrets)\0",
    ];
    for trick in tricks {
        if let Ok(mut peer) = plot.job_with(&[("client_encoding", "SJIS")]).await {
            let _refused = peer.send(&frame('Q', trick)).await;
            hear(&mut peer, played, 1).await?;
        }
        let mut peer = plot.job().await?;
        let _refused = peer
            .send(&[query("SET client_encoding = 'SJIS'"), frame('Q', trick)].concat())
            .await;
        hear(&mut peer, played, 2).await?;
    }
    Ok(())
}

async fn fastpath(plot: &Plot<'_>, played: &mut Played) -> Result<()> {
    for name in [
        "query_to_xml(text,boolean,boolean,text)",
        "pg_read_file(text)",
        "lo_get(oid)",
    ] {
        let oid = plot
            .site
            .value(&format!("SELECT '{name}'::regprocedure::oid"))
            .await?
            .unwrap_or_default();
        let oid: u32 = oid.parse()?;
        let arguments: Vec<&[u8]> = match name.as_bytes()[0] {
            b'q' => vec![STOLEN.as_bytes(), b"t", b"t", b""],
            b'p' => vec![b"postgresql.auto.conf"],
            _ => vec![b"4242"],
        };
        let mut body = oid.to_be_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(u16::try_from(arguments.len())?.to_be_bytes());
        for argument in arguments {
            body.extend(u32::try_from(argument.len())?.to_be_bytes());
            body.extend(argument);
        }
        body.extend([0, 0]);
        let mut peer = plot.job().await?;
        let _refused = peer.send(&frame('F', &body)).await;
        let messages = peer.until_ready(1).await?;
        if messages.iter().any(|(tag, _)| *tag == 'V') {
            played.worked = Some(format!("{name} was called"));
        }
        played.received.take(&messages);
    }
    Ok(())
}

async fn gssenc(plot: &Plot<'_>, played: &mut Played) -> Result<()> {
    let mut tcp = TcpStream::connect(("127.0.0.1", plot.port())).await?;
    tcp.write_all(&packet(80_877_104, b"")).await?;
    let answer = tcp.read_u8().await?;
    if answer != b'N' {
        played.worked = Some(format!("GSSENCRequest is answered with {answer:?}"));
        return Ok(());
    }
    // Bytes sent before the handshake must not be taken for the job's.
    tcp.write_all(&[packet(80_877_103, b""), query(STOLEN)].concat())
        .await?;
    let mut rest = Vec::new();
    let _closed = tokio::time::timeout(std::time::Duration::from_secs(5), tcp.read_to_end(&mut rest)).await;
    played.received.bytes.extend(rest);
    Ok(())
}
