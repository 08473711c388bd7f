//! What a table may hold by accident, read in every way, on a live server.

use anyhow::Result;
use tests::House;
use tests::raw::{bind, execute, execute_some, parse, query, sync, tags};

use crate::{bind_binary, peer, plan, texts};

/// Types and texts of many kinds around one card and one address.
const SCHEMA: &str = "
CREATE EXTENSION citext SCHEMA notes;
CREATE EXTENSION hstore SCHEMA notes;
CREATE DOMAIN notes.remark AS text;
CREATE TYPE notes.mood AS ENUM ('fine', 'ann@corp.example');
CREATE TYPE notes.span AS RANGE (subtype = text);
CREATE TABLE notes.odd (id int PRIMARY KEY, c notes.citext, h notes.hstore, d notes.remark, x xml, e notes.mood, r notes.span, l text, u text, j json[], v text[]);
INSERT INTO notes.odd VALUES (1, 'CARD', 'card=>\"CARD\", mail=>ann@corp.example', 'see CARD', '<a b=\"ann@corp.example\">CARD</a>', 'ann@corp.example',
  '[CARD,z)', E'first line\\nCARD\\n\\tann@corp.example', 'CARD'||U&'\\00a0'||'ann'||U&'\\ff20'||'corp.example', ARRAY['{\"card\": NUMBER}'::json], '{{CARD,b},{ann@corp.example,NUMBER}}');
CREATE VIEW notes.filtered AS SELECT id FROM notes.tickets WHERE body <> 'CARD' AND tag <> 'ann@corp.example';";

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_odd_types_is_found_in_every_way() -> Result<()> {
    let mut plan = plan();
    plan.schema += &SCHEMA
        .replace("CARD", "4111 1111 1111 1111")
        .replace("NUMBER", "4111111111111111");
    let house = House::plan(plan).await?;
    let (_, mut peer) = peer(&house, "netted").await?;
    let all = "SELECT * FROM notes.odd";
    let copy = |options: &str| query(&format!("COPY notes.odd TO STDOUT{options}"));
    for (what, bytes) in [
        ("simple", query(all)),
        ("extended", [parse("", all), bind("", ""), execute(""), sync()].concat()),
        (
            "binary",
            [parse("", all), bind_binary(""), execute(""), sync()].concat(),
        ),
        ("copy", copy("")),
        ("csv", copy(" (FORMAT csv, HEADER, FORCE_QUOTE *)")),
        ("other csv", copy(" (FORMAT csv, DELIMITER ';', QUOTE '''')")),
        ("binary copy", copy(" (FORMAT binary)")),
        (
            "whole row",
            query("SELECT o, to_jsonb(o), row_to_json(o) FROM notes.odd o"),
        ),
        (
            "aggregates",
            query("SELECT array_agg(d), json_agg(l), string_agg(u, ',') FROM notes.odd"),
        ),
        ("unnested", query("SELECT unnest(v), unnest(j), h::text FROM notes.odd")),
        (
            "cursor",
            query("BEGIN; DECLARE c CURSOR FOR SELECT * FROM notes.odd; FETCH c; COMMIT"),
        ),
        ("plan", query("EXPLAIN (VERBOSE) SELECT * FROM notes.filtered")),
        (
            "plan in JSON",
            query("EXPLAIN (VERBOSE, FORMAT json) SELECT * FROM notes.filtered"),
        ),
        ("error", query("SELECT d::int FROM notes.odd")),
        (
            "error of a key",
            query("INSERT INTO notes.odd (id, d) SELECT id, d FROM notes.odd"),
        ),
    ] {
        peer.send(&bytes).await?;
        let answer = peer.until_ready(1).await?;
        let text = crate::clean(what, &answer);
        let failed = tags(&answer).contains('E');
        assert_eq!(
            failed,
            what.starts_with("error"),
            "{what}: {}",
            crate::clean(what, &answer)
        );
        assert!(
            text.contains("[card]") || text.contains("****") || what == "error of a key",
            "{what}: {text}"
        );
    }
    // Around every border of a buffer, whole and in parts.
    let borders = "SELECT repeat('x', n) || ' 4111 1111 1111 1111 ' || repeat('y', 4096 - n % 64) FROM generate_series(4060, 4100) n \
        UNION ALL SELECT repeat('x', n) || ' 4111 1111 1111 1111 ' FROM generate_series(131040, 131080, 5) n";
    for steps in [
        query(borders),
        [
            parse("", borders),
            bind("", ""),
            execute_some("", 20),
            execute_some("", 3),
            execute(""),
            sync(),
        ]
        .concat(),
    ] {
        peer.send(&steps).await?;
        let answer = peer.until_ready(1).await?;
        crate::clean("borders", &answer);
        let rows: Vec<String> = answer.iter().filter(|(tag, _)| *tag == 'D').flat_map(texts).collect();
        assert_eq!(rows.len(), 50, "{}", tags(&answer));
        assert!(rows.iter().all(|row| row.contains("x [card] ")));
    }
    Ok(())
}
