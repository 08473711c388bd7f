//! The net of a scope with `detect`, on a live server: nothing planted is in any byte that the client receives, whatever
//! way it asks, and everything else is as it was.

mod attacks;
mod json;
mod large;

use anyhow::Result;
use tests::command::said;
use tests::raw::{
    Message, Raw, bind, close, describe, describe_statement, endpoint, execute, execute_some, field, fields, frame,
    parse, query, sync, tags,
};
use tests::{Grant, House, Plan};

/// What is planted, in every spelling of it.
const PLANTED: &[&str] = &[
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111111111111111",
    "+49 170 1234567",
    "ann@corp.example",
    "corp.example",
    "DE89 3704 0044 0532 0130 00",
    "078-05-1120",
    "AKIAIOSFODNN7EXAMPLE",
];

fn plan() -> Plan {
    let mut plan = Plan::default();
    plan.schema += include_str!("../../fixtures/detect.sql");
    plan.policy = include_str!("../../fixtures/detect.yaml").to_owned();
    plan.extra = include_str!("../../fixtures/ceilings.yaml")
        .replace("\"app.*\", \"public.*\"", "\"app.*\", \"public.*\", \"notes.*\"")
        .replace("[\"pg_catalog.*\"]", "[\"pg_catalog.*\", \"notes.*\"]");
    plan
}

async fn peer(house: &House, scope: &str) -> Result<(Grant, Raw)> {
    let grant = house.grant(scope).await?;
    let peer = endpoint(house, &grant, &[]).await?;
    Ok((grant, peer))
}

#[track_caller]
fn clean(what: &str, messages: &[Message]) -> String {
    let bytes: Vec<u8> = messages.iter().flat_map(|(_, body)| body.clone()).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    for planted in PLANTED {
        assert!(!text.contains(planted), "{what}: {planted} in {text}");
    }
    text
}

/// A Bind whose results all come in binary format.
fn bind_binary(statement: &str) -> Vec<u8> {
    frame('B', &[b"\0", statement.as_bytes(), b"\0\0\0\0\0\0\x01\0\x01"].concat())
}

/// The values of a DataRow; NULL is `None`.
fn values(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let length = i32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
        rest = &rest[4..];
        values.push(usize::try_from(length).ok().map(|length| {
            let (value, after) = rest.split_at(length);
            rest = after;
            value.to_vec()
        }));
    }
    values
}

