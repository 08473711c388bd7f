//! Functions that others run: who may give them another body.

use super::tests::{patterns, rule, scope};
use super::*;
use crate::sql::read;
use crate::sql::sample;

/// `public.touch` is run by a trigger of orders and by a view of secrets, whose bodies also call `helper`.
fn snapshot() -> Snapshot {
    let mut snapshot = sample::fixture();
    for name in ["touch", "shown", "free", "area"] {
        snapshot.functions.insert(name.to_owned(), vec!["public".to_owned()]);
    }
    let hangs = serde_json::json!({
        "places": [
            {"words": "trigger touched on table orders", "kind": "trigger", "schema": "public", "name": "orders"},
            {"words": "rule _RETURN on view v_secrets", "kind": "relation", "schema": "hidden", "name": "v_secrets"},
            {"words": "operator class ops", "kind": null, "schema": null, "name": null},
        ],
        "held": [
            {"schema": "public", "name": "touch", "places": [0]},
            {"schema": "public", "name": "shown", "places": [0, 1]},
        ],
        "said": [
            {"schema": null, "name": "helper", "within": "public.touch", "places": [0]},
            {"schema": "other", "name": "area", "within": "public.touch", "places": [2]},
        ],
        "extensions": [["public", "area", "postgis"]],
    });
    snapshot.hangs = serde_json::from_value(hangs).unwrap();
    snapshot
}

/// A scope that defines functions and makes triggers on `tables`, and calls `called`.
fn migrates(tables: &[&str], called: &[&str]) -> Scope {
    let kinds = || Kind::NAMED.iter().copied().collect();
    let ddl = [Class::Create, Class::Alter, Class::Drop];
    let mut made = scope(vec![
        Rule {
            objects: [Kind::Function].into(),
            ..rule(10, &ddl, &["public.*", "other.*"], None)
        },
        Rule {
            objects: kinds(),
            ..rule(11, &ddl, tables, None)
        },
        Rule {
            functions: patterns(called, 12),
            ..rule(12, &[], &[], None)
        },
    ]);
    made.ceiling.iter_mut().for_each(|ceiling| ceiling.objects = kinds());
    made
}

/// `None` where it is allowed.
fn refused(sql: &str, scope: &Scope) -> Option<Denial> {
    let snapshot = snapshot();
    let statements = read(sql, &snapshot).unwrap();
    statements.iter().find_map(
        |statement| match judge(statement, scope, &Ground::here(sql, &snapshot)) {
            Decision::Allow(_) => None,
            Decision::Deny(denial) => Some(denial),
        },
    )
}

fn replaced(name: &str) -> String {
    format!("CREATE OR REPLACE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql AS ''")
}

#[test]
fn what_nothing_runs_is_replaced_altered_and_renamed() {
    let scope = migrates(&[], &[]);
    for sql in [
        &replaced("free"),
        &replaced("new"),
        "ALTER FUNCTION public.free() STABLE",
        "ALTER FUNCTION public.free() RENAME TO freed",
        "CREATE FUNCTION other.fresh() RETURNS int LANGUAGE sql AS ''",
    ] {
        assert_eq!(refused(sql, &scope), None, "{sql}");
    }
}

#[test]
fn what_others_run_is_replaced_by_whoever_could_attach_it_anew() {
    let said = |sql: &str, scope: &Scope| {
        let denial = refused(sql, scope).expect(sql);
        assert_eq!(denial.code, "function-attached", "{sql}");
        format!("{}; {}", denial.detail, denial.hint)
    };
    let bare = said(&replaced("touch"), &migrates(&[], &[]));
    assert!(
        bare.contains("trigger touched on table orders runs public.touch"),
        "{bare}"
    );
    assert!(
        bare.contains("add to can: - { functions: [\"public.touch\"] }"),
        "{bare}"
    );
    let callable = said(&replaced("touch"), &migrates(&[], &["public.*"]));
    assert!(
        callable.contains("- { statements: [create], tables: [public.orders], objects: [trigger] }"),
        "{callable}"
    );
    assert_eq!(
        refused(&replaced("touch"), &migrates(&["public.orders"], &["public.touch"])),
        None
    );
    // One of two is not enough.
    let view = said(&replaced("shown"), &migrates(&["public.orders"], &["public.*"]));
    assert!(view.contains("view v_secrets"), "{view}");
}

#[test]
fn every_change_of_what_others_run_counts_and_every_way_to_its_name() {
    let scope = migrates(&[], &["public.free"]);
    for sql in [
        "ALTER FUNCTION public.touch() SET search_path = public",
        "ALTER FUNCTION touch() COST 10",
        "ALTER ROUTINE public.touch() STABLE",
        "CREATE FUNCTION public.helper() RETURNS int LANGUAGE sql AS ''",
        "CREATE FUNCTION other.\"Helper\"(int) RETURNS int LANGUAGE sql AS ''",
        "CREATE PROCEDURE public.helper() LANGUAGE sql AS ''",
        "ALTER FUNCTION public.free() RENAME TO helper",
        "CREATE AGGREGATE public.helper(int) (sfunc = public.free, stype = int)",
        "ALTER FUNCTION public.area() SET SCHEMA other",
        "CREATE OR REPLACE FUNCTION public.area() RETURNS int LANGUAGE sql AS ''",
    ] {
        let code = refused(sql, &scope).map(|denial| denial.code);
        assert_eq!(code, Some("function-attached"), "{sql}");
    }
}
