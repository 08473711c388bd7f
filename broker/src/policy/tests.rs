//! The rules of the format, and the files under `policies/`: what users copy is what these tests load.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::compile::{Bounds, Compiled, compile, lint};
use super::diagnostic::{self, Diagnostic, code, failed};
use super::operator::Operator;
use super::set::{NoPolicy, Policies};
use super::{AUTHOR_PATH, Scope, schema};
use crate::sql::Class;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(name)
}

pub(super) fn example(name: &str) -> String {
    std::fs::read_to_string(folder("examples").join(name)).unwrap()
}

pub(super) fn operator() -> Operator {
    Operator::read(&example("broker.yaml"), "broker.yaml").unwrap()
}

/// The example without the key of masks; its lines stay where they are.
pub(super) fn keyless() -> String {
    example("broker.yaml").replace("    mask-key:", "    #")
}

/// The example without the masks that it demands.
pub(super) fn undemanding() -> Operator {
    let text = example("broker.yaml");
    let lines = text.lines().filter(|line| !line.contains("always-mask"));
    Operator::read(&lines.collect::<Vec<_>>().join("\n"), "broker.yaml").unwrap()
}

pub(super) fn under(operator: &Operator, text: &str) -> Compiled {
    let bounds = Bounds {
        ceiling: &operator.repositories[0].ceiling,
        issuers: &operator.issuers,
        databases: &operator.databases,
    };
    compile(text, AUTHOR_PATH, &bounds)
}

/// Compares a generated text with its file; `UPDATE_EXPECTED=1` writes the file.
fn matches_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{} (UPDATE_EXPECTED=1 rewrites it)", path.display());
}

// === the files under policies/ ===

#[test]
fn every_example_compiles_without_an_error() {
    let operator = operator();
    for name in ["migrate.yaml", "etl.yaml", "pull-request.yaml", "test-data.yaml"] {
        let text = example(name);
        let compiled = under(&operator, &text);
        // What `never` takes out of `app.*` is told, and is all there is to tell.
        assert!(
            compiled
                .diagnostics
                .iter()
                .all(|found| found.code == code::GLOB_SUBTRACTED),
            "{name}: {:#?}",
            compiled.diagnostics
        );
        assert!(
            compiled.scopes.values().all(Result::is_ok) && !compiled.unreadable(),
            "{name}"
        );
        assert_eq!(lint(&text, AUTHOR_PATH), [], "{name}");
    }
}

#[test]
fn every_broken_file_is_told_what_is_wrong() {
    let operator = Operator::read(&keyless(), "broker.yaml").unwrap();
    let mut seen = BTreeSet::new();
    let mut files: Vec<_> = std::fs::read_dir(folder("broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let found = if stem.starts_with("operator-") {
            Operator::read(&text, "broker.yaml").unwrap_err()
        } else {
            under(&operator, &text).diagnostics
        };
        assert!(!found.is_empty(), "{stem}");
        seen.extend(found.iter().map(|found| found.code));
        matches_file(&path.with_extension("expected"), &diagnostic::text(&found, &text));
    }
    let all: BTreeSet<_> = code::ALL.iter().copied().collect();
    assert_eq!(seen, all, "every code has a broken file");
}

#[test]
fn a_literal_secret_is_never_shown() {
    let text = std::fs::read_to_string(folder("broken").join("operator-literal-secret.yaml")).unwrap();
    let found = Operator::read(&text, "broker.yaml").unwrap_err();
    let shown = [
        diagnostic::text(&found, &text),
        diagnostic::json(&found),
        diagnostic::annotations(&found, "broker.yaml"),
        format!("{found:?}"),
    ]
    .concat();
    assert!(
        !shown.contains("hunter2") && !shown.contains("correct horse"),
        "{shown}"
    );
}

#[test]
fn the_schema_is_up_to_date() {
    matches_file(&folder("schema").join("db-access.v1.json"), &schema::file());
}

// === the rules of the format ===

