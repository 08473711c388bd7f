//! `hoop-db plan`: SQL files judged offline say what the live endpoint would say.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::House;
use tests::command::{job, said};
use tests::raw::{endpoint, field, query};

const FILES: &[(&str, &str)] = &[
    (
        "1_tables.sql",
        "-- a new table, filled and changed in the same run\nCREATE TABLE app.coupons (id serial PRIMARY KEY, code text);\n\
         INSERT INTO app.coupons (code) VALUES ('x; y');\n\nALTER TABLE app.coupons ADD COLUMN ends date;\n\
         UPDATE app.coupons SET ends = now();\n",
    ),
    (
        "2_mistakes.sql",
        "SELECT ends FROM app.coupons;\n/* nobody may */ SELECT * FROM audit.log;\nSELECT gone FROM app.coupons;\n",
    ),
    ("3_broken.sql", "SELECT 1;\nSELEC 2;\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn files_are_judged_as_the_endpoint_would() -> Result<()> {
    let house = House::start().await?;
    let path = |name: &str| house.path(name).display().to_string();
    fs::write(
        house.path("claims.json"),
        said(&mut job(&house, &["whoami", "--json"]))?.out,
    )?;
    let operator = path("broker.yaml");
    let snapshot = said(&mut house.command(&["policy", "snapshot", "--operator", &operator, "--database", "shop"]))?;
    fs::write(house.path("schema.json"), snapshot.out)?;
    for (name, text) in FILES {
        fs::write(house.path(name), text)?;
    }
    let (claims, schema) = (path("claims.json"), path("schema.json"));
    let plan = |files: &[&str], format: &str, scope: &str| {
        let files: Vec<String> = files.iter().map(|name| path(name)).collect();
        let mut command = house.command(&["plan", "--operator", &operator, "--claims", &claims]);
        command
            .args(["--snapshot", &schema, "--scope", scope, "--format", format])
            .args(files);
        said(&mut command)
    };

    let good = plan(&["1_tables.sql"], "text", "migrate")?;
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(
        good.out
            .contains("1_tables.sql:2: allowed create by .hoop/db-access.yaml:"),
        "{}",
        good.out
    );
    assert!(
        good.out.ends_with("4 statements: 4 allowed, 0 denied\n"),
        "{}",
        good.out
    );

    // A later file builds on an earlier one, and a refusal does not hide the next.
    let files = ["1_tables.sql", "2_mistakes.sql", "3_broken.sql"];
    let all = plan(&files, "json", "migrate")?;
    assert_eq!(all.code, Some(1), "{}", all.err);
    let steps: Vec<Value> = serde_json::from_str(&all.out)?;
    let verdicts: Vec<(u64, &str)> = steps
        .iter()
        .map(|step| {
            (
                step["line"].as_u64().unwrap_or(0),
                step["verdict"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        (2, "allowed"),
        (3, "allowed"),
        (5, "allowed"),
        (6, "allowed"),
        (1, "allowed"),
        (2, "denied"),
        (3, "denied"),
        (1, "denied"),
    ];
    assert_eq!(verdicts, expected, "{}", all.out);
    assert!(!all.out.contains("x; y"), "no literal is printed");

    // The same words as on the wire.
    let mut peer = endpoint(&house, &house.grant("migrate").await?, &[]).await?;
    peer.send(&query("SELECT * FROM audit.log")).await?;
    let answer = peer.until_ready(1).await?;
    let (_, error) = answer.iter().find(|(tag, _)| *tag == 'E').context("not denied")?;
    let text = plan(&files, "text", "migrate")?.out;
    assert!(
        text.contains(&field(error, 'M')) && text.contains(&field(error, 'H')),
        "{text}"
    );

    let sarif: Value = serde_json::from_str(&plan(&files, "sarif", "migrate")?.out)?;
    let results = sarif["runs"][0]["results"].as_array().context("no results")?;
    assert_eq!(results.len(), 3);
    let region = &results[0]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        (&region["startLine"], &region["startColumn"]),
        (&Value::from(2), &Value::from(18))
    );
    let lines = plan(&files, "github", "migrate")?.out;
    assert_eq!(
        lines.lines().filter(|line| line.starts_with("::error file=")).count(),
        3,
        "{lines}"
    );

    // A scope that may only read: every change is denied.
    let reading = plan(&["1_tables.sql"], "text", "read")?;
    assert!(
        reading.code == Some(1) && reading.out.ends_with("4 statements: 0 allowed, 4 denied\n"),
        "{}",
        reading.out
    );
    let nobody = plan(&["1_tables.sql"], "text", "reed")?;
    assert!(
        nobody.code == Some(1) && nobody.err.contains("scope-unknown"),
        "{}",
        nobody.err
    );
    Ok(())
}
