"""psycopg 3 against the endpoint in PGHOST …: every feature its users use. Reports as JSON on the last line."""

import asyncio
import decimal
import json
import sys
import threading
import time

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

REPORT = {}


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")
    REPORT[what] = True


def refused(what, sqlstate, run):
    try:
        run()
    except psycopg.Error as error:
        same(what, error.sqlstate, sqlstate)
        return error
    sys.exit(f"{what}: it ran")


def plain():
    with psycopg.connect() as conn:
        REPORT["impl"] = psycopg.pq.__impl__
        same("TLS", conn.pgconn.ssl_in_use, True)
        same("pid", conn.execute("SELECT pg_backend_pid()").fetchone()[0], conn.info.backend_pid)
        row = conn.execute("SELECT id, amount, note FROM app.orders WHERE id = %s", (2,)).fetchone()
        same("parameters", row, (2, decimal.Decimal("3.00"), "order 2"))
        rows = conn.cursor(row_factory=dict_row).execute("SELECT id FROM app.orders WHERE id = ANY(%s)", ([1, 3],)).fetchall()
        same("arrays", rows, [{"id": 1}, {"id": 3}])
        cur = conn.cursor(binary=True)
        row = cur.execute("SELECT o.id, amount, created_at FROM app.orders o JOIN app.customers c ON c.id = o.customer_id WHERE o.id = %b", (5,)).fetchone()
        same("binary results", row[:2], (5, decimal.Decimal("7.50")))
        same("jsonb", conn.execute("SELECT %s::jsonb -> 'a'", (Jsonb({"a": [1, 2]}),)).fetchone()[0], [1, 2])
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("app", "orders"))
        same("composed", conn.execute(query).fetchone(), (50,))
        same("several statements", [c.fetchone() for c in [conn.execute("SELECT 1; SELECT 2")]], [(1,)])
        same("no result", conn.execute("SELECT id FROM app.orders WHERE id = -1").fetchall(), [])


def transactions():
    with psycopg.connect(autocommit=True) as conn:
        with conn.transaction():
            conn.execute("INSERT INTO app.notes VALUES (1, 'kept')")
            try:
                with conn.transaction():
                    conn.execute("INSERT INTO app.notes VALUES (2, 'rolled back')")
                    conn.execute("INSERT INTO app.notes VALUES (1, 'twice')")
            except psycopg.errors.UniqueViolation as error:
                same("diagnostics", (error.diag.table_name, error.diag.constraint_name), ("notes", "notes_pkey"))
        same("savepoints", conn.execute("SELECT id FROM app.notes").fetchall(), [(1,)])
        try:
            with conn.transaction():
                conn.execute("DELETE FROM app.notes")
                raise psycopg.Rollback
        except psycopg.Rollback:
            pass
        same("rollback", conn.execute("SELECT count(*) FROM app.notes").fetchone(), (1,))
    with psycopg.connect() as conn:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        refused("read only", "25006", lambda: conn.execute("DELETE FROM app.notes"))
        same("aborted", conn.info.transaction_status, psycopg.pq.TransactionStatus.INERROR)
        refused("in an aborted transaction", "25P02", lambda: conn.execute("SELECT 1"))
        conn.rollback()
        same("isolation", conn.execute("SHOW transaction_isolation").fetchone(), ("serializable",))
    with psycopg.connect() as conn:
        error = refused("denied", "42501", lambda: conn.execute("SELECT token FROM app.card_tokens WHERE id = %s", (1,)))
        same("denied names the policy", "denied by" in error.diag.message_primary and bool(error.diag.message_hint), True)
        conn.rollback()
        same("after a refusal", conn.execute("SELECT 1").fetchone(), (1,))