/// A file with one scope on `orders-replica`; `who` and `can` are on lines 5 and 6, `more` on line 7.
pub(super) fn one(who: &str, can: &str, more: &str) -> String {
    format!("version: 1\nscopes:\n  s:\n    database: orders-replica\n    who: [{who}]\n    can: [{can}]\n    {more}\n")
}

pub(super) const MAIN: &str = "{ issuer: github, branch: main, events: [push] }";
pub(super) const ORDERS: &str = "{ statements: [select], tables: [app.orders] }";

pub(super) fn codes(diagnostics: &[Diagnostic]) -> Vec<(&'static str, u32)> {
    diagnostics.iter().map(|found| (found.code, found.span.line)).collect()
}

pub(super) fn scope(text: &str) -> std::sync::Arc<Scope> {
    let compiled = under(&operator(), text);
    compiled.scopes.get("s").unwrap().clone().unwrap()
}

#[test]
fn who_rules() {
    let table: &[(&str, &[&str])] = &[
        (MAIN, &[]),
        ("{ issuer: github, tag: v*, events: [push] }", &[]),
        ("{ issuer: github, environment: production, events: [push] }", &[]),
        (
            "{ issuer: github, environment: production, events: [merge_group] }",
            &[],
        ),
        ("{ issuer: github, events: [pull_request] }", &[]),
        ("{ issuer: gitlab, sources: [merge_request_event] }", &[]),
        ("{ issuer: gitlab, branch: main, sources: [push] }", &[]),
        ("{ issuer: github, events: [push] }", &[code::WHO_TOO_WIDE]),
        ("{ issuer: github, branch: '*', events: [push] }", &[code::WHO_TOO_WIDE]),
        (
            "{ issuer: github, branch: '**/*', events: [push] }",
            &[code::WHO_TOO_WIDE],
        ),
        ("{ issuer: github, tag: '**', events: [push] }", &[code::WHO_TOO_WIDE]),
        (
            "{ issuer: github, claims: { actor: me }, events: [push] }",
            &[code::WHO_TOO_WIDE],
        ),
        (
            "{ issuer: github, events: [pull_request, push] }",
            &[code::WHO_TOO_WIDE],
        ),
        (
            "{ issuer: gitlab, sources: [merge_request_event, web] }",
            &[code::WHO_TOO_WIDE],
        ),
        ("{ issuer: github, branch: main }", &[code::EVENTS_REQUIRED]),
        ("{ issuer: github, branch: main, events: [] }", &[code::EVENTS_REQUIRED]),
        (
            "{ issuer: gitlab, branch: main, events: [push] }",
            &[code::EVENTS_REQUIRED, code::UNKNOWN_KEY],
        ),
        (
            "{ issuer: github, branch: main, sources: [push] }",
            &[code::EVENTS_REQUIRED, code::UNKNOWN_KEY],
        ),
        (
            "{ issuer: github, branch: main, events: [push], config: x.yml }",
            &[code::UNKNOWN_KEY],
        ),
        (
            "{ issuer: github, branch: main, events: [Push] }",
            &[code::INVALID_VALUE],
        ),
        (
            "{ issuer: github, branch: main, events: [workflow_run] }",
            &[code::EVENT_NEVER_ACCEPTED],
        ),
        (
            "{ issuer: gitlab, branch: main, sources: [external_pull_request_event] }",
            &[code::EVENT_NEVER_ACCEPTED],
        ),
        (
            "{ issuer: github, branch: refs/heads/main, events: [push] }",
            &[code::INVALID_VALUE],
        ),
        ("{ issuer: github, branch: null, events: [push] }", &[code::WRONG_TYPE]),
        ("{ issuer: github, branch: '', events: [push] }", &[code::EMPTY]),
        (
            "{ issuer: github, branch: main, events: [push], claims: { sub: x } }",
            &[code::INVALID_VALUE],
        ),
        (
            "{ issuer: nobody, branch: main, events: [push] }",
            &[code::UNKNOWN_ISSUER_IN_POLICY],
        ),
        ("", &[code::EMPTY]),
    ];
    let operator = operator();
    for (who, expected) in table {
        let found = under(&operator, &one(who, ORDERS, "")).diagnostics;
        let expected: Vec<_> = expected.iter().map(|code| (*code, 5)).collect();
        let mut got = codes(&found);
        got.sort_unstable();
        assert_eq!(got, expected, "{who}: {found:#?}");
    }
}

