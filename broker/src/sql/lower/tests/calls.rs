//! Functions, operators, casts, settings, effects.

use super::{is_opaque, one, one_with, sees, touches};
use crate::sql::{Ask, Barrier, Effect, Snapshot, sample};

/// The functions a statement calls besides the safe ones.
fn beyond_safe(sql: &str) -> Vec<String> {
    let statement = one(sql);
    assert_eq!(statement.opaque, Vec::<String>::new(), "{sql}");
    let safe = |schema: &str, name: &str| schema == "pg_catalog" && crate::sql::functions::is_safe(name);
    let mut names: Vec<String> = statement
        .functions
        .iter()
        .filter(|function| !safe(&function.schema, &function.name))
        .map(|function| format!("{}.{}", function.schema, function.name))
        .collect();
    names.sort();
    names
}

#[test]
fn functions_operators_and_casts_of_others_are_functions() {
    assert_eq!(
        beyond_safe("SELECT lower(note), now() FROM orders"),
        Vec::<String>::new()
    );
    assert_eq!(
        beyond_safe("SELECT id FROM orders WHERE id = 1 AND note || 'x' LIKE 'a%'"),
        Vec::<String>::new()
    );
    assert_eq!(beyond_safe("SELECT get_ssn(1)"), ["public.get_ssn"]);
    assert_eq!(beyond_safe("SELECT id === 'x' FROM orders"), ["public.==="]);
    assert_eq!(
        beyond_safe("SELECT id OPERATOR(public.===) 'x' FROM orders"),
        ["public.==="]
    );
    assert_eq!(beyond_safe("SELECT 1::ssnbox"), ["public.ssnbox"]);
    assert_eq!(beyond_safe("SELECT $1::ssnbox"), ["public.ssnbox"]);
    assert_eq!(
        beyond_safe("SELECT '(x)'::ssnbox, NULL::ssnbox, ARRAY['(x)']::ssnbox[]"),
        Vec::<String>::new()
    );
    assert_eq!(
        beyond_safe("SELECT '1'::regclass::oid, 'a'::name, '{}'::_text"),
        Vec::<String>::new()
    );
    assert_eq!(
        beyond_safe("SELECT (get_ssn(1)).run_any"),
        ["public.get_ssn", "public.run_any"]
    );
    assert_eq!(
        beyond_safe("SELECT x.run_any FROM unnest(ARRAY[1]) x"),
        ["public.run_any"]
    );
    assert_eq!(
        beyond_safe("SELECT pg_sleep(1) FROM orders ORDER BY query_to_xml('', true, true, '')::text"),
        ["pg_catalog.pg_sleep", "pg_catalog.query_to_xml"]
    );
    let mut shadowed = sample::fixture();
    shadowed.functions.get_mut("lower").unwrap().push("public".to_owned());
    let statement = one_with("SELECT lower('x')", &shadowed);
    assert_eq!(statement.functions.len(), 2);
    assert_eq!(statement.effect, Effect::Change);
    is_opaque("SELECT nothing(1)", "does not exist");
    is_opaque("SELECT ssn(customers) FROM customers", "does not exist");
    is_opaque("SELECT c.to_jsonb FROM customers c", "attribute notation");
}

#[test]
fn what_a_server_has_no_grammar_for_is_a_call_there() {
    let mut older = sample::fixture();
    for name in ["json_value", "json_object", "json_arrayagg", "merge_action", "json"] {
        older
            .functions
            .entry(name.to_owned())
            .or_default()
            .push("public".to_owned());
    }
    let calls = |sql: &str, server_version: u32| {
        let snapshot = Snapshot {
            server_version,
            ..older.clone()
        };
        let statement = one_with(sql, &snapshot);
        assert!(statement.opaque.is_empty(), "{sql}: {statement:?}");
        let own = statement
            .functions
            .iter()
            .filter(|function| function.schema == "public");
        own.map(|function| function.name.clone()).collect::<Vec<_>>()
    };
    for (sql, name, since) in [
        ("SELECT json_value(note::jsonb, '$') FROM orders", "json_value", 170_000),
        ("SELECT json_object(note) FROM orders", "json_object", 160_000),
        ("SELECT json_arrayagg(note) FROM orders", "json_arrayagg", 160_000),
        ("SELECT json(note) FROM orders", "json", 170_000),
    ] {
        assert_eq!(calls(sql, since - 1), [name], "{sql}");
        // The plain form of json_object stays a function that a cast to text[] would choose.
        if name != "json_object" {
            assert_eq!(calls(sql, since), Vec::<String>::new(), "{sql}");
        }
    }
    is_opaque("SELECT json_value('{}', '$')", "does not exist");
    is_opaque(
        "SELECT * FROM json_table('[]', '$' COLUMNS (a int PATH '$'))",
        "JSON_TABLE",
    );
    let newer = Snapshot {
        server_version: 170_004,
        ..sample::fixture()
    };
    let table = "SELECT j.a, o.id FROM orders o, json_table(o.note, '$' COLUMNS (a int, NESTED '$' COLUMNS (b int))) j WHERE j.b = 1";
    assert_eq!(touches(&one_with(table, &newer)), "select public.orders(id note)");
    assert!(one_with(table, &newer).opaque.is_empty());
}

