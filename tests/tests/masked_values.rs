//! What is said about masks: to the author of a policy before a job runs, to the job, and in the record.

use std::fs;

use anyhow::Result;
use serde_json::Value;
use tests::command::{job, said};
use tests::{House, Plan};

fn plan() -> Plan {
    let mut plan = Plan::default();
    plan.schema += include_str!("../fixtures/masks.sql");
    plan.policy = include_str!("../fixtures/masks.yaml").to_owned();
    plan.extra = include_str!("../fixtures/ceilings.yaml")
        .replace("\"app.*\", \"public.*\"", "\"app.*\", \"public.*\", \"crm.*\"")
        .replace("[\"pg_catalog.*\"]", "[\"pg_catalog.*\", \"app.*\"]");
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_plan_say_how_each_masked_column_is_replaced() -> Result<()> {
    let house = House::plan(plan()).await?;
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