#[test]
fn only_ascii_letters_fold_in_environments() {
    let same = super::who::same_environment;
    assert!(same("Kube", "kUBE", true) && same("é", "é", true));
    assert!(!same("kube", "\u{212a}ube", true) && !same("é", "É", true));
    assert!(!same("Kube", "kube", false));
}

#[test]
fn can_rules() {
    let table: &[(&str, &[&str])] = &[
        (ORDERS, &[]),
        ("{ statements: [read], tables: ['app.*'] }", &[code::GLOB_SUBTRACTED]),
        ("{ statements: [read], tables: ['app.order*'] }", &[]),
        (
            "{ statements: [select, explain, cursor, prepare], tables: [app.orders] }",
            &[],
        ),
        ("{ statements: [explain] }", &[]),
        (
            "{ statements: [select], tables: ['*.orders'] }",
            &[code::GLOB_SUBTRACTED, code::GLOB_SUBTRACTED],
        ),
        ("{ statements: [select], tables: ['hr.*'] }", &[code::EXCEEDS_CEILING]),
        (
            "{ statements: [select], tables: ['audit.*'] }",
            &[code::EXCEEDS_CEILING, code::GLOB_SUBTRACTED],
        ),
        (
            "{ statements: [select], tables: [audit.log] }",
            &[code::EXCEEDS_CEILING],
        ),
        (
            "{ statements: [select], tables: [app.card_tokens] }",
            &[code::EXCEEDS_CEILING],
        ),
        (
            "{ statements: [select], tables: [App.orders] }",
            &[code::EXCEEDS_CEILING],
        ),
        (
            "{ statements: [insert], tables: [app.orders] }",
            &[code::EXCEEDS_CEILING],
        ),
        ("{ statements: [listen] }", &[code::EXCEEDS_CEILING]),
        ("{ statements: [do] }", &[code::EXCEEDS_CEILING]),
        ("{ functions: [app.f] }", &[code::EXCEEDS_CEILING]),
        ("{ functions: ['**'] }", &[code::EXCEEDS_CEILING]),
        ("{ statements: [select] }", &[code::MISSING_KEY]),
        ("{ tables: [app.orders] }", &[code::MISSING_KEY]),
        (
            "{ functions: [app.f], columns: [id] }",
            &[code::EXCEEDS_CEILING, code::MISSING_KEY],
        ),
        (
            "{ statements: [select], tables: [app.orders], columns: ['*'] }",
            &[code::INVALID_VALUE],
        ),
        (
            "{ statements: [select], tables: [app.orders], columns: [] }",
            &[code::EMPTY],
        ),
        ("{ statements: [select], tables: [] }", &[code::EMPTY]),
        ("{}", &[code::EMPTY]),
        ("", &[code::EMPTY]),
        ("text", &[code::WRONG_TYPE]),
    ];
    let operator = operator();
    for (can, expected) in table {
        let found = under(&operator, &one(MAIN, can, "")).diagnostics;
        let mut got: Vec<_> = found.iter().map(|found| found.code).collect();
        got.sort_unstable();
        assert_eq!(got, *expected, "{can}: {found:#?}");
        assert!(found.iter().all(|found| found.span.line == 6), "{can}: {found:#?}");
    }
}

