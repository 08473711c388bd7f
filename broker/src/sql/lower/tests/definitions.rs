//! CREATE, ALTER, DROP and their kin.

use super::{is_opaque, one, sees};
use crate::sql::Barrier;

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
        ("CREATE TEMP TABLE t (a int)", "temporary"),
        ("SELECT 1 INTO TEMP t", "temporary"),
        ("SELECT * FROM pg_temp.t", "temporary"),
        ("ALTER TABLE orders OWNER TO x", "OWNER"),
        ("ALTER TABLE orders DISABLE ROW LEVEL SECURITY", "RowSecurity"),
        ("ALTER TABLE orders DISABLE TRIGGER ALL", "TrigAll"),
        ("CREATE TABLE a (b nothing)", "type"),
        ("CREATE TABLE a (b int REFERENCES nothing)", "does not exist"),
        ("DROP FUNCTION get_ssn", "not enforced yet"),
        ("DROP TYPE ssnbox CASCADE", "not enforced yet"),
        ("CREATE SCHEMA s", "not enforced yet"),
        ("VACUUM", "every table"),
        ("REINDEX DATABASE tpl", "more than one"),
        ("GRANT SELECT ON orders TO x", "not enforced yet"),
        ("DO 'x'", "not enforced yet"),
        ("DISCARD ALL", "not enforced yet"),
    ] {
        is_opaque(sql, reason);
    }
}