def prepared():
    with psycopg.connect(autocommit=True) as conn:
        conn.prepare_threshold = 2
        for number in range(1, 8):
            same("prepared", conn.execute("SELECT note FROM app.orders WHERE id = %s", (number,)).fetchone(), (f"order {number}",))
        names = conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE '\\_pg3%'").fetchone()[0]
        same("prepared on the server", names, 1)
        conn.prepared_max = 2
        for number in range(6):
            conn.execute(f"SELECT {number} + %s", (number,), prepare=True)
        same("deallocated", conn.execute("SELECT count(*) <= 2 FROM pg_prepared_statements").fetchone(), (True,))
        conn.prepare_threshold = None
        conn.execute("CREATE TABLE app.changing (id int)")
        conn.prepare_threshold = 0
        conn.execute("INSERT INTO app.changing VALUES (%s)", (1,))
        conn.execute("ALTER TABLE app.changing ADD COLUMN more text DEFAULT 'm'")
        same("schema change", conn.execute("SELECT * FROM app.changing WHERE id = %s", (1,)).fetchone(), (1, "m"))
        conn.execute("DROP TABLE app.changing")
        with conn.cursor() as cur:
            cur.executemany("INSERT INTO app.notes VALUES (%s, %s) RETURNING id", [(i, f"n{i}") for i in range(100, 110)], returning=True)
            got = []
            while True:
                got.append(cur.fetchone()[0])
                if not cur.nextset():
                    break
        same("executemany", got, list(range(100, 110)))
        same("executemany rows", conn.execute("DELETE FROM app.notes WHERE id >= 100").rowcount, 10)


def cursors():
    with psycopg.connect() as conn:
        with conn.cursor(name="by seven") as cur:
            cur.itersize = 7
            cur.execute("SELECT id FROM app.orders WHERE id <= %s ORDER BY id", (40,))
            same("server-side cursor", [row[0] for row in cur], list(range(1, 41)))
        with conn.cursor(name="scrolls", scrollable=True) as cur:
            cur.execute("SELECT id FROM app.orders ORDER BY id")
            cur.scroll(10)
            same("scroll", cur.fetchone(), (11,))
            cur.scroll(0, mode="absolute")
            same("scroll back", cur.fetchmany(2), [(1,), (2,)])
        with conn.cursor(name="held", withhold=True) as cur:
            cur.execute("SELECT id FROM app.orders ORDER BY id")
            conn.commit()
            same("held over the commit", cur.fetchone(), (1,))
        with conn.cursor() as cur:
            same("stream", [row[0] for row in cur.stream("SELECT id FROM app.orders ORDER BY id")], list(range(1, 51)))