#[test]
fn columns_of_the_ceiling_bound_those_of_the_scope() {
    let broker = example("broker.yaml").replace(
        "can: [{ statements: [read], tables: [\"app.*\"] }]",
        "can: [{ statements: [read], tables: [app.orders], columns: [id, total] }]",
    );
    let operator = Operator::read(&broker, "broker.yaml").unwrap();
    let ask = |columns: &str| {
        let can = format!("{{ statements: [select], tables: [app.orders]{columns} }}");
        codes(&under(&operator, &one(MAIN, &can, "")).diagnostics)
    };
    assert_eq!(ask(", columns: [id]"), []);
    assert_eq!(ask(", columns: [id, card]"), [(code::EXCEEDS_CEILING, 6)]);
    assert_eq!(ask(""), [(code::EXCEEDS_CEILING, 6)]);
}

#[test]
fn pull_requests_only_read_and_only_where_the_operator_says() {
    let who = "{ issuer: github, events: [pull_request] }";
    let sink = "{ statements: [select, insert], tables: [app.orders] }, { functions: [app.f] }";
    let text = one(who, sink, "").replace("orders-replica", "orders-prod");
    let operator = operator();
    let beyond = under(&operator, &text).diagnostics;
    assert!(beyond.iter().all(|found| found.code == code::EXCEEDS_CEILING));
    // The trigger is not required there, and pull requests reach another database only; then they write.
    assert_eq!(
        codes(&beyond).iter().map(|found| found.1).collect::<Vec<_>>(),
        [5, 5, 6, 6]
    );
    let open = example("broker.yaml")
        .replace("[push, workflow_dispatch], sources", "[push, pull_request], sources")
        .replace(
            "databases: [orders-replica], read-only: true",
            "databases: [orders-prod], read-only: false",
        );
    let operator = Operator::read(&open, "broker.yaml").unwrap();
    assert_eq!(codes(&under(&operator, &text).diagnostics), []);
    // Without the word, pull requests are read-only.
    let silent = open.replace(", read-only: false", "");
    let operator = Operator::read(&silent, "broker.yaml").unwrap();
    assert_eq!(
        codes(&under(&operator, &text).diagnostics),
        [(code::EXCEEDS_CEILING, 6); 2]
    );
}

#[test]
fn triggers_bounded_in_another_issuers_words_admit_nobody() {
    let broker = example("broker.yaml").replace(", sources: [push, web]", "");
    let operator = Operator::read(&broker, "broker.yaml").unwrap();
    let who = "{ issuer: gitlab, branch: main, sources: [push] }";
    let text = one(who, ORDERS, "").replace("orders-replica", "orders-prod");
    assert_eq!(
        codes(&under(&operator, &text).diagnostics),
        [(code::EXCEEDS_CEILING, 5)]
    );
}

