"""What golang-migrate's postgres driver sends for `up`, `up` again, `down 1` and `version`, after its published source (no
package registry at hand carries the tool). A migration's file goes as one simple query, with all its statements."""

import json

import psycopg

LOCK = 1_537_264_911
TABLE = '"app"."schema_migrations"'
UP = {
    1: "CREATE TABLE app.invoices (id bigserial PRIMARY KEY, order_id int NOT NULL UNIQUE REFERENCES app.orders (id), amount numeric(10,2) NOT NULL);\nINSERT INTO app.invoices (order_id, amount) SELECT id, amount FROM app.orders;\n",
    2: "ALTER TABLE app.invoices ADD COLUMN state text NOT NULL DEFAULT 'open';\nCREATE INDEX invoices_by_state ON app.invoices (state);\n",
}
DOWN = {1: "DROP TABLE app.invoices;", 2: "ALTER TABLE app.invoices DROP COLUMN state;"}


class Migrate:
    def __init__(self):
        self.connection = psycopg.connect(autocommit=True)
        self.one("SELECT CURRENT_DATABASE()")
        self.one("SELECT CURRENT_SCHEMA()")
        self.lock()
        count = self.one("SELECT COUNT(1) FROM information_schema.tables WHERE table_schema = %s AND table_name = %s LIMIT 1", "app", "schema_migrations")
        if count != 1:
            self.connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (version bigint not null primary key, dirty boolean not null)")
        self.unlock()

    def one(self, sql, *values):
        row = self.connection.execute(sql, values or None).fetchone()
        return row[0] if row else None

    def lock(self):
        self.connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))

    def unlock(self):
        self.connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))

    def version(self):
        try:
            return self.one(f"SELECT version, dirty FROM {TABLE} LIMIT 1")
        except psycopg.errors.UndefinedTable:
            return None

    def note(self, version, dirty):
        with self.connection.transaction():
            self.connection.execute(f"TRUNCATE {TABLE}")
            if version is not None:
                self.connection.execute(f"INSERT INTO {TABLE} (version, dirty) VALUES (%s, %s)", (version, dirty))

    def step(self, target, sql):
        self.note(target, True)
        self.connection.execute(sql)
        self.note(target, False)

    def up(self):
        self.lock()
        behind = [version for version in UP if version > (self.version() or 0)]
        for version in behind:
            self.step(version, UP[version])
        self.unlock()
        return len(behind)

    def down(self):
        self.lock()
        version = self.version()
        self.step(version - 1 or None, DOWN[version])
        self.unlock()


with psycopg.connect(autocommit=True) as fresh:
    try:
        fresh.execute(f"SELECT version, dirty FROM {TABLE} LIMIT 1")
    except psycopg.errors.UndefinedTable as error:
        missing = str(error)
seen = {"missing": missing, "first": Migrate().up(), "again": Migrate().up()}
back = Migrate()
back.down()
seen["back"] = back.version()
back.down()
seen["zero"] = back.version()
seen["head"] = Migrate().up()
print(json.dumps(seen))
