//! Masks on a live server: whatever a job asks, no raw value of a masked column is in anything that it receives, and
//! honest statements answer with masked values.

use anyhow::Result;
use tests::raw::{Raw, bind, describe_statement, endpoint, execute, field, parse, query, sync, tags};
use tests::{House, Plan};

/// Stands in every raw value that is masked, or is one: the first for texts, the others for what has no room for it.
const RAW: &[&str] = &[
    "canary",
    "CANARY",
    "hidden-s3cr3t",
    "1234.56",
    "7777.77",
    "05-17",
    "12-31",
    "4111-1111",
];

/// Who keeps the masks: the broker alone, or the database as well.
const BOTH: &[&str] = &["shared", "role"];

fn plan(enforcement: &'static str) -> Plan {
    tests::roles::masked(enforcement)
}

#[track_caller]
fn nothing_raw(sql: &str, text: &str) {
    for raw in RAW {
        assert!(!text.contains(raw), "{sql}: {raw} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_statements_answer_with_masked_values() -> Result<()> {
    for enforcement in BOTH {
        honest_statements_answer_with_masked_values_under(enforcement).await?;
    }
    Ok(())
}

async fn honest_statements_answer_with_masked_values_under(enforcement: &'static str) -> Result<()> {
    let house = House::plan(plan(enforcement)).await?;
    let grant = house.grant("masked").await?;
    let mut wrong = Vec::new();
    for (sql, expected) in [
        ("SELECT email FROM crm.people WHERE id = 1", "x***@example.test"),
        (
            "SELECT card FROM crm.people ORDER BY id",
            "***************1234\n***************9999\n",
        ),
        ("SELECT born, salary FROM crm.people WHERE id = 1", "1980-01-01|1000.00"),
        ("SELECT extra FROM crm.people WHERE id = 2", "{\"ssn\": null}"),
        ("SELECT ssn FROM crm.parted", "***"),
        ("SELECT ssn FROM crm.parted_1", "***"),
        ("TABLE crm.parted", "1|2024-05-05|***"),
        ("SELECT id, email FROM crm.staff", "3|x***@example.test"),
        ("SELECT count(*) FROM ONLY crm.people", "2"),
        ("SELECT count(*) FROM crm.people", "3"),
        (
            "SELECT pg_typeof(email), pg_typeof(card), pg_typeof(born), pg_typeof(salary), pg_typeof(mood), pg_typeof(tags) FROM crm.people LIMIT 1",
            "character varying|character varying|date|numeric|crm.mood|text[]",
        ),
        (
            "SELECT p.id, p.name, p.email, count(o.id) FROM crm.people p LEFT JOIN crm.orders o ON o.person = p.id GROUP BY p.id ORDER BY p.id",
            "1|Ann|x***@example.test|1",
        ),
        // Grouped by the key through a position or a given name, as Django does.
        (
            "SELECT p.id, p.email, count(o.id) FROM crm.people p LEFT JOIN crm.orders o ON o.person = p.id GROUP BY 1 ORDER BY 1",
            "1|x***@example.test|1\n2|x***@example.test|1\n3|x***@example.test|0\n",
        ),
        (
            "SELECT id, email, count(*) FROM crm.people GROUP BY 1, 2 ORDER BY 1 DESC",
            "3|x***@example.test|1\n2|",
        ),
        (
            "SELECT p.email, p.id AS person_key, count(*) FROM crm.people p GROUP BY (person_key) ORDER BY 2",
            "x***@example.test|1|1\nx***@example.test|2|1\n",
        ),
        (
            "SELECT DISTINCT ON (id) id, email FROM crm.people ORDER BY id, 2",
            "1|x***@example.test\n2|x***@example.test\n3|",
        ),
        (
            "SELECT DISTINCT ON (1) email, name FROM crm.people ORDER BY 1, 2",
            "email|name\nx***@example.test|Ann\n(1 row)",
        ),
        (
            "SELECT id, email, count(*) FROM crm.people GROUP BY ROLLUP (1, email) ORDER BY 1, 2",
            "1||1\n2|x***@example.test|1\n2||1\n3|x***@example.test|1\n3||1\n||3\n",
        ),
        (
            "SELECT id, email, name, GROUPING(email) FROM crm.people GROUP BY id, ROLLUP (2) ORDER BY id, 4",
            "1|x***@example.test|Ann|0\n1||Ann|1\n2|",
        ),
        (
            "SELECT crm.people.id, crm.people.email FROM crm.people WHERE crm.people.id = 1",
            "1|x***@example.test",
        ),
        (
            "WITH a AS (SELECT * FROM crm.orders), b AS (SELECT id, email FROM crm.people) SELECT b.email FROM a JOIN b ON b.id = a.person LIMIT 1",
            "x***@example.test",
        ),
        (
            "SELECT (SELECT string_agg(email, ',') FROM crm.people)",
            "x***@example.test,x***@example.test,x***@example.test",
        ),
        (
            "SELECT count(*) FROM crm.people WHERE email = 'ann.canary@corp.example'",
            "0",
        ),
        ("SELECT name FROM crm.people WHERE phone IS NULL", "Bob"),
        (
            "UPDATE crm.orders SET note = p.name FROM crm.people p WHERE p.id = person RETURNING note",
            "Ann",
        ),
        (
            "UPDATE crm.people SET name = 'Anne' WHERE id = 1 RETURNING id, name",
            "1|Anne",
        ),
        (
            "UPDATE crm.people SET email = 'new.canary@corp.example' WHERE id = 1",
            "UPDATE 1",
        ),
        (
            "INSERT INTO crm.people (id, name, email) VALUES (4, 'Dan', 'dan.canary@corp.example') ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING id",
            "4",
        ),
        ("DELETE FROM crm.people WHERE id = 4", "DELETE 1"),
        (
            "CREATE TABLE crm.made AS SELECT id, email FROM crm.people; SELECT email FROM crm.made ORDER BY id LIMIT 1",
            "x***@example.test",
        ),
        (
            "COPY crm.people (id, email, card) TO STDOUT",
            "1\tx***@example.test\t***************1234",
        ),
        (
            "COPY (SELECT email FROM crm.people) TO STDOUT WITH (FORMAT csv, HEADER)",
            "email\nx***@example.test",
        ),
        (
            "BEGIN; DECLARE c CURSOR FOR SELECT email FROM crm.people; FETCH 1 FROM c; COMMIT",
            "x***@example.test",
        ),
        (
            "PREPARE p(int) AS SELECT email FROM crm.people WHERE id = $1; EXECUTE p(1); DEALLOCATE p",
            "x***@example.test",
        ),
        (
            "EXPLAIN (COSTS OFF) SELECT id FROM crm.people WHERE id = 1",
            "QUERY PLAN",
        ),
    ] {
        let (good, out, err) = house.psql(&grant, &["-A", "-F", "|"], sql)?;
        nothing_raw(sql, &out);
        nothing_raw(sql, &err);
        if !good || !err.is_empty() || !out.contains(expected) {
            wrong.push(format!("{sql}: {out:?} {err}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What the job wrote is what it wrote, and the raw values are still there.
    assert_eq!(
        house
            .cluster
            .psql("shop", "SELECT email FROM crm.people WHERE id = 1")?,
        "new.canary@corp.example"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_read_raw_values_is_refused() -> Result<()> {
    for enforcement in BOTH {
        what_would_read_raw_values_is_refused_under(enforcement).await?;
    }
    Ok(())
}

async fn what_would_read_raw_values_is_refused_under(enforcement: &'static str) -> Result<()> {
    let house = House::plan(plan(enforcement)).await?;
    let grant = house.grant("masked").await?;
    for sql in [
        "SELECT * FROM crm.people",
        "SELECT secret FROM crm.people",
        "SELECT p FROM crm.people p",
        "SELECT id FROM crm.people FOR UPDATE",
        "SELECT id FROM crm.people TABLESAMPLE BERNOULLI (100)",
        "SELECT ctid, id FROM crm.people",
        "SELECT xmin FROM crm.parted",
        "EXPLAIN VERBOSE SELECT email FROM crm.people",
        "SELECT email FROM crm.people_view",
        "SELECT id FROM crm.people_copy WHERE email LIKE 'ann%'",
        "UPDATE crm.people SET name = 'x' WHERE email LIKE 'ann%'",
        "UPDATE crm.people SET name = email WHERE id = 1",
        "UPDATE crm.people SET name = 'x' WHERE id = 1 RETURNING email",
        "UPDATE crm.people SET name = 'x' WHERE id = 1 RETURNING *",
        "DELETE FROM crm.people WHERE card = '4111-1111-1111-1234'",
        "INSERT INTO crm.people (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = people.email",
        "INSERT INTO crm.people (id, name, email) VALUES (1, 'x', 'a@b') ON CONFLICT (email) DO NOTHING",
        "INSERT INTO crm.people (id, name, email) VALUES (9, 'x', 'nine.canary@b') RETURNING email",
        "MERGE INTO crm.people p USING crm.orders o ON p.email = o.note WHEN MATCHED THEN DELETE",
        "CREATE VIEW crm.made AS SELECT email FROM crm.people",
        "CREATE MATERIALIZED VIEW crm.made AS SELECT email FROM crm.people",
        "CREATE TABLE crm.made (email varchar(80) REFERENCES crm.people (email))",
        "SELECT most_common_vals FROM pg_catalog.pg_stats",
        "ALTER TABLE crm.parted RENAME TO made",
        "ALTER TABLE crm.parted RENAME COLUMN ssn TO other",
        "ALTER TABLE crm.parted ADD CHECK (ssn <> 'x')",
        "CREATE INDEX ON crm.parted ((ssn || ''))",
        "COPY crm.people TO STDOUT",
        "UPDATE crm.orders SET note = p.email FROM crm.people p WHERE p.id = person",
        "DELETE FROM crm.orders USING crm.people p WHERE p.id = person AND p.email <> 'ann.canary@corp.example'",
        "INSERT INTO crm.orders (id, note) SELECT 100 + id, email FROM crm.people",
        "WITH gone AS (DELETE FROM crm.orders RETURNING person) SELECT email FROM crm.people JOIN gone ON gone.person = id",
        "MERGE INTO crm.orders o USING crm.people p ON p.id = o.person WHEN MATCHED THEN UPDATE SET note = p.email",
    ] {
        let (_, out, err) = house.psql(&grant, &["-A"], sql)?;
        nothing_raw(sql, &out);
        nothing_raw(sql, &err);
        assert!(err.contains("denied by"), "{sql}: {out} {err}");
    }
    // The server fails these, and its words are kept back.
    for sql in [
        "INSERT INTO crm.people (id, name, email) VALUES (1, 'x', 'a@b')",
        "UPDATE crm.people SET name = NULL WHERE id = 1",
        "UPDATE crm.people SET email = 'bob.canary@corp.example' WHERE id = 1",
        "UPDATE crm.people SET id = 2 WHERE id = 1",
        "SELECT email::int FROM crm.people",
        "SELECT (extra->>'ssn')::int, phone::int FROM crm.people",
    ] {
        let (_, out, err) = house.psql(&grant, &["-A", "-v", "VERBOSITY=verbose"], sql)?;
        nothing_raw(
            sql,
            &format!("{out}{}", err.replace("bob.canary@corp.example' WHERE", "")),
        );
        assert!(err.contains("withheld"), "{sql}: {out} {err}");
    }
    Ok(())
}

async fn values(peer: &mut Raw, bytes: &[u8], readies: usize) -> Result<(String, String)> {
    peer.send(bytes).await?;
    let messages = peer.until_ready(readies).await?;
    let rows: Vec<u8> = messages
        .iter()
        .filter(|(tag, _)| *tag == 'D')
        .flat_map(|(_, body)| body.clone())
        .collect();
    let errors: Vec<String> = messages
        .iter()
        .filter(|(tag, _)| *tag == 'E')
        .map(|(_, body)| field(body, 'M'))
        .collect();
    Ok((
        tags(&messages),
        format!("{}{}", String::from_utf8_lossy(&rows), errors.join(" ")),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_once_and_run_after_the_schema_moved() -> Result<()> {
    for enforcement in BOTH {
        prepared_once_and_run_after_the_schema_moved_under(enforcement).await?;
    }
    Ok(())
}

async fn prepared_once_and_run_after_the_schema_moved_under(enforcement: &'static str) -> Result<()> {
    let house = House::plan(plan(enforcement)).await?;
    let grant = house.grant("masked").await?;
    let mut peer = endpoint(&house, &grant, &[("database", "shop")]).await?;
    let once = [
        parse("s", "SELECT email, card FROM crm.people WHERE id = 1"),
        describe_statement("s"),
        sync(),
    ]
    .concat();
    let (seen, _) = values(&mut peer, &once, 1).await?;
    assert_eq!(seen, "1tTZ");
    let run = [bind("", "s"), execute(""), sync()].concat();
    let (seen, text) = values(&mut peer, &run, 1).await?;
    assert!(seen == "2DCZ" && text.contains("x***@example.test"), "{seen} {text}");
    // What is added is hidden, and stands in nobody's way; another name for a column makes it another text.
    house.cluster.psql(
        "shop",
        "ALTER TABLE crm.people ADD COLUMN late text DEFAULT 'late-canary'; ALTER TABLE crm.people RENAME COLUMN secret TO covert",
    )?;
    // The broker sees it at the latest when it looks at the schema again: `covert` is a name then. What was prepared is
    // prepared again where PostgreSQL keeps the masks, and refused where its text has them in it.
    let start = std::time::Instant::now();
    let covert = query("SELECT covert FROM crm.people WHERE id < 0");
    loop {
        let (_, text) = values(&mut peer, &covert, 1).await?;
        let sees = !text.contains("does not exist");
        let (seen, text) = values(&mut peer, &run, 1).await?;
        nothing_raw("s", &text);
        if sees && enforcement == "role" {
            assert!(seen == "2DCZ" && text.contains("x***@example.test"), "{seen} {text}");
            break;
        }
        if text.contains("denied by") {
            assert!(sees, "{text}");
            break;
        }
        anyhow::ensure!(start.elapsed() < std::time::Duration::from_secs(60), "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (_, text) = values(&mut peer, &query("SELECT p.* FROM crm.people p"), 1).await?;
    nothing_raw("late", &text);
    let (seen, text) = values(&mut peer, &once, 1).await?;
    assert!(seen.contains('E') && text.contains("already exists"), "{seen} {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_never_bring_back_a_secret() -> Result<()> {
    tests::prove::masks::masks(20_261_122, 150).await?.sound()
}