#[test]
fn limits_are_clipped_and_cite_the_line_that_set_them() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let silent = scope(&one(MAIN, ORDERS, ""));
    assert_eq!(silent.limits.ttl.value, minutes(15));
    assert_eq!(silent.limits.max_session.value, minutes(15));
    assert_eq!(silent.limits.max_connections.value, 4);
    assert_eq!(silent.limits.statement_timeout, None);
    assert_eq!(silent.limits.ttl.origin.line, 3);

    let text = one(
        MAIN,
        ORDERS,
        "limits: { ttl: 2h, max-session: 24h, max-connections: 17, lock-timeout: 5s }",
    );
    let compiled = under(&operator(), &text);
    assert_eq!(codes(&compiled.diagnostics), [(code::LIMIT_CLIPPED, 7); 3]);
    assert!(!failed(&compiled.diagnostics));
    let limits = scope(&text).limits.clone();
    assert_eq!(
        (limits.ttl.value, limits.max_session.value),
        (minutes(60), minutes(240))
    );
    assert_eq!(limits.max_connections.value, 16);
    assert_eq!(&*limits.ttl.origin.path, "broker.yaml");
    assert_eq!(limits.lock_timeout.unwrap().value, Duration::from_secs(5));

    // Counts and switches: the smaller one, the stricter one, each with the line that set it.
    let text = one(
        MAIN,
        ORDERS,
        "limits: { max-rows: 200000000, max-bytes: 2MB, max-affected-rows: 10, read-only: true, no-where: deny, idle-timeout: 5m }",
    );
    assert_eq!(
        codes(&under(&operator(), &text).diagnostics),
        [(code::LIMIT_CLIPPED, 7)]
    );
    let limits = scope(&text).limits.clone();
    let rows = limits.max_rows.unwrap();
    assert_eq!((rows.value, &*rows.origin.path), (100_000_000, "broker.yaml"));
    assert_eq!(limits.max_bytes.unwrap().value, 2_000_000);
    assert_eq!(limits.max_affected_rows.unwrap().value, 10);
    assert_eq!(limits.idle_timeout.unwrap().value, minutes(5));
    assert_eq!((limits.read_only.unwrap().line, limits.no_where.unwrap().line), (7, 7));
    let broker = example("broker.yaml").replace("max-rows: 100000000", "read-only: true, no-where: deny");
    let operator = Operator::read(&broker, "broker.yaml").unwrap();
    let compiled = under(&operator, &one(MAIN, ORDERS, "limits: { read-only: false }"));
    assert_eq!(codes(&compiled.diagnostics), [(code::LIMIT_CLIPPED, 7)]);
    let strict = compiled.scopes.get("s").unwrap().clone().unwrap();
    assert_eq!(&*strict.limits.read_only.as_ref().unwrap().path, "broker.yaml");
    assert!(strict.limits.no_where.is_some() && strict.limits.max_rows.is_none());

    // The ceiling's statement timeout holds for a scope that names none.
    let prod = one("{ issuer: github, branch: main, events: [push] }", ORDERS, "").replace("-replica", "-prod");
    assert_eq!(
        scope(&prod).limits.statement_timeout.as_ref().unwrap().value,
        minutes(15)
    );
    // Nothing outlives the session's end.
    let broker = example("broker.yaml").replace("ttl: 1h, max-session: 4h", "max-session: 5m");
    let operator = Operator::read(&broker, "broker.yaml").unwrap();
    let compiled = under(&operator, &one(MAIN, ORDERS, "limits: { ttl: 10m }"));
    let short = compiled.scopes.get("s").unwrap().clone().unwrap();
    assert_eq!(
        (short.limits.ttl.value, short.limits.max_session.value),
        (minutes(5), minutes(5))
    );
    assert_eq!(&*short.limits.ttl.origin.path, "broker.yaml");
}

#[test]
fn groups_are_expanded_and_every_rule_knows_its_place() {
    let scope = scope(&one(MAIN, "{ statements: [read], tables: [app.orders] }", ""));
    let rule = &scope.can[0];
    assert_eq!(rule.classes, BTreeSet::from([Class::Select, Class::CopyOut]));
    assert_eq!((rule.origin.line, rule.origin.column), (6, 11));
    assert_eq!((rule.tables[0].origin.line, rule.tables[0].origin.column), (6, 42));
    assert_eq!(scope.who[0].keys.get("branch").unwrap().column, 29);
    assert_eq!(scope.never.len(), 2);
    assert_eq!(&*scope.ceiling[0].origin.path, "broker.yaml");
}

#[test]
fn an_error_in_a_scope_leaves_the_others_alone() {
    let good = one(MAIN, ORDERS, "");
    let text =
        format!("{good}  bad:\n    database: orders-replica\n    who: [{MAIN}]\n    can: [{ORDERS}]\n    hold: []\n");
    let compiled = under(&operator(), &text);
    assert!(compiled.scopes.get("s").unwrap().is_ok());
    let found = compiled.scopes.get("bad").unwrap().as_ref().unwrap_err();
    assert_eq!(codes(found), [(code::NOT_YET_ENFORCED, 12)]);
    // Outside of every scope it is the whole file.
    for broken in [
        text.replace("version: 1", "version: 2"),
        text.replace("version: 1", "version: 1\nlimits: {}"),
    ] {
        let compiled = under(&operator(), &broken);
        assert!(compiled.unreadable() && failed(&compiled.diagnostics));
    }
}