def copies():
    with psycopg.connect() as conn:
        with conn.cursor() as cur:
            with cur.copy("COPY app.notes (id, body) FROM STDIN") as copy:
                for number in range(1000, 3000):
                    copy.write_row((number, None if number % 2 else f"tab\tline\n{number}"))
            same("copy in", cur.rowcount, 2000)
            with cur.copy("COPY app.notes (id, body) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "text"])
                copy.write_row((5000, "binary"))
            with cur.copy("COPY (SELECT id, body FROM app.notes WHERE id >= 1000 ORDER BY id) TO STDOUT") as copy:
                copy.set_types(["int4", "text"])
                rows = list(copy.rows())
            same("copy out", (len(rows), rows[0], rows[1], rows[-1]), (2001, (1000, "tab\tline\n1000"), (1001, None), (5000, "binary")))
        conn.rollback()
        with conn.cursor() as cur:
            def stopped():
                with cur.copy("COPY app.notes (id, body) FROM STDIN") as copy:
                    copy.write_row((7, "never"))
                    raise ValueError("the client gives up")
            try:
                stopped()
            except ValueError:
                pass
        conn.rollback()
        refused("copy with an error", "22P02", lambda: load(conn, "not a number\tx\n"))
        conn.rollback()

        def forbidden():
            with conn.cursor().copy("COPY app.card_tokens FROM STDIN") as copy:
                copy.write("1\tx\n")
        refused("copy refused", "42501", forbidden)
        conn.rollback()
        same("after copies", conn.execute("SELECT count(*) FROM app.notes").fetchone(), (1,))


def load(conn, data):
    with conn.cursor().copy("COPY app.notes (id, body) FROM STDIN") as copy:
        copy.write(data)


def pipelines():
    with psycopg.connect(autocommit=True) as conn:
        with conn.pipeline() as pipeline:
            first = conn.execute("INSERT INTO app.notes VALUES (%s, %s) RETURNING id", (200, "p"))
            second = conn.execute("SELECT count(*) FROM app.orders")
            same("pipeline", (first.fetchone(), second.fetchone()), ((200,), (50,)))
            conn.execute("DELETE FROM app.notes WHERE id = %s", (200,))
            pipeline.sync()
            cursors = [conn.execute("SELECT %s::int", (i,)) for i in range(300)]
            same("deep pipeline", [cur.fetchone()[0] for cur in cursors], list(range(300)))
        def broken():
            with conn.pipeline():
                conn.execute("SELECT 1")
                conn.execute("SELECT 1 / %s", (0,))
                conn.execute("INSERT INTO app.notes VALUES (201, 'never')")
        refused("pipeline with an error", "22012", broken)
        def denied():
            with conn.pipeline():
                conn.execute("INSERT INTO app.notes VALUES (202, 'rolled back with the pipeline')")
                conn.execute("SELECT token FROM app.card_tokens")
                conn.execute("INSERT INTO app.notes VALUES (203, 'never')")
        refused("pipeline with a refusal", "42501", denied)
        same("after pipelines", conn.execute("SELECT count(*) FROM app.notes WHERE id > 1").fetchone(), (0,))
        with conn.pipeline(), conn.transaction():
            conn.execute("CREATE TABLE app.piped (id int)")
            conn.execute("INSERT INTO app.piped VALUES (1)")
            cur = conn.execute("SELECT id FROM app.piped")
            same("schema change in a pipeline", cur.fetchone(), (1,))
            conn.execute("DROP TABLE app.piped")


def notifications():
    with psycopg.connect(autocommit=True) as listener, psycopg.connect(autocommit=True) as sender:
        listener.execute("LISTEN orders_changed")
        sender.execute("NOTIFY orders_changed, 'one'")
        sender.execute("SELECT pg_notify('orders_changed', %s)", ("two",))
        listener.execute("NOTIFY orders_changed, 'three'")
        got = list(listener.notifies(timeout=10, stop_after=3))
        want = [
            ("orders_changed", "one", sender.info.backend_pid),
            ("orders_changed", "two", sender.info.backend_pid),
            ("orders_changed", "three", listener.info.backend_pid),
        ]
        same("notify", sorted((n.channel, n.payload, n.pid) for n in got), sorted(want))
        listener.execute("UNLISTEN *")
        same("unlisten", listener.execute("SELECT count(*) FROM pg_listening_channels()").fetchone(), (0,))


def cancels():
    with psycopg.connect(autocommit=True) as conn:
        for name, cancel in (("cancel", conn.cancel), ("cancel_safe", conn.cancel_safe)):
            timer = threading.Timer(0.5, cancel)
            timer.start()
            began = time.monotonic()
            refused(name, "57014", lambda: conn.execute("SELECT pg_sleep(30)"))
            same(name + " stops it", time.monotonic() - began < 25, True)
            timer.join()
        same("after cancel", conn.execute("SELECT 1").fetchone(), (1,))


async def asynchronous():
    async with await psycopg.AsyncConnection.connect(autocommit=True) as conn:
        async with conn.pipeline():
            cur = await conn.execute("SELECT note FROM app.orders WHERE id = %s", (9,))
            same("async", await cur.fetchone(), ("order 9",))
        async with conn.cursor() as cur:
            await cur.execute("SELECT id FROM app.orders ORDER BY id")
            same("async iteration", [row[0] async for row in cur], list(range(1, 51)))
        async with conn.cursor().copy("COPY app.orders (id) TO STDOUT") as copy:
            same("async copy", len([row async for row in copy.rows()]), 50)
        task = asyncio.create_task(conn.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.5)
        await conn.cancel_safe()
        try:
            await task
        except psycopg.errors.QueryCanceled:
            REPORT["async cancel"] = True
        many = await asyncio.gather(*(one(number) for number in range(1, 9)))
        same("side by side", many, list(range(1, 9)))


async def one(number):
    async with await psycopg.AsyncConnection.connect() as conn:
        cur = await conn.execute("SELECT id FROM app.orders WHERE id = %s", (number,))
        return (await cur.fetchone())[0]


for part in (plain, transactions, prepared, cursors, copies, pipelines, notifications, cancels):
    print(part.__name__, flush=True)
    part()
asyncio.run(asynchronous())
with psycopg.connect() as last:
    REPORT["notes"] = last.execute("SELECT count(*) FROM app.notes").fetchone()[0]
print(json.dumps(REPORT))
