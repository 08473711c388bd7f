//! CREATE, ALTER, DROP and their kin.

use super::{is_opaque, one, one_with, sees, touches};
use crate::sql::{Barrier, Class, Effect, sample};

#[test]
fn definitions_touch_what_they_make_and_what_they_reach() {
    sees(
        "CREATE TABLE a (id serial PRIMARY KEY, c int REFERENCES customers (id), p int REFERENCES a, \
         n numeric(10, 2) DEFAULT 0 CHECK (n > 0))",
        "select public.customers(id), create public.a(*), alter public.customers(*)",
    );
    sees(
        "CREATE TABLE IF NOT EXISTS app_priv.a (LIKE orders)",
        "select public.orders(*), create app_priv.a(*)",
    );
    sees(
        "CREATE TABLE ev (a int) INHERITS (orders)",
        "create public.ev(*), alter public.orders(*)",
    );
    sees(
        "CREATE TABLE m25 PARTITION OF metrics FOR VALUES FROM ('2025-01-01') TO (MAXVALUE)",
        "create public.m25(*), alter public.metrics(*)",
    );
    sees(
        "CREATE TABLE ct AS SELECT note FROM orders",
        "select public.orders(note), create public.ct(*)",
    );
    sees(
        "SELECT note INTO si FROM orders",
        "select public.orders(note), create public.si(*)",
    );
    sees(
        "CREATE VIEW v AS SELECT token FROM secrets",
        "select public.secrets(token), create public.v(*)",
    );
    sees(
        "CREATE INDEX ON orders (id, lower(note)) WHERE amount > 0",
        "select public.orders(amount note), create public.orders(*)",
    );
    sees("CREATE TYPE mood AS ENUM ('a')", "create public.mood(*)");
    sees(
        "CREATE SEQUENCE s OWNED BY orders.id",
        "create public.s(*), alter public.orders(*)",
    );
    sees(
        "ALTER TABLE orders ADD COLUMN x int, ADD CHECK (x > 0)",
        "alter public.orders(*)",
    );
    sees(
        "ALTER TABLE orders ALTER amount TYPE text USING note",
        "select public.orders(note), alter public.orders(*)",
    );
    sees(
        "ALTER TABLE scratch ATTACH PARTITION secrets DEFAULT",
        "alter public.scratch(*), alter public.secrets(*)",
    );
    sees(
        "ALTER TABLE secrets RENAME TO scratch2",
        "alter public.scratch2(*), alter public.secrets(*)",
    );
    sees("ALTER TABLE orders RENAME note TO remark", "alter public.orders(*)");
    sees("ALTER INDEX orders_pkey RENAME TO o", "alter public.orders(*)");
    sees(
        "DROP TABLE metrics",
        "drop public.metrics(*), drop public.metrics_2024(*)",
    );
    sees(
        "DROP TABLE IF EXISTS nothing, app_priv.none",
        "drop app_priv.none(*), drop public.nothing(*)",
    );
    sees("DROP INDEX orders_pkey", "drop public.orders(*)");
    sees("COMMENT ON COLUMN orders.note IS 'x'", "comment public.orders(note)");
    sees("VACUUM ANALYZE orders", "maintain public.orders(*)");
    sees("LOCK TABLE orders IN SHARE MODE", "lock public.orders(*)");
    sees(
        "REFRESH MATERIALIZED VIEW mv_customers",
        "refresh public.mv_customers(*)",
    );
    assert_eq!(one("DROP TABLE orders").barrier, Barrier::Schema);
    assert_eq!(one("SELECT note INTO si FROM orders").barrier, Barrier::Schema);
    assert_eq!(one("VACUUM orders").barrier, Barrier::None);
}

