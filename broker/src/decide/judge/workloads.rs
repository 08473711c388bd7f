//! The logged workloads of real tools: with the matching preset and rules for what they work on, every statement passes.

use std::collections::{BTreeMap, BTreeSet};

use super::tests::{patterns, rule, scope};
use super::*;
use crate::policy::presets;
use crate::sql::sample::{self, corpus};
use crate::sql::{Snapshot, read};

/// What the workloads do with the tables, types and functions that they make themselves.
fn own(schemas: &[&str]) -> Rule {
    let classes: Vec<Class> = Class::ALL
        .iter()
        .copied()
        .filter(|class| *class != Class::TwoPhase)
        .collect();
    let globs: Vec<String> = schemas.iter().map(|schema| format!("{schema}.*")).collect();
    let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
    Rule {
        objects: Kind::NAMED.iter().copied().collect::<BTreeSet<_>>(),
        functions: patterns(&[&globs[..], &["pg_catalog.lo_*", "pg_catalog.lowrite"]].concat(), 20),
        settings: BTreeMap::new(),
        ..rule(20, &classes, &globs, None)
    }
}

/// Every statement of a workload that does not pass, with the reason.
fn refused(file: &str, preset: &str, schemas: &[&str], snapshot: &mut Snapshot) -> Vec<String> {
    let preset = presets::find(preset).unwrap();
    let line = scope(Vec::new()).origin;
    let mut scope = scope(preset.rules(&line, None));
    scope.can.push(own(schemas));
    scope.ceiling.extend(preset.rules(&line, None));
    scope.ceiling.push(own(schemas));
    scope.limits.statement_timeout = None;
    scope.limits.lock_timeout = None;
    let mut refused = Vec::new();
    for text in corpus(&format!("workload/{file}.sql")).split("\n-- ---\n") {
        let first = text.trim().replace('\n', " ");
        let first: String = first.chars().take(100).collect();
        match read(text, snapshot) {
            Err(unreadable) => refused.push(format!("{first}\n    {unreadable}")),
            Ok(statements) => {
                for statement in &statements {
                    if let Decision::Deny(denial) = judge(statement, &scope, &Ground::here(text, snapshot)) {
                        refused.push(format!("{first}\n    {}: {}", denial.code, denial.detail));
                    }
                }
            }
        }
    }
    refused
}

/// The kinds of statements of a dump that no rule lets through: who owns things and who may do what is the operator's,
/// and a preset never reads secrets. `pg_dump --no-owner` leaves the first two out, and a login that is no superuser the last.
const NOT_FOR_JOBS: &[&str] = &[
    "ALTER LARGE OBJECT 4242 OWNER TO postgres;",
    "GRANT ",
    "SELECT s.tableoid, s.oid, s.subname,  s.subowner,  s.subconninfo,",
];

#[test]
fn every_workload_passes_with_its_preset() {
    for (file, preset) in [
        ("alembic", "migrations/alembic"),
        ("django", "migrations/django"),
        ("asyncpg", "introspection/clients"),
        ("knex", "migrations/knex"),
        ("pgdump", "introspection/pg-dump"),
    ] {
        let mut snapshot = sample::workload(file);
        sample::add_table(&mut snapshot, "masked", "customers", &["id", "name", "email", "ssn"]);
        // Made by the workload itself, a few statements before.
        snapshot.functions.insert("tg".to_owned(), vec!["public".to_owned()]);
        let refused = refused(file, preset, &["public", "masked", "app_priv"], &mut snapshot);
        let strange: Vec<&String> = refused
            .iter()
            .filter(|text| !NOT_FOR_JOBS.iter().any(|known| text.starts_with(known)))
            .collect();
        assert!(strange.is_empty(), "{file}: {} refused: {strange:#?}", strange.len());
    }
}

/// What the presets are for: without them little of the same work passes.
#[test]
fn without_its_preset_a_workload_fails() {
    let mut snapshot = sample::workload("django");
    let unfit = refused("django", "etl/dbt", &["app"], &mut snapshot);
    assert!(unfit.len() > 100, "{}", unfit.len());
}
