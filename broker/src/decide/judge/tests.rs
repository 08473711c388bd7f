//! The corpus' attacks under the corpus' policy, and the edges of the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::pattern::Pattern;
use crate::policy::{Limit, Limits, RelationPattern};
use crate::sql::quote::literal;
use crate::sql::sample::{self, corpus};
use crate::sql::{Snapshot, read};

fn origin(line: u32) -> Origin {
    Origin {
        path: Arc::from(".hoop/db-access.yaml"),
        line,
        column: 5,
        preset: None,
    }
}

pub(super) fn patterns(texts: &[&str], line: u32) -> Vec<RelationPattern> {
    texts
        .iter()
        .map(|text| RelationPattern {
            origin: origin(line),
            pattern: Pattern::new(text, '.').unwrap(),
        })
        .collect()
}

/// A rule at a line of its own.
pub(super) fn rule(line: u32, classes: &[Class], tables: &[&str], columns: Option<&[&str]>) -> Rule {
    Rule {
        origin: origin(line),
        classes: classes.iter().copied().collect(),
        tables: patterns(tables, line),
        columns: columns.map(|columns| columns.iter().map(|&column| column.to_owned()).collect()),
        functions: Vec::new(),
        owner: None,
        objects: BTreeSet::new(),
        settings: BTreeMap::new(),
    }
}

fn functions(line: u32, names: &[&str]) -> Rule {
    Rule {
        functions: patterns(names, line),
        ..rule(line, &[], &[], None)
    }
}

pub(super) fn scope(can: Vec<Rule>) -> Scope {
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
        enforcement: crate::policy::Enforcement::Shared,
        who: Vec::new(),
        can,
        ceiling: vec![ceiling],
        never: Vec::new(),
        masks: Vec::new(),
        detect: std::collections::BTreeMap::new(),
        limits: Limits {
            ttl: limit(900),
            max_session: limit(900),
            max_connections: Limit {
                value: 4,
                origin: origin(80),
            },
            statement_timeout: Some(limit(60)),
            lock_timeout: None,
            idle_timeout: None,
            max_rows: None,
            max_bytes: None,
            max_affected_rows: None,
            read_only: None,
            no_where: None,
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
    statements.iter().find_map(
        |statement| match judge(statement, scope, &Ground::here(sql, snapshot)) {
            Decision::Allow(_) => None,
            Decision::Deny(denial) => Some(denial),
        },
    )
}

#[test]
fn the_corpus_is_judged_as_it_expects() {
    // The columns that would be masked are left out, as in the corpus' own policy.
    let (mut scope, snapshot) = (corpus_scope(), sample::fixture());
    for rule in &mut scope.can {
        if let Some(columns) = &mut rule.columns {
            columns.retain(|column| column == "id" || column == "name");
        }
    }
    let (mut denied, mut allowed) = (0, 0);
    for line in corpus("attacks.jsonl").lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(sql) = case["sql"].as_str().filter(|sql| !sql.is_empty()) else {
            continue;
        };
        let id = case["id"].as_str().unwrap();
        let refusal = refusal(sql, &scope, &snapshot);
        match case["expect"].as_str().unwrap() {
            // Nothing that anybody else sees: the session is itself again before anything else is sent.
            "deny" if sql == "DISCARD ALL" => assert_eq!(refusal, None),
            "deny" | "mask" => {
                assert!(refusal.is_some(), "{id}: {sql}");
                denied += 1;
            }
            "allow" => {
                assert_eq!(refusal, None, "{id}: {sql}");
                allowed += 1;
            }
            _ => {}
        }
    }
    assert!(denied > 180 && allowed > 15, "{denied} {allowed}");
}

/// `code | message | detail | hint` of the first refusal.
#[track_caller]
fn refused(sql: &str, scope: &Scope) -> Denial {
    refusal(sql, scope, &sample::fixture()).unwrap_or_else(|| panic!("allowed: {sql}"))
}

#[track_caller]
fn passes(sql: &str, scope: &Scope) {
    assert_eq!(refusal(sql, scope, &sample::fixture()), None, "{sql}");
}