#[test]
fn what_is_not_enforced_yet_is_opaque() {
    for (sql, reason) in [
        ("DROP TABLE nothing", "does not exist"),
        ("CREATE TEMP TABLE public.t (a int)", "temporary"),
        ("SELECT * FROM pg_temp.t", "does not exist"),
        ("SELECT * FROM pg_temp_3.t", "temporary"),
        ("DROP TABLE pg_temp_3.t", "temporary"),
        ("SELECT pg_temp.f()", "temporary"),
        ("CREATE TABLE a (b nothing)", "type"),
        ("CREATE TABLE a (b int REFERENCES nothing)", "does not exist"),
        ("DROP TYPE ssnbox CASCADE", "CASCADE"),
        ("CREATE SCHEMA s AUTHORIZATION x", "AUTHORIZATION"),
        ("CREATE SCHEMA s CREATE TABLE t (a int)", "what is to stand"),
        ("DROP SCHEMA s CASCADE", "CASCADE"),
        ("VACUUM", "every table"),
        ("REINDEX DATABASE tpl", "more than one"),
        ("GRANT SELECT ON orders TO x WITH GRANT OPTION", "GRANT OPTION"),
        ("GRANT SELECT ON orders TO PUBLIC", "PUBLIC"),
        ("GRANT SELECT ON orders TO x GRANTED BY CURRENT_USER", "GRANTED BY"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA public TO x", "named by itself"),
        ("GRANT EXECUTE ON FUNCTION get_ssn TO x", "named by itself"),
        ("GRANT CREATE ON SCHEMA public TO x", "named by itself"),
        ("GRANT x TO y", "roles"),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x",
            "does not exist yet",
        ),
        ("DO LANGUAGE plpython3u 'x'", "other than plpgsql"),
    ] {
        is_opaque(sql, reason);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn other_kinds_are_touched_as_what_they_are() {
    let sees = |sql: &str, expected: &str| {
        let statement = one(sql);
        assert_eq!(statement.opaque, Vec::<String>::new(), "{sql}");
        let mut touched: Vec<String> = statement
            .touches
            .iter()
            .map(|touch| format!("{} {} {}.{}", touch.class, touch.kind, touch.schema, touch.name))
            .collect();
        touched.extend(
            statement
                .functions
                .iter()
                .map(|function| format!("call {}.{}", function.schema, function.name)),
        );
        touched.sort();
        let mut expected: Vec<&str> = expected.split(", ").collect();
        expected.sort_unstable();
        assert_eq!(touched, expected, "{sql}");
        let comments = statement.class == Class::Comment;
        assert_eq!(statement.barrier == Barrier::Schema, !comments, "{sql}");
    };
    for (sql, expected) in [
        (
            "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "create function public.f",
        ),
        (
            "CREATE OR REPLACE FUNCTION get_ssn(int) RETURNS text LANGUAGE sql AS ''",
            "create function public.get_ssn, alter function public.get_ssn",
        ),
        (
            "CREATE FUNCTION f() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS ''",
            "create definer-function public.f",
        ),
        (
            "ALTER FUNCTION get_ssn(int) SECURITY DEFINER",
            "alter definer-function public.get_ssn",
        ),
        (
            "CREATE FUNCTION f(i int) RETURNS text RETURN (SELECT token FROM secrets WHERE id = i)",
            "create function public.f, select relation public.secrets",
        ),
        (
            "CREATE PROCEDURE p(i int) LANGUAGE sql BEGIN ATOMIC DELETE FROM secrets WHERE id = i; END",
            "create function public.p, select relation public.secrets, delete relation public.secrets",
        ),
        ("DROP FUNCTION get_ssn", "drop function public.get_ssn"),
        ("DROP FUNCTION audit.nothing(int)", "drop function audit.nothing"),
        (
            "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION trg_copy()",
            "create trigger public.orders, call public.trg_copy",
        ),
        (
            "CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW WHEN (new.note = '') EXECUTE FUNCTION trg_copy()",
            "select relation public.orders, create trigger public.orders, call public.trg_copy",
        ),
        ("DROP TRIGGER t ON orders", "drop trigger public.orders"),
        (
            "ALTER TABLE orders DISABLE TRIGGER ALL",
            "alter relation public.orders, alter trigger public.orders",
        ),
        (
            "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
            "alter relation public.orders, alter policy public.orders",
        ),
        (
            "CREATE POLICY p ON orders USING (note = '')",
            "select relation public.orders, create policy public.orders",
        ),
        (
            "ALTER TABLE orders OWNER TO x",
            "alter relation public.orders, grant relation public.orders",
        ),
        (
            "ALTER FUNCTION get_ssn(int) OWNER TO x",
            "alter function public.get_ssn, grant function public.get_ssn",
        ),
        ("CREATE TYPE mood AS ENUM ('good')", "create type public.mood"),
        ("CREATE TYPE pair AS (a int, b text)", "create type public.pair"),
        (
            "ALTER TYPE ssnbox RENAME TO box2",
            "alter type public.box2, alter type public.ssnbox",
        ),
        ("DROP TYPE ssnbox", "drop type public.ssnbox"),
        (
            "CREATE DOMAIN d AS text CHECK (get_ssn(1) <> value)",
            "create domain public.d, call public.get_ssn",
        ),
        (
            "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public",
            "create extension public.hstore",
        ),
        ("DROP EXTENSION hstore", "drop extension *.hstore"),
        ("CREATE SEQUENCE s", "create sequence public.s"),
        (
            "ALTER SEQUENCE orders_id_seq RESTART",
            "alter sequence public.orders_id_seq",
        ),
        (
            "CREATE PUBLICATION p FOR TABLE secrets",
            "select relation public.secrets, create publication public.secrets",
        ),
        ("CREATE PUBLICATION p FOR ALL TABLES", "create publication *.*"),
        (
            "CREATE AGGREGATE a(text) (SFUNC = get_ssn, STYPE = text)",
            "create function public.a, call public.get_ssn",
        ),
        (
            "COMMENT ON FUNCTION get_ssn(int) IS 'x'",
            "comment function public.get_ssn",
        ),
        ("COMMENT ON SCHEMA public IS 'x'", "comment schema public.*"),
        ("DROP SCHEMA audit", "drop schema audit.*"),
    ] {
        sees(sql, expected);
    }
}

#[test]
fn forbidden_kinds_stay_opaque() {
    for sql in [
        "CREATE ROLE x",
        "ALTER ROLE x SUPERUSER",
        "DROP ROLE x",
        "CREATE DATABASE x",
        "DROP DATABASE x",
        "ALTER DATABASE x SET work_mem = 1",
        "CREATE TABLESPACE x LOCATION '/x'",
        "CREATE SERVER x FOREIGN DATA WRAPPER y",
        "CREATE FOREIGN DATA WRAPPER x",
        "CREATE USER MAPPING FOR x SERVER y",
        "CREATE SUBSCRIPTION x CONNECTION '' PUBLICATION y",
        "CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION trg_copy()",
        "CREATE ACCESS METHOD x TYPE TABLE HANDLER y",
        "CREATE RULE r AS ON SELECT TO orders DO INSTEAD SELECT * FROM secrets",
        "CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION x(internal))",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'x'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS 'x'",
        "CREATE FUNCTION f() RETURNS int LEAKPROOF LANGUAGE sql AS 'x'",
        "CREATE TYPE t",
        "CREATE TYPE t (INPUT = a, OUTPUT = b)",
        "CREATE CAST (int AS ssnbox) WITHOUT FUNCTION",
        "CREATE EXTENSION x CASCADE",
        "DROP SCHEMA audit CASCADE",
        "DROP OWNED BY x",
        "REASSIGN OWNED BY x TO y",
        "COMMENT ON ROLE x IS ''",
        "COMMENT ON DATABASE x IS ''",
        "ALTER SCHEMA audit RENAME TO x",
        "ALTER SYSTEM SET work_mem = 1",
    ] {
        let statement = one(sql);
        assert!(!statement.opaque.is_empty(), "{sql}: {}", touches(&statement));
    }
}

#[test]
fn rights_schemas_and_bodies_that_are_not_read_are_judged_by_their_own_classes() {
    sees(
        "GRANT SELECT (id), UPDATE ON orders TO x, CURRENT_USER",
        "grant public.orders(*)",
    );
    sees(
        "REVOKE GRANT OPTION FOR ALL ON orders FROM PUBLIC CASCADE",
        "grant public.orders(*)",
    );
    sees(
        "GRANT USAGE ON SEQUENCE orders_id_seq TO x",
        "grant public.orders_id_seq(*)",
    );
    sees("CREATE SCHEMA IF NOT EXISTS s", "create s.*(*)");
    sees("DROP SCHEMA s, t", "drop s.*(*), drop t.*(*)");
    let call = one("CALL get_ssn((SELECT id FROM orders))");
    assert_eq!((call.class, call.barrier), (Class::Call, Barrier::Schema));
    assert_eq!(touches(&call), "select public.orders(id)");
    assert!(call.functions.iter().any(|function| function.name == "get_ssn"));
    for sql in ["DO 'x'", "DO LANGUAGE plpgsql $$BEGIN END$$"] {
        let block = one(sql);
        assert_eq!(
            (block.class, block.barrier, block.effect),
            (Class::Do, Barrier::Schema, Effect::Change)
        );
        assert!(block.opaque.is_empty(), "{block:?}");
    }
    for sql in [
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "ROLLBACK PREPARED 'x'",
    ] {
        let two = one(sql);
        assert_eq!((two.class, two.barrier), (Class::TwoPhase, Barrier::Schema));
        assert!(two.opaque.is_empty(), "{two:?}");
    }
    assert_eq!(one("DISCARD TEMP").barrier, Barrier::Schema);
    assert!(one("DISCARD PLANS").opaque.is_empty());
    let all = one("DISCARD ALL");
    assert!(all.opaque.is_empty(), "{all:?}");
    assert_eq!((all.class, all.barrier), (Class::Set, Barrier::Discard));
    assert_eq!((all.settings.len(), all.settings[0].name.as_str()), (1, "all"));
}

#[test]
fn a_temporary_relation_hides_a_real_one_and_never_stands_for_it() {
    sees(
        "CREATE TEMP TABLE orders (a int) ON COMMIT DROP",
        "create pg_temp.orders(*)",
    );
    sees("CREATE TABLE pg_temp.orders (a int)", "create pg_temp.orders(*)");
    sees(
        "SELECT id INTO TEMP t FROM orders",
        "select public.orders(id), create pg_temp.t(*)",
    );
    sees(
        "CREATE TEMP VIEW v AS SELECT id FROM orders",
        "select public.orders(id), create pg_temp.v(*)",
    );
    assert_eq!(one("CREATE TEMP TABLE t (a int)").barrier, Barrier::Schema);

    let mut snapshot = sample::fixture();
    snapshot.search_path.insert(0, "pg_temp".to_owned());
    sample::add_table(&mut snapshot, "pg_temp", "orders", &["a"]);
    sample::add_table(&mut snapshot, "pg_temp", "v", &["id"]);
    if let Some(view) = snapshot.relations.get_mut("pg_temp").and_then(|own| own.get_mut("v")) {
        view.kind = crate::sql::RelationKind::View;
    }
    snapshot
        .functions
        .entry("own".to_owned())
        .or_default()
        .push("pg_temp".to_owned());
    let at = |sql: &str| one_with(sql, &snapshot);
    assert_eq!(touches(&at("SELECT a FROM orders")), "select pg_temp.orders(a)");
    assert_eq!(touches(&at("SELECT a FROM pg_temp.orders")), "select pg_temp.orders(a)");
    assert_eq!(touches(&at("SELECT id FROM public.orders")), "select public.orders(id)");
    assert_eq!(touches(&at("DROP TABLE orders")), "drop pg_temp.orders(*)");
    assert_eq!(touches(&at("CREATE TABLE n (a int)")), "create public.n(*)");
    assert!(!at("SELECT id FROM orders").opaque.is_empty(), "the real one's column");
    assert!(
        !at("UPDATE v SET id = 1").opaque.is_empty(),
        "it would write what it reads"
    );
    assert!(
        !at("SELECT own()").opaque.is_empty(),
        "functions are not looked for there"
    );
}

#[test]
fn a_server_of_another_age_is_not_guessed_at() {
    for (version, known) in [(140_000, false), (150_000, true), (180_004, true), (190_000, false)] {
        let mut snapshot = sample::fixture();
        snapshot.server_version = version;
        assert_eq!(one_with("SELECT 1", &snapshot).opaque.is_empty(), known, "{version}");
    }
}
