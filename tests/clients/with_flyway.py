"""What Flyway's `migrate`, `info`, `validate` and `clean` send, statement by statement, after its published PostgreSQL
classes (no package registry carries its jar): the driver's own, the lock, the history table, a migration, the role set
back, the search path. Parameters are bound at the server, as JDBC does."""

import json
import os

import psycopg

LOCK = 77431708279161 + 1_234_567
TABLE = '"app"."flyway_schema_history"'
HISTORY = (
    f"CREATE TABLE {TABLE} (\n    \"installed_rank\" INT NOT NULL,\n    \"version\" VARCHAR(50),\n"
    "    \"description\" VARCHAR(200) NOT NULL,\n    \"type\" VARCHAR(20) NOT NULL,\n    \"script\" VARCHAR(1000) NOT NULL,\n"
    "    \"checksum\" INTEGER,\n    \"installed_by\" VARCHAR(100) NOT NULL,\n    \"installed_on\" TIMESTAMP NOT NULL DEFAULT now(),\n"
    "    \"execution_time\" INTEGER NOT NULL,\n    \"success\" BOOLEAN NOT NULL\n);\n"
    f"ALTER TABLE {TABLE} ADD CONSTRAINT \"flyway_schema_history_pk\" PRIMARY KEY (\"installed_rank\");\n"
    f"CREATE INDEX \"flyway_schema_history_s_idx\" ON {TABLE} (\"success\");"
)
SEEN = f"""/*NO LOAD BALANCE*/
SELECT "installed_rank","version","description","type","script","checksum","installed_on","installed_by","execution_time","success" FROM {TABLE} WHERE "installed_rank" > %s ORDER BY "installed_rank" """
NOTE = f'INSERT INTO {TABLE} ("installed_rank", "version", "description", "type", "script", "checksum", "installed_by", "execution_time", "success") VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)'
EMPTY = """SELECT EXISTS (
    SELECT c.oid FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
    WHERE  n.nspname = %s AND d.objid IS NULL AND c.relkind IN ('r', 'v', 'S', 't')
  UNION ALL
    SELECT t.oid FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_depend d ON d.objid = t.oid AND d.deptype = 'e'
    WHERE n.nspname = %s AND d.objid IS NULL AND t.typcategory NOT IN ('A', 'C')
  UNION ALL
    SELECT p.oid FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    LEFT JOIN pg_catalog.pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
    WHERE n.nspname = %s AND d.objid IS NULL
)"""
EXISTS = """SELECT EXISTS (
  SELECT 1
  FROM   pg_catalog.pg_class c
  JOIN   pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE  n.nspname = %s
  AND    c.relname = %s
  AND    c.relkind = 'r'
)"""
# What `clean` asks before it drops.
CLEAN = [
    "SELECT relname FROM pg_catalog.pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' AND n.nspname = %s",
    "SELECT relname FROM pg_catalog.pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_depend dep ON dep.objid = c.oid AND dep.deptype = 'e' WHERE c.relkind = 'v' AND  n.nspname = %s AND dep.objid IS NULL",
    "select typname, typcategory from pg_catalog.pg_type t left join pg_depend dep on dep.objid = t.oid and dep.deptype = 'e' where (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)) and NOT EXISTS(SELECT 1 FROM pg_catalog.pg_type el WHERE el.oid = t.typelem AND el.typarray = t.oid) and t.typnamespace in (select oid from pg_catalog.pg_namespace where nspname = %s) and dep.objid is null and t.typtype != 'd'",
    "SELECT proname, oidvectortypes(proargtypes) AS args, pg_proc.prokind = 'a' as agg, pg_proc.prokind = 'p' as proc FROM pg_proc INNER JOIN pg_namespace ns ON (pg_proc.pronamespace = ns.oid) LEFT JOIN pg_depend dep ON dep.objid = pg_proc.oid AND dep.deptype = 'e' WHERE ns.nspname = %s AND dep.objid IS NULL",
    "SELECT t.typname FROM pg_catalog.pg_type t INNER JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = %s and t.typtype = 'e'",
    "SELECT sequence_name FROM information_schema.sequences WHERE sequence_schema=%s",
]
MIGRATIONS = [
    ("1", "invoices", [
        "CREATE TABLE invoices (id bigserial PRIMARY KEY, order_id int NOT NULL UNIQUE REFERENCES orders (id) ON DELETE CASCADE, amount numeric(10,2) NOT NULL)",
        "INSERT INTO invoices (order_id, amount) SELECT id, amount FROM orders",
    ]),
    ("2", "states", [
        "ALTER TABLE invoices ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paid'))",
        "CREATE INDEX invoices_by_state ON invoices (state)",
    ]),
]