#[test]
fn a_refusal_names_the_nearest_line_and_the_cure() {
    let scope = corpus_scope();
    let denial = refused("TRUNCATE orders", &scope);
    assert_eq!(
        denial.message(),
        "denied by .hoop/db-access.yaml:10 (scope migrate): TRUNCATE public.orders"
    );
    assert_eq!(denial.code, "class-not-allowed");
    assert_eq!(
        denial.detail,
        "the scope may only select, insert, update, delete public.orders"
    );
    assert_eq!(
        denial.hint,
        "add to can: - { statements: [truncate], tables: [public.orders] }"
    );

    let denial = refused("SELECT token FROM secrets WHERE token = 'tok-SECRET'", &scope);
    assert_eq!(
        (denial.code, denial.asked.as_str()),
        ("table-not-allowed", "SELECT public.secrets")
    );
    assert_eq!(
        denial.hint,
        "add to can: - { statements: [select], tables: [public.secrets], columns: [token] }"
    );
    assert!(!format!("{denial:?}").contains("SECRET"));

    let denial = refused("SELECT get_ssn(1)", &scope);
    assert_eq!((denial.code, denial.origin.line), ("function-not-allowed", 3));
    assert_eq!(denial.hint, "add to can: - { functions: [\"public.get_ssn\"] }");

    let denial = refused("SELECT a FROM nothing WHERE b = 1", &scope);
    assert_eq!((denial.code, denial.sqlstate()), ("unresolved", "42P01"));
    assert_eq!(denial.detail, "relation \"nothing\" does not exist in the live schema");
    // Sqitch asks that way for its registry: a whole row of nothing is nothing else that was not understood.
    let sql = "SELECT c.id, array_agg(t.tag) FROM nothing c LEFT JOIN neither t ON c.id = t.id GROUP BY c.id, c";
    assert_eq!(refused(sql, &scope).sqlstate(), "42P01");
    assert_eq!(refused("SELECT no_such(1)", &scope).sqlstate(), "42501");
    assert_eq!(refused("DO 'x'", &scope).code, "class-not-allowed");
    assert_eq!(refused("SELEC 1", &scope).code, "syntax-error");
    assert_eq!(refused("LISTEN x", &scope).code, "class-not-allowed");
    assert_eq!(
        denied("unknown-cursor", "FETCH c", "d", "h", &scope).origin,
        scope.origin
    );
}

#[test]
fn columns_are_judged_one_by_one() {
    let scope = scope(vec![
        rule(10, &[Class::Select], &["public.customers"], Some(&["id", "name"])),
        rule(11, &[Class::Select], &["public.customers"], Some(&["email"])),
        rule(
            12,
            &[Class::Select, Class::Update],
            &["public.orders"],
            Some(&["id", "note"]),
        ),
    ]);
    passes("SELECT id, email FROM customers", &scope);
    passes("SELECT count(*) FROM customers", &scope);
    passes("UPDATE orders SET note = 'x' WHERE id = 1", &scope);
    let denial = refused("SELECT id, ssn FROM customers", &scope);
    assert_eq!(
        (denial.code, denial.asked.as_str()),
        ("column-not-allowed", "SELECT public.customers (ssn)")
    );
    assert_eq!(denial.origin.line, 10);
    assert_eq!(
        refused("SELECT c FROM customers c", &scope).asked,
        "SELECT public.customers (whole row)"
    );
    assert_eq!(
        refused("SELECT * FROM customers", &scope).asked,
        "SELECT public.customers (ssn)"
    );
    assert_eq!(
        refused("SELECT ctid FROM orders", &scope).asked,
        "SELECT public.orders (ctid)"
    );
    assert_eq!(
        refused("UPDATE orders SET amount = 1", &scope).asked,
        "UPDATE public.orders (amount)"
    );
}

#[test]
fn the_ceiling_and_never_take_away() {
    let mut scope = scope(vec![
        rule(10, Class::ALL, &["public.*"], None),
        functions(11, &["public.*"]),
    ]);
    passes("SELECT token FROM secrets", &scope);
    passes("SELECT get_ssn(1)", &scope);
    scope.ceiling = vec![rule(90, &[Class::Select], &["public.orders", "public.secrets"], None)];
    scope.never = patterns(&["public.secrets"], 95);
    passes("SELECT id FROM orders", &scope);
    let denial = refused("DELETE FROM orders", &scope);
    assert_eq!((denial.code, denial.origin.line), ("exceeds-ceiling", 90));
    assert_eq!(
        denial.hint,
        "ask the operator: the ceiling does not allow DELETE public.orders"
    );
    let denial = refused("SELECT id FROM secrets", &scope);
    assert_eq!((denial.code, denial.origin.line), ("never", 95));
    assert_eq!(refused("SELECT get_ssn(1)", &scope).code, "exceeds-ceiling");
    assert_eq!(refused("LISTEN x", &scope).code, "exceeds-ceiling");
}