#[test]
fn a_lint_needs_no_operator() {
    assert_eq!(lint(&one(MAIN, ORDERS, ""), "f"), []);
    let wide = one(
        "{ issuer: anything, events: [push] }",
        "{ statements: [select], tables: [hr.x] }",
        "hold: []",
    );
    assert_eq!(
        codes(&lint(&wide, "f")),
        [(code::WHO_TOO_WIDE, 5), (code::NOT_YET_ENFORCED, 7)]
    );
}

#[test]
fn the_digest_changes_with_everything_that_decides() {
    let base = one(MAIN, ORDERS, "limits: { ttl: 10m }");
    let digest = |text: &str| scope(text).digest.to_string();
    assert_eq!(digest(&base), digest(&base));
    assert_eq!(digest(&base).len(), 64);
    // Words that decide nothing: a comment behind the rules, a description in the place of an empty line.
    assert_eq!(digest(&base), digest(&format!("{base}# end\n")));
    for other in [
        base.replace("main", "trunk"),
        base.replace("push", "schedule"),
        base.replace("select", "copy-out"),
        base.replace("app.orders", "app.lines"),
        base.replace("10m", "11m"),
        base.replace("[app.orders] }", "[app.orders], columns: [id] }"),
        base.replace("orders-replica", "orders-prod"),
        base.replace("  s:", "\n  s:"),
    ] {
        assert_ne!(digest(&base), digest(&other), "{other}");
    }
    for (from, to) in [
        ("app.card_tokens", "app.card_token"),
        (
            "can: [{ statements: [read], tables: [\"app.*\"] }]",
            "can: [{ statements: [read], tables: [\"a*.*\"] }]",
        ),
        (
            "        max: { ttl: 1h",
            "        require: { events: [push] }\n        max: { ttl: 1h",
        ),
    ] {
        let broker = example("broker.yaml").replace(from, to);
        let operator = Operator::read(&broker, "broker.yaml").unwrap();
        let scope = under(&operator, &base).scopes.get("s").unwrap().clone().unwrap();
        assert_ne!(digest(&base), *scope.digest, "{to}");
    }
}

// === the set ===

#[test]
fn a_repository_without_a_good_file_is_kept() {
    let operator = operator();
    let missing = Policies::load(&operator, |_| Err(io::Error::from(io::ErrorKind::NotFound)));
    let repository = missing.repository("github", "260064828").unwrap();
    assert!(matches!(&repository.policy, Err(NoPolicy::Missing { file }) if file == "acme/orders/db-access.yaml"));
    assert!(!repository.sound() && missing.repository("github", "4711").is_none());
    let broken = Policies::load(&operator, |_| Ok("version: [".to_owned()));
    let repository = broken.repository("gitlab", "4711").unwrap();
    assert!(!repository.sound() && repository.policy.as_ref().unwrap().unreadable());
    assert_eq!(codes(repository.diagnostics()), [(code::YAML_SYNTAX, 1)]);
    let good = Policies::load(&operator, |_| Ok(example("etl.yaml")));
    assert!(good.repositories().all(super::set::Repository::sound));
}

#[test]
fn thousands_of_repositories_load() {
    let count = if cfg!(debug_assertions) { 500 } else { 5_000 };
    let mut broker = example("broker.yaml");
    let entry = |id| format!("  - {{ id: \"github:{id}\", name: acme/r{id}, ceiling: orders-team }}\n");
    let entries = (1..=count).map(entry).collect::<Vec<_>>().concat();
    broker = broker.replace("repositories:\n", &format!("repositories:\n{entries}"));
    let text = example("migrate.yaml");
    let operator = Operator::read(&broker, "broker.yaml").unwrap();
    let policies = Policies::load(&operator, |_| Ok(text.clone()));
    assert_eq!(policies.repositories().count(), count + 2);
    assert!(policies.repository("github", &count.to_string()).unwrap().sound());
}
