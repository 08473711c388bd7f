//! The corpus' attacks under the corpus' policy, and the edges of the rules.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::pattern::Pattern;
use crate::policy::{Limit, Limits, RelationPattern};
use crate::sql::sample::{self, corpus};
use crate::sql::{Snapshot, read};

fn origin(line: u32) -> Origin {
    Origin {
        path: Arc::from(".hoop/db-access.yaml"),
        line,
        column: 5,
    }
}

fn patterns(texts: &[&str], line: u32) -> Vec<RelationPattern> {
    texts
        .iter()
        .map(|text| RelationPattern {
            origin: origin(line),
            pattern: Pattern::new(text, '.').unwrap(),
        })
        .collect()
}

/// A rule at a line of its own.
fn rule(line: u32, classes: &[Class], tables: &[&str], columns: Option<&[&str]>) -> Rule {
    Rule {
        origin: origin(line),
        classes: classes.iter().copied().collect(),
        tables: patterns(tables, line),
        columns: columns.map(|columns| columns.iter().map(|&column| column.to_owned()).collect()),
        functions: Vec::new(),
    }
}

fn functions(line: u32, names: &[&str]) -> Rule {
    Rule {
        functions: patterns(names, line),
        ..rule(line, &[], &[], None)
    }
}

fn scope(can: Vec<Rule>) -> Scope {
    let everything: BTreeSet<Class> = Class::ALL.iter().copied().collect();
    let ceiling = Rule {
        classes: everything,
        functions: patterns(&["**"], 90),
        ..rule(90, &[], &["**"], None)
    };
    let limit = |seconds| Limit {
        value: Duration::from_secs(seconds),
        origin: origin(80),
    };
    Scope {
        name: "migrate".to_owned(),
        origin: origin(3),
        database: "shop".to_owned(),
        who: Vec::new(),
        can,
        ceiling: vec![ceiling],
        never: Vec::new(),
        limits: Limits {
            ttl: limit(900),
            max_session: limit(900),
            max_connections: Limit {
                value: 4,
                origin: origin(80),
            },
            statement_timeout: Some(limit(60)),
            lock_timeout: None,
        },
        digest: Arc::from("0"),
        policy_sha: Arc::from("0"),
    }
}

/// The policy that the corpus assumes, without its masks.
fn corpus_scope() -> Scope {
    use Class::{Delete, Insert, Select, Truncate, Update};
    scope(vec![
        rule(10, &[Select, Insert, Update, Delete], &["public.orders"], None),
        rule(
            11,
            &[Select],
            &["public.customers"],
            Some(&["id", "name", "email", "ssn"]),
        ),
        rule(
            12,
            &[Select, Insert, Update, Delete, Truncate],
            &["public.scratch"],
            None,
        ),
        rule(13, &[Insert, Class::CopyIn], &["public.audit_log"], None),
        rule(14, &[Select], &["public.v_rowfilter"], None),
    ])
}

/// The first refusal of a text, as `code: asked`.
fn refusal(sql: &str, scope: &Scope, snapshot: &Snapshot) -> Option<Denial> {
    let statements = match read(sql, snapshot) {
        Ok(statements) => statements,
        Err(unreadable) => return Some(denied_unreadable(&unreadable, scope)),
    };
    statements.iter().find_map(|statement| match judge(statement, scope) {
        Decision::Allow(_) => None,
        Decision::Deny(denial) => Some(denial),
    })
}

#[test]
fn probe() {
    let (scope, snapshot) = (corpus_scope(), sample::fixture());
    for line in corpus("attacks.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(sql) = case["sql"].as_str() else { continue };
        let refusal = refusal(sql, &scope, &snapshot);
        match (case["expect"].as_str().unwrap(), &refusal) {
            ("deny", None) => println!(
                "NOT DENIED {} {}",
                case["id"],
                sql.chars().take(200).collect::<String>()
            ),
            ("allow", Some(d)) => println!("NOT ALLOWED {} {} {d:?}", case["id"], sql),
            ("allow-intact", Some(d)) => println!(
                "intact {} {} | {} {}",
                case["id"],
                sql.chars().take(80).collect::<String>(),
                d.code,
                d.detail
            ),
            (e, Some(d)) if std::env::var("ALL").is_ok() => println!(
                "{e} {} {} | {} | {} | {} | {}",
                case["id"],
                sql.chars().take(80).collect::<String>(),
                d.code,
                d.message(),
                d.detail,
                d.hint
            ),
            _ => {}
        }
    }
}
