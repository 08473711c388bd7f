//! What the broker publishes about PostgreSQL's own catalogs, against a live server: every function is classified, every
//! preset names relations, columns and functions that are there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use hoop::demo::cluster::Cluster;
use hoop::policy::presets;
use hoop::sql::functions::{self, Reach};
use serde_json::Value;
use tests::house::root;

fn rows(cluster: &Cluster, sql: &str) -> Result<Vec<Vec<String>>> {
    let text = cluster.psql("postgres", sql)?;
    let rows = text.lines().filter(|line| !line.is_empty());
    Ok(rows.map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

#[test]
fn every_function_of_a_live_server_is_classified_and_the_document_is_current() -> Result<()> {
    let cluster = Cluster::start(None, &[])?;
    let live: BTreeMap<String, bool> = rows(
        &cluster,
        "SELECT proname, bool_or(prosecdef OR 'internal' = ANY (ARRAY(SELECT t::regtype::text FROM unnest(proargtypes) t))) \
         FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY 1",
    )?
    .into_iter()
    .map(|row| (row[0].clone(), row[1] == "t"))
    .collect();
    assert!(live.len() > 2600, "{}", live.len());
    let version: u32 = rows(&cluster, "SELECT current_setting('server_version_num')::int / 10000")?[0][0].parse()?;
    let known: BTreeSet<&str> = functions::entries().map(|entry| entry.name).collect();
    let missing: Vec<&String> = live.keys().filter(|name| !known.contains(name.as_str())).collect();
    // A newer server's functions are not safe until somebody has looked at them; the list is for 15 to 18.
    assert!((15..=18).contains(&version), "{version}");
    assert!(missing.is_empty(), "not in functions.txt: {missing:?}");
    for entry in functions::entries() {
        let there = live.contains_key(entry.name);
        assert_eq!(entry.is_in(version), there, "{} in {version}", entry.name);
        let internal = live.get(entry.name).is_some_and(|internal| *internal);
        assert!(
            !(internal && entry.reach == Reach::Safe),
            "{} takes internal values",
            entry.name
        );
    }
    let path = root().join("broker/docs/FUNCTIONS.md");
    let now = functions::document();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &now)?;
    }
    assert_eq!(
        now,
        std::fs::read_to_string(&path).unwrap_or_default(),
        "UPDATE_EXPECTED=1 rewrites it"
    );
    Ok(())
}

/// A misspelt name in a preset grants nothing and helps nobody.
#[test]
fn presets_name_what_a_live_server_has() -> Result<()> {
    let cluster = Cluster::start(None, &[])?;
    let system = "('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
    let columns: BTreeSet<String> = rows(
        &cluster,
        &format!(
            "SELECT c.relnamespace::regnamespace || '.' || c.relname, a.attname FROM pg_class c \
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace IN {system}"
        ),
    )?
    .into_iter()
    .flat_map(|row| [row[0].clone(), format!("{}.{}", row[0], row[1])])
    .collect();
    let functions: BTreeSet<String> = rows(
        &cluster,
        &format!(
            "SELECT DISTINCT pronamespace::regnamespace || '.' || proname FROM pg_proc WHERE pronamespace IN {system}"
        ),
    )?
    .into_iter()
    .map(|row| row[0].clone())
    .collect();
    let version: u32 = rows(&cluster, "SELECT current_setting('server_version_num')::int / 10000")?[0][0].parse()?;
    // What only servers from a version on have, or up to one.
    let since = |name: &str| match name.rsplit('.').next().unwrap_or_default() {
        "daticurules" | "suborigin" | "subpasswordrequired" | "subrunasowner" => 16,
        "datlocale" | "dathasloginevt" | "subfailover" => 17,
        "relallfrozen" | "pg_get_sequence_data" => 18,
        _ => 15,
    };
    let until = |name: &str| match name.rsplit('.').next().unwrap_or_default() {
        "daticulocale" => 16,
        "attcacheoff" => 17,
        _ => 18,
    };
    let right = |names: &BTreeSet<String>, name: &str| {
        let expected = (since(name)..=until(name)).contains(&version);
        names.contains(name) == expected
    };
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    for preset in presets::all() {
        let view = serde_json::to_value(preset.view())?;
        for rule in view["rules"].as_array().into_iter().flatten() {
            let lasting = |table: &&String| !table.starts_with("*.") && !table.starts_with("pg_temp.");
            for table in texts(&rule["tables"]).iter().filter(lasting) {
                assert!(right(&columns, table), "{preset}: {table}");
                for column in texts(&rule["columns"]) {
                    let column = format!("{table}.{column}");
                    assert!(right(&columns, &column), "{preset}: {column}");
                }
            }
            for function in texts(&rule["functions"]) {
                assert!(right(&functions, &function), "{preset}: {function}");
            }
        }
    }
    Ok(())
}