#[test]
fn what_touches_nothing_needs_a_rule_where_it_does_something() {
    let empty = scope(Vec::new());
    for sql in [
        "BEGIN",
        "ROLLBACK TO a",
        "SHOW timezone",
        "SET timezone = 'UTC'",
        "SET CONSTRAINTS ALL DEFERRED",
    ] {
        passes(sql, &empty);
    }
    assert_eq!(refused("SELECT 1", &empty).code, "class-not-allowed");
    let some = scope(vec![rule(10, &[Class::Select], &["public.orders"], None)]);
    for sql in [
        "SELECT 1",
        "EXECUTE p",
        "FETCH 1 FROM c",
        "CLOSE c",
        "DEALLOCATE ALL",
        "EXPLAIN SELECT 1",
    ] {
        passes(sql, &some);
    }
    passes("UNLISTEN *; CLOSE ALL; RESET ALL", &some);
    for sql in ["LISTEN x", "NOTIFY x"] {
        assert_eq!(refused(sql, &some).code, "class-not-allowed", "{sql}");
    }
    let named = scope(vec![rule(10, &[Class::Listen, Class::Notify], &[], None)]);
    passes("LISTEN x", &named);
    passes("NOTIFY x", &named);
}

#[test]
fn a_search_path_names_the_scopes_schemas_beside_the_one_that_sessions_begin_with() {
    let scope = scope(vec![rule(10, &[Class::Select], &["app.*"], None)]);
    let mut snapshot = sample::fixture();
    snapshot.home = ["$user", "public", "ext"].map(str::to_owned).to_vec();
    let allowed = |path: &str| {
        let sql = format!("SELECT set_config('search_path', {}, false)", literal(path));
        let statements = crate::sql::read(&sql, &snapshot).unwrap();
        let decision = judge(&statements[0], &scope, &Ground::here(&sql, &snapshot));
        let bound = bound(Ask::Path(1), Some(path.as_bytes()), &scope, &snapshot);
        assert_eq!(matches!(decision, Decision::Allow(_)), bound.is_ok(), "{path}");
        bound.is_ok()
    };
    for path in [
        "\"$user\", public, ext",
        "app, \"$user\", public, ext",
        "app,\"$user\", public, ext",
        "public, ext, app",
        "public, ext",
        "app",
        "",
        "\"$user\"",
        "PUBLIC, EXT",
    ] {
        assert!(allowed(path), "{path}");
    }
    for path in [
        // Another order, a part of it, something between, more than once: names would mean something else.
        "ext, public",
        "ext",
        "public",
        "public, app, ext",
        "app, ext",
        "ext, public, ext",
        "public, ext, public",
        "\"PUBLIC\", ext",
        "hr, public, ext",
        "public, ext, hr",
        "pg_temp, public, ext",
        "public, ext,",
    ] {
        assert!(!allowed(path), "{path}");
    }
    snapshot.home.clear();
    let none = bound(Ask::Path(1), Some(b"public"), &scope, &snapshot);
    assert!(none.is_err());
}

#[test]
fn settings_stay_within_their_bounds() {
    let scope = corpus_scope();
    for sql in [
        "SET statement_timeout = '5s'",
        "RESET statement_timeout",
        "SET lock_timeout = 0",
        "SET LOCAL work_mem = '64MB'",
        "SET enable_seqscan = off; SET plan_cache_mode = auto",
        "SET client_encoding = 'UTF8'",
        "SET standard_conforming_strings = on",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "SELECT set_config('timezone', 'UTC', false), current_setting('server_version')",
        "SHOW transaction_isolation",
        "SET application_name = 'x'",
        // Whom the session is already.
        "SET ROLE 'job'",
        "SET ROLE job",
        "SELECT setting FROM pg_settings WHERE name = 'max_index_keys'",
        "SELECT s.setting FROM (SELECT name, setting FROM pg_catalog.pg_settings WHERE name = 'search_path') AS s",
    ] {
        passes(sql, &scope);
    }
    for sql in [
        "SET statement_timeout = '2min'",
        "SET statement_timeout = 0",
        "SET idle_in_transaction_session_timeout = 0",
        "SET search_path = hr",
        "SET search_path = public, hr",
        "SELECT set_config('search_path', 'hr', false)",
        "SET standard_conforming_strings = off",
        "SET ROLE postgres",
        "RESET ROLE",
        "SET ROLE NONE",
        "SET ROLE 'JOB'",
        "SELECT set_config('role', 'job', false)",
        "SET SESSION AUTHORIZATION job",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET row_security = off",
        "SHOW ALL",
        "SHOW data_directory",
        "SELECT current_setting('app.secret')",
        "SELECT set_config('role', 'postgres', false)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    ] {
        assert_eq!(refused(sql, &scope).code, "setting-not-allowed", "{sql}");
    }
    assert_eq!(refused("SET statement_timeout = 0", &scope).origin.line, 80);
}

