//! What is said about masks: to the author of a policy before a job runs, to the job, and in the record.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use tests::House;
use tests::command::{job, said};
use tests::raw::{bind, endpoint, execute, execute_some, field, parse, query, sync};
use tests::roles::masked;

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_plan_say_how_each_masked_column_is_replaced() -> Result<()> {
    let house = House::plan(masked("shared")).await?;
    let path = |name: &str| house.path(name).display().to_string();
    fs::write(path("claims.json"), said(&mut job(&house, &["whoami", "--json"]))?.out)?;
    let operator = path("broker.yaml");
    let snapshot = said(&mut house.command(&["policy", "snapshot", "--operator", &operator, "--database", "shop"]))?;
    fs::write(path("schema.json"), snapshot.out)?;
    let (claims, schema) = (path("claims.json"), path("schema.json"));
    let ask = |words: &[&str], more: &[&str]| {
        let job = [
            "--operator",
            &operator,
            "--claims",
            &claims,
            "--snapshot",
            &schema,
            "--scope",
            "masked",
        ];
        said(&mut house.command(&[words, &job, more].concat()))
    };
    let sql = "SELECT 1;\nSELECT s.email, o.id FROM crm.orders o\n  JOIN crm.staff s ON s.id = o.person";

    let told = ask(&["policy", "explain"], &["--sql", sql])?;
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    let line = "  crm.staff.email is replaced: email by .hoop/db-access.yaml:15, at 3:8\n";
    assert!(told.out.contains(line), "{}", told.out);
    assert_eq!(told.out.matches(" is replaced: ").count(), 1, "{}", told.out);

    let told = ask(&["policy", "explain"], &["--json", "--sql", sql])?;
    let told: Value = serde_json::from_str(&told.out)?;
    assert_eq!(told["admitted"], true);
    let masks = &told["statements"][1]["masks"];
    assert_eq!(masks.as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(masks[0]["column"], "crm.staff.email");
    assert_eq!(masks[0]["mask"], "email");
    assert_eq!(masks[0]["origin"]["line"], 15);
    assert_eq!((&masks[0]["at_line"], &masks[0]["at_column"]), (&3.into(), &8.into()));
    assert!(told["statements"][0].get("masks").is_none(), "{told}");

    // Every column of `SELECT *`, and the same in a file.
    fs::write(path("all.sql"), "-- every column\nSELECT * FROM crm.parted;\n")?;
    let told = ask(&["plan"], &[&path("all.sql")])?;
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
    let line = "  crm.parted.ssn is replaced: { fixed: \"***\" } by .hoop/db-access.yaml:22, at 2:15\n";
    assert!(told.out.contains(line), "{}", told.out);
    let told = ask(&["plan", "--format", "json"], &[&path("all.sql")])?;
    let steps: Value = serde_json::from_str(&told.out)?;
    assert_eq!(steps[0]["masks"][0]["column"], "crm.parted.ssn", "{steps}");
    assert_eq!(steps[0]["verdict"], "allowed", "{steps}");
    Ok(())
}

/// Each statement and the masked values that its outcome is to say, in the order of the record.
const COUNTED: &[(&str, &[(&str, u64)])] = &[
    ("SELECT id, name FROM crm.people", &[]),
    (
        "SELECT email, upper(email) FROM crm.people ORDER BY id LIMIT 2",
        &[("crm.people.email", 2)],
    ),
    ("SELECT * FROM crm.parted", &[("crm.parted.ssn", 1)]),
    ("SELECT email FROM crm.people WHERE id < 0", &[]),
    (
        "SELECT o.id FROM crm.orders o JOIN crm.people p ON p.id = o.person WHERE p.phone IS NOT NULL",
        &[("crm.people.phone", 1)],
    ),
    (
        "COPY crm.people (id, email, card) TO STDOUT WITH (FORMAT csv, HEADER)",
        &[("crm.people.card", 2), ("crm.people.email", 2)],
    ),
    ("EXPLAIN SELECT email FROM crm.people", &[]),
    ("CREATE TABLE crm.made AS SELECT id, email FROM crm.people", &[]),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT email FROM crm.people", &[]),
    ("FETCH 2 FROM c", &[("crm.people.email", 2)]),
    ("MOVE 1 FROM c", &[]),
    ("PREPARE p AS SELECT born FROM crm.people", &[]),
    ("EXECUTE p", &[("crm.people.born", 3)]),
];

#[tokio::test(flavor = "multi_thread")]
async fn masked_values_are_counted_by_column() -> Result<()> {
    let house = House::plan(masked("shared")).await?;
    let grant = house.grant("masked").await?;
    let mut peer = endpoint(&house, &grant, &[]).await?;
    for (sql, _) in COUNTED {
        peer.send(&query(sql)).await?;
        for (tag, body) in peer.until_ready(1).await? {
            assert_ne!(tag, 'E', "{sql}: {}", field(&body, 'M'));
        }
    }
    // Rows that come in two parts, and rows before an error.
    let steps = [
        parse("", "SELECT email FROM crm.people"),
        bind("", ""),
        execute_some("", 1),
        execute(""),
        sync(),
    ];
    peer.send(&steps.concat()).await?;
    peer.until_ready(1).await?;
    peer.send(&query("SELECT tags, 1 / (3 - id) FROM crm.people ORDER BY id"))
        .await?;
    peer.until_ready(1).await?;

    let mut expected: Vec<(&str, Value)> = COUNTED.iter().map(|(sql, counts)| (*sql, counted(counts))).collect();
    expected.push(("SELECT email FROM crm.people", counted(&[("crm.people.email", 1)])));
    expected.push(("SELECT email FROM crm.people", counted(&[("crm.people.email", 2)])));
    let last = "SELECT tags, 1 / (3 - id) FROM crm.people ORDER BY id";

    let report = house.revoke(&grant).await?;
    let masked = &report["totals"]["masked"];
    for (column, sum) in [
        ("crm.people.email", 9),
        ("crm.people.card", 2),
        ("crm.people.phone", 1),
        ("crm.people.born", 3),
        ("crm.parted.ssn", 1),
    ] {
        assert_eq!(masked[column], sum, "{column}: {masked}");
    }
    assert!(!masked.to_string().contains('@'), "{masked}");

    let state = house.path("state").display().to_string();
    let sessions = |words: &[&str]| said(&mut house.command(&[&["sessions"], words, &["--state", &state]].concat()));
    let listed = house.ended_sessions(&[])?;
    assert_eq!(&listed[0]["masked"], masked, "{listed:?}");
    let id = listed[0]["session"].as_str().unwrap_or_default().to_owned();
    let shown: Value = serde_json::from_str(&sessions(&["show", &id, "--json"])?.out)?;
    let steps: Vec<(&str, Value)> = shown["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            let masked = step["outcome"].get("masked").cloned();
            (step["text"].as_str().unwrap_or_default(), masked.unwrap_or(json!({})))
        })
        .collect();
    assert_eq!(steps.get(..expected.len()), Some(expected.as_slice()), "{steps:#?}");
    let (text, counts) = &steps[expected.len()];
    assert_eq!(*text, last);
    // The server sent what it had before the third row, or nothing yet: it is the truth either way.
    assert!(
        counts["crm.people.tags"].as_u64().is_none_or(|count| count == 2),
        "{counts}"
    );
    let text = sessions(&["show", &id])?.out;
    assert!(
        text.contains(", masked crm.people.card 2, crm.people.email 2, "),
        "{text}"
    );
    assert!(text.contains("masked       crm.parted.ssn 1, "), "{text}");
    assert!(house.verify_ledger()?.0);
    Ok(())
}

fn counted(counts: &[(&str, u64)]) -> Value {
    counts
        .iter()
        .map(|(column, count)| ((*column).to_owned(), json!(count)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