#[test]
fn xml_is_read_to_its_last_value() {
    sees(
        "SELECT xmlelement(name a, xmlattributes(note AS n), xmlforest(customer_id)), xmlserialize(content xmlparse(content 'x') AS text) FROM orders",
        "select public.orders(customer_id note)",
    );
    sees(
        "SELECT x.a FROM orders o, xmltable('/r' PASSING (o.note::xml) COLUMNS a int PATH 'a' DEFAULT (SELECT id FROM secrets)) x",
        "select public.orders(note), select public.secrets(id)",
    );
}

#[test]
fn effects_are_read_only_when_everything_is() {
    for sql in [
        "SELECT lower(note) FROM orders",
        "SELECT 1",
        "SHOW timezone",
        "EXPLAIN SELECT 1",
        "BEGIN",
    ] {
        assert_eq!(one(sql).effect, Effect::Read, "{sql}");
    }
    for sql in [
        "SELECT nextval('biz_seq')",
        "SELECT get_ssn(1)",
        "SELECT id FROM orders FOR UPDATE",
        "NOTIFY x",
    ] {
        assert_eq!(one(sql).effect, Effect::Change, "{sql}");
    }
}

/// Settings as `name=value`.
fn settings(sql: &str) -> Vec<String> {
    let statement = one(sql);
    assert_eq!(statement.opaque, Vec::<String>::new(), "{sql}");
    statement
        .settings
        .iter()
        .map(|setting| format!("{}={}", setting.name, setting.value.as_deref().unwrap_or("-")))
        .collect()
}