#[test]
fn a_permit_says_what_was_judged_and_by_which_lines() {
    let (text, fixture) = (
        "DELETE FROM orders WHERE id IN (SELECT id FROM scratch)",
        sample::fixture(),
    );
    let statement = &read(text, &fixture).unwrap()[0];
    let Decision::Allow(permit) = judge(statement, &corpus_scope(), &Ground::here(text, &fixture)) else {
        panic!("denied")
    };
    assert_eq!(permit.class(), Class::Delete);
    assert_eq!(permit.effect(), crate::sql::Effect::Change);
    assert_eq!(
        permit.rules().iter().map(|origin| origin.line).collect::<Vec<_>>(),
        [10, 12]
    );
}

#[test]
fn a_name_with_a_dot_is_never_covered() {
    let mut snapshot = sample::fixture();
    sample::add_table(&mut snapshot, "public", "a.b", &["id"]);
    let scope = scope(vec![rule(10, &[Class::Select], &["**"], None)]);
    let denial = refusal("SELECT id FROM \"a.b\"", &scope, &snapshot).unwrap();
    assert_eq!(
        (denial.code, denial.hint.as_str()),
        ("table-not-allowed", "no rule covers a name that holds a dot")
    );
}

#[test]
fn what_stands_behind_a_view_is_judged_unless_the_view_is_named() {
    use Class::{Insert, Select};
    let named = corpus_scope();
    passes("SELECT * FROM v_rowfilter WHERE id = 5", &named);
    let denial = refused("SELECT * FROM v_rowfilter WHERE token::int = 1", &named);
    assert_eq!(denial.code, "table-not-allowed");
    assert!(
        denial
            .detail
            .contains("public.v_rowfilter keeps rows of public.secrets to itself"),
        "{denial:?}"
    );
    let globbed = scope(vec![
        rule(10, &[Select], &["public.v_*"], None),
        rule(11, &[Select], &["public.customers"], Some(&["id", "name"])),
        rule(12, &[Insert], &["public.orders"], None),
    ]);
    passes("SELECT name FROM v_plain", &globbed);
    let denial = refused("SELECT * FROM v_rowfilter", &globbed);
    assert_eq!(
        denial.hint,
        "name the view itself, without a glob: - { statements: [select], tables: [public.v_rowfilter] }"
    );
    refused("SELECT id FROM v_customers", &globbed);
    // A trigger with its owner's rights counts where it can fire.
    passes("INSERT INTO orders (customer_id, note) VALUES (1, 'x')", &globbed);
    let denial = refused("INSERT INTO orders (customer_id, note) VALUES (1, $1)", &globbed);
    assert_eq!(denial.asked, "function public.trg_copy");
}

#[test]
fn what_shares_rows_with_a_never_is_never_reached() {
    use Class::Select;
    let mut scope = scope(vec![rule(
        10,
        &[Select],
        &["public.customers", "public.customers_vip", "public.v_plain"],
        None,
    )]);
    passes("SELECT id FROM customers_vip", &scope);
    for never in ["public.customers", "public.customers_vip"] {
        scope.never = vec![RelationPattern {
            origin: origin(90),
            pattern: Pattern::new(never, '.').unwrap(),
        }];
        for sql in [
            "SELECT id FROM customers",
            "SELECT id FROM customers_vip",
            "SELECT id FROM v_plain",
        ] {
            assert_eq!(refused(sql, &scope).code, "never", "{never}: {sql}");
        }
    }
}