fn texts(message: &Message) -> Vec<String> {
    let values = values(&message.1).into_iter();
    values
        .map(|value| value.map_or("NULL".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
        .collect()
}

const WHOLE: &str = "SELECT * FROM notes.tickets ORDER BY id";
/// The first row of it, as texts.
const FIRST: &[&str] = &[
    "1",
    "paid with [card], call [phone]",
    "[email]",
    "[card]                     ",
    r#"{"card": "[card]", "mail": "[email]\n[card]"}"#,
    r#"{"iban": "[iban]", "a": "[email]"}"#,
    r#"{[card],"ssn [national-id]",plain}"#,
    "1700000000000",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_planted_comes_through_in_any_protocol() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (_, mut peer) = peer(&house, "netted").await?;
    peer.send(&query(WHOLE)).await?;
    let simple = peer.until_ready(1).await?;
    clean("simple", &simple);
    assert_eq!(tags(&simple), "TDDDCZ");
    assert_eq!(texts(&simple[1])[..FIRST.len()], *FIRST);
    let second = texts(&simple[2]);
    assert_eq!(second[1], "nothing to see, order 1700000000000");
    assert_eq!(second[4..7], [r#"{"a": 1}"#, r#"{"b": [1, 2]}"#, "{a,b}"]);
    assert_eq!(texts(&simple[3])[1..3], ["key [token]", "NULL"]);

    // Described as a portal, described once as a statement, and not at all: the client is told what it asked for.
    for (steps, expected) in [
        (
            vec![parse("", WHOLE), bind("", ""), describe(""), execute(""), sync()],
            "12TDDDCZ",
        ),
        (vec![parse("s", WHOLE), describe_statement("s"), sync()], "1tTZ"),
        (vec![bind("", "s"), execute(""), sync()], "2DDDCZ"),
        (
            vec![
                bind("", "s"),
                execute_some("", 1),
                execute_some("", 1),
                execute(""),
                sync(),
            ],
            "2DsDsDCZ",
        ),
        (vec![bind("", "s"), execute(""), close('S', "s"), sync()], "2DDDC3Z"),
        (
            vec![
                parse("", "SET application_name = 'x'"),
                bind("", ""),
                execute(""),
                sync(),
            ],
            "12CSZ",
        ),
        (vec![parse("", ""), bind("", ""), execute(""), sync()], "12IZ"),
    ] {
        peer.send(&steps.concat()).await?;
        let answer = peer.until_ready(1).await?;
        clean("extended", &answer);
        assert_eq!(tags(&answer), expected);
        let rows: Vec<&Message> = answer.iter().filter(|(tag, _)| *tag == 'D').collect();
        let same = simple.iter().filter(|(tag, _)| *tag == 'D');
        assert!(rows.is_empty() || rows.into_iter().eq(same), "{steps:?}");
    }

    // In binary format: texts as they are, jsonb behind its version, arrays with their lengths.
    peer.send(&[parse("", WHOLE), bind_binary(""), execute(""), sync()].concat())
        .await?;
    let binary = peer.until_ready(1).await?;
    clean("binary", &binary);
    assert_eq!(tags(&binary), "12DDDCZ");
    let row = values(&binary[2].1);
    let text = |at: usize| String::from_utf8_lossy(row[at].as_deref().unwrap_or_default()).into_owned();
    assert_eq!(text(1), FIRST[1]);
    assert_eq!(text(4), format!("\u{1}{}", FIRST[4]));
    assert_eq!(text(5), FIRST[5]);
    let elements = text(6);
    assert!(elements.contains("\u{10}****************"), "{elements:?}");
    assert!(
        elements.contains("ssn ***********") && elements.contains("plain"),
        "{elements:?}"
    );
    assert_eq!(row[7], Some(1_700_000_000_000_i64.to_be_bytes().to_vec()));

    // A failing statement fails as it did, and the session goes on.
    peer.send(&[parse("", "SELECT 1 / 0"), bind("", ""), execute(""), sync()].concat())
        .await?;
    let failed = peer.until_ready(1).await?;
    assert!(tags(&failed).ends_with("EZ"), "{}", tags(&failed));
    peer.send(&query("SELECT tag FROM notes.tickets WHERE id = 2")).await?;
    assert_eq!(texts(&peer.until_ready(1).await?[1]), ["plain"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_through_copy_cursors_composites_errors_and_notices() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (grant, mut peer) = peer(&house, "netted").await?;
    for (sql, expected) in [
        (
            "COPY (SELECT * FROM notes.tickets ORDER BY id) TO STDOUT",
            "paid with [card], call [phone]\t[email]\t",
        ),
        (
            "COPY notes.tickets (doc) TO STDOUT",
            r#"{"card": 0, "mail": "[email]\\n[card]"}"#,
        ),
        (
            "COPY notes.tickets (id, body, tags) TO STDOUT WITH (FORMAT csv, HEADER)",
            "1,\"paid with [card], call [phone]\"",
        ),
        (
            "COPY (SELECT body, tag, doc FROM notes.tickets WHERE id = 1) TO STDOUT WITH (FORMAT binary)",
            "paid with *******************, call ***************",
        ),
        (
            "BEGIN; DECLARE c CURSOR FOR SELECT body FROM notes.tickets ORDER BY id; FETCH 1 FROM c; COMMIT",
            "paid with [card]",
        ),
        (
            "BEGIN; DECLARE b BINARY CURSOR FOR SELECT tags FROM notes.tickets ORDER BY id; FETCH 1 FROM b; COMMIT",
            "\u{10}****************",
        ),
        (
            "PREPARE p AS SELECT tag FROM notes.tickets WHERE id = 1; EXECUTE p",
            "[email]",
        ),
        (
            "SELECT one, (one).contact, row_to_json(p) FROM notes.pairs p",
            "(Ann,[email])",
        ),
        ("SELECT string_agg(body, ' ') FROM notes.tickets", "paid with [card]"),
        (
            "UPDATE notes.tickets SET tag = tag WHERE id = 1 RETURNING tag",
            "[email]",
        ),
        (
            "SELECT body::int FROM notes.tickets WHERE id = 1",
            "paid with [card], call [phone]",
        ),
        ("SELECT notes.fail()", "of [email]"),
        ("LISTEN news; NOTIFY news, 'mail ann@corp.example'", "mail [email]"),
    ] {
        peer.send(&query(sql)).await?;
        let answer = peer.until_ready(1).await?;
        let text = clean(sql, &answer);
        assert!(text.contains(expected), "{sql}: {}: {text}", tags(&answer));
        if sql.contains("fail()") {
            let (_, error) = answer.iter().find(|(tag, _)| *tag == 'E').expect("an error");
            assert_eq!(field(error, 'M'), "card [card]");
            assert_eq!(field(error, 'C'), "P0001");
            assert!(
                fields(error).contains(&"Hcall [phone]".to_owned()),
                "{:?}",
                fields(error)
            );
        }
    }
    // A COPY in the extended protocol, and what psql makes of it.
    peer.send(
        &[
            parse("", "COPY notes.tickets (body) TO STDOUT"),
            bind("", ""),
            execute(""),
            sync(),
        ]
        .concat(),
    )
    .await?;
    let copied = peer.until_ready(1).await?;
    assert_eq!(tags(&copied), "12HdddcCZ");
    clean("extended copy", &copied);
    let (good, out, err) = house.psql(
        &grant,
        &["-X", "-A", "-t"],
        "\\copy notes.tickets (id, tag) to stdout\nSELECT body FROM notes.tickets WHERE id = 3;\n",
    )?;
    assert!(good, "{err}");
    assert!(out.contains("1\t[email]\n") && out.contains("key [token]\n"), "{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_counted_and_no_other_scope_is_touched() -> Result<()> {
    let house = House::plan(plan()).await?;
    let (_, mut bare) = peer(&house, "bare").await?;
    bare.send(&query("SELECT body, tag, doc FROM notes.tickets WHERE id = 1"))
        .await?;
    let text = texts(&bare.until_ready(1).await?[1]).join("|");
    assert!(
        text.contains("4111 1111 1111 1111") && text.contains("ann@corp.example"),
        "{text}"
    );

    let (grant, mut cards) = peer(&house, "cards").await?;
    cards
        .send(&query("SELECT body, tag, doc FROM notes.tickets ORDER BY id"))
        .await?;
    let text = texts(&cards.until_ready(1).await?[1]).join("|");
    assert!(text.contains("[card], call +49 170 1234567|ann@corp.example"), "{text}");
    cards
        .send(&query("SELECT body FROM notes.tickets WHERE id = 2"))
        .await?;
    cards.until_ready(1).await?;
    let totals = house.revoke(&grant).await?["totals"].clone();
    assert_eq!(totals["detected"].to_string(), r#"{"card":3}"#, "{totals}");
    assert_eq!(totals["masked"].to_string(), "{}", "{totals}");

    let state = house.path("state").display().to_string();
    let sessions = house.ended_sessions(&["--grant", &grant.id()])?;
    assert_eq!(sessions[0]["detected"]["card"], 3, "{sessions:?}");
    let id = sessions[0]["session"].as_str().unwrap_or_default();
    let shown = said(&mut house.command(&["sessions", "show", id, "--state", &state]))?.out;
    assert!(shown.contains("SELECT 3, 3 rows, detected card 3, "), "{shown}");
    assert!(
        shown.contains("SELECT 1, 1 rows, ") && !shown.contains("4111"),
        "{shown}"
    );
    assert!(house.verify_ledger()?.0);
    Ok(())
}