#[test]
fn settings_are_found_wherever_they_are_set() {
    assert_eq!(settings("SET LOCAL statement_timeout = '5s'"), ["statement_timeout=5s"]);
    assert_eq!(settings("SET search_path = a, \"B\""), ["search_path=\"a\", \"B\""]);
    assert_eq!(settings("RESET TimeZone"), ["timezone=-"]);
    assert_eq!(settings("RESET ALL"), ["all=-"]);
    assert_eq!(settings("SET ROLE postgres"), ["role=postgres"]);
    assert_eq!(
        settings("SET SESSION AUTHORIZATION postgres"),
        ["session_authorization=postgres"]
    );
    assert_eq!(settings("SET NAMES 'BIG5'"), ["client_encoding=BIG5"]);
    assert_eq!(settings("SET TIME ZONE 'UTC'"), ["timezone=UTC"]);
    assert_eq!(settings("SHOW ALL"), ["all=-"]);
    assert_eq!(
        settings("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE NOT DEFERRABLE"),
        [
            "transaction_isolation=serializable",
            "transaction_read_only=off",
            "transaction_deferrable=off"
        ]
    );
    assert_eq!(
        settings("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
        ["default_transaction_read_only=on"]
    );
    assert_eq!(settings("SELECT set_config('Role', 'none', false)"), ["role=none"]);
    assert_eq!(settings("SELECT set_config('jit', $1, false)"), ["jit=-"]);
    assert_eq!(settings("SELECT current_setting('jit')"), ["jit=-"]);
    assert_eq!(
        beyond_safe("SELECT current_setting($1 || '')"),
        ["pg_catalog.current_setting"]
    );
    is_opaque("SELECT set_config('role', $1, false)", "not literals");
    is_opaque("SELECT set_config('jit' || '', 'off', false)", "not literals");
    is_opaque("SELECT set_config('timezone'::varchar(4), 'x', false)", "not literals");
    is_opaque("SET TRANSACTION SNAPSHOT '1-1'", "snapshot");
    is_opaque("SET x FROM CURRENT", "unknown kind");
}

#[test]
fn a_sequence_that_a_constant_names_is_touched() {
    for (sql, expected) in [
        ("SELECT nextval('orders_id_seq')", "update public.orders_id_seq(*)"),
        (
            "SELECT pg_catalog.setval('public.orders_id_seq'::regclass, 1, false)",
            "update public.orders_id_seq(*)",
        ),
        ("SELECT currval('\"orders_id_seq\"')", "select public.orders_id_seq(*)"),
        (
            "SELECT setval(pg_get_serial_sequence('\"orders\"','id'), 1)",
            "update public.orders(*)",
        ),
    ] {
        let statement = one(sql);
        assert_eq!(touches(&statement), expected, "{sql}");
        assert!(
            statement.functions.iter().all(|function| function.name != "setval"),
            "{sql}"
        );
    }
    for sql in [
        "SELECT nextval(note) FROM orders",
        "SELECT nextval('16384')",
        "SELECT nextval('nothing')",
        "SELECT nextval($1)",
    ] {
        assert!(
            one(sql).functions.iter().any(|function| function.name == "nextval"),
            "{sql}"
        );
    }
}

#[test]
fn padding_needs_a_rule_only_where_the_text_does_not_bound_it() {
    for sql in [
        "SELECT lpad(note, 8, '0') FROM orders",
        "SELECT pg_catalog.rpad(note, 10000) FROM orders",
        "SELECT repeat('ab', 5000)",
    ] {
        let statement = one(sql);
        assert!(statement.functions.is_empty() && statement.by_number, "{sql}");
    }
    for sql in [
        "SELECT lpad(note, 10001) FROM orders",
        "SELECT lpad(note, id) FROM orders",
        "SELECT rpad(note, 10 * 10) FROM orders",
        "SELECT rpad(note, $1) FROM orders",
        "SELECT lpad(note, '8') FROM orders",
        "SELECT repeat(note, 2) FROM orders",
        "SELECT repeat('abc', 5000)",
        "SELECT repeat('ab', id) FROM orders",
        "SELECT repeat(repeat('ab', 5000), 5000)",
    ] {
        assert!(!one(sql).functions.is_empty(), "{sql}");
    }
}

#[test]
fn a_parameter_that_names_a_setting_is_judged_when_it_is_bound() {
    let statement = one("SELECT 1 WHERE current_setting($1::varchar) <> $2");
    assert_eq!(
        (statement.asks.as_slice(), statement.functions.len()),
        ([Ask::Setting(1)].as_slice(), 0)
    );
    let statement = one("SELECT set_config('search_path', $1, false)");
    assert_eq!(
        (statement.asks.as_slice(), statement.barrier),
        ([Ask::Path(1)].as_slice(), Barrier::Schema)
    );
    for sql in [
        "PREPARE p AS SELECT set_config('search_path', $1, false)",
        "SELECT set_config('role', $1, false)",
        "SELECT set_config($1, 'app', false)",
        "SELECT set_config('search_path', $1 || ', hr', false)",
    ] {
        assert!(!one(sql).opaque.is_empty(), "{sql}");
    }
    for sql in [
        "PREPARE p AS SELECT current_setting($1)",
        "CREATE FUNCTION f(text) RETURNS text RETURN current_setting($1)",
        "SELECT current_setting($1 || 'x')",
        "SELECT current_setting($1::name)",
    ] {
        let statement = one(sql);
        assert!(
            statement
                .functions
                .iter()
                .any(|function| function.name == "current_setting"),
            "{sql}"
        );
        assert!(statement.asks.is_empty(), "{sql}");
    }
}

#[test]
fn a_query_on_pg_settings_can_pin_the_name_of_a_setting() {
    assert_eq!(
        settings("SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'row_security'"),
        ["row_security=-", "row_security=off"]
    );
    for sql in [
        "SELECT set_config(name, 'off', false) FROM pg_settings",
        "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name <> 'jit'",
        "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'jit' OR true",
        "SELECT set_config(name, 'off', false) FROM pg_settings AS s(x, name) WHERE name = 'jit'",
        "SELECT set_config(name, 'off', false) FROM customers WHERE name = 'jit'",
        "SELECT (SELECT set_config(name, 'off', false) FROM customers c) FROM pg_settings WHERE name = 'jit'",
    ] {
        is_opaque(sql, "set_config with arguments");
    }
}

#[test]
fn a_name_may_begin_with_the_database_it_is_in() {
    for (named, plain) in [
        (
            "SELECT corpus.public.orders.id FROM corpus.public.orders",
            "SELECT orders.id FROM orders",
        ),
        ("SELECT corpus.public.orders.* FROM orders", "SELECT * FROM orders"),
        ("DROP TABLE corpus.public.orders", "DROP TABLE orders"),
        (
            "COMMENT ON COLUMN corpus.public.orders.id IS 'x'",
            "COMMENT ON COLUMN orders.id IS 'x'",
        ),
    ] {
        assert_eq!(touches(&one(named)), touches(&one(plain)), "{named}");
    }
    for sql in [
        "SELECT id FROM other.public.orders",
        "SELECT other.public.orders.id FROM orders",
        "SELECT id FROM \"CORPUS\".public.orders",
        "DROP TABLE other.public.orders",
        "SELECT other.public.orders.* FROM orders",
    ] {
        is_opaque(sql, "another database");
    }
}