class Session:
    def __init__(self):
        self.connection = psycopg.connect(autocommit=True, prepare_threshold=0)
        for setting in ("SET extra_float_digits = 3", "SET application_name = 'PostgreSQL JDBC Driver'"):
            self.connection.execute(setting)
        self.me = self.one("SELECT CURRENT_USER")

    def one(self, sql, *values):
        row = self.connection.execute(sql, values or None).fetchone()
        return row[0] if row else None

    def enter(self):
        """The schema in front of the search path, as for every migration."""
        self.one("SELECT current_schema")
        self.path = self.one("SHOW search_path")
        assert self.one("SELECT COUNT(*) FROM pg_namespace WHERE nspname=%s", "app") == 1
        self.one("SELECT set_config('search_path', %s, false)", f'"app",{self.path}')

    def restore(self):
        self.connection.execute(f"SET ROLE '{self.me}'")
        self.one("SELECT set_config('search_path', %s, false)", self.path)

    def migrate(self):
        assert self.one("SELECT pg_try_advisory_lock(%d)" % LOCK)
        done = 0
        try:
            if not self.one(EXISTS, "app", "flyway_schema_history"):
                self.one(EMPTY, "app", "app", "app")
                with self.connection.transaction():
                    for statement in HISTORY.split(";\n"):
                        self.connection.execute(statement)
                    # The first row tells with which version the table began.
                    self.connection.execute(NOTE, (1, "0", "<< Flyway Baseline >>", "BASELINE", "<< Flyway Baseline >>", None, self.me, 0, True))
            applied = self.connection.execute(SEEN, (-1,)).fetchall()
            rank = max(row[0] for row in applied)
            for version, name, statements in MIGRATIONS:
                if version in [row[1] for row in applied]:
                    continue
                rank += 1
                self.enter()
                with self.connection.transaction():
                    for statement in statements:
                        self.connection.execute(statement)
                    self.connection.execute(NOTE, (rank, version, name, "SQL", f"V{version}__{name}.sql", 42, self.me, 7, True))
                self.restore()
                done += 1
        finally:
            assert self.one("SELECT pg_advisory_unlock(%d)" % LOCK)
        return done


seen = {"first": Session().migrate()}
again = Session()
seen["again"] = again.migrate()
seen["applied"] = len(again.connection.execute(SEEN, (-1,)).fetchall())
with again.connection.transaction():
    seen["transactional lock"] = again.one("SELECT pg_try_advisory_xact_lock(%d)" % LOCK)
# `repair` and `undo`
again.connection.execute(f"UPDATE {TABLE} SET \"description\" = %s WHERE \"installed_rank\" = %s", ("states of invoices", 3))
again.connection.execute(f'DELETE FROM {TABLE} WHERE "success" = FALSE')
seen["clean asks"] = sum(len(again.connection.execute(sql, ("app",)).fetchall()) for sql in CLEAN) > 0
try:
    again.connection.execute("SET ROLE 'postgres'")
except psycopg.errors.InsufficientPrivilege as error:
    seen["another role"] = str(error)
print(json.dumps(seen))
