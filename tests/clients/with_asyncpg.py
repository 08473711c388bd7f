"""asyncpg against the endpoint in PGHOST …: introspection, prepared statements, COPY, cursors, notifications.

Reports as JSON on the last line."""

import asyncio
import datetime
import decimal
import json
import os
import ssl
import sys

import asyncpg

REPORT = {}


def same(what, got, want):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")
    REPORT[what] = True


async def refused(what, kind, awaitable):
    try:
        await awaitable
    except kind as error:
        REPORT[what] = True
        return error
    sys.exit(f"{what}: it ran")


def connect(**more):
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    return asyncpg.connect(ssl=context, **more)


async def queries(conn):
    same("pid", await conn.fetchval("SELECT pg_backend_pid()"), conn.get_server_pid())
    same("server", conn.get_server_version().major >= 14, True)
    row = await conn.fetchrow("SELECT id, amount, note FROM app.orders WHERE id = $1", 2)
    same("row", tuple(row), (2, decimal.Decimal("3.00"), "order 2"))
    same("date", await conn.fetchval("SELECT $1::date + 1", datetime.date(2026, 1, 1)), datetime.date(2026, 1, 2))
    same("array", await conn.fetchval("SELECT array_agg(id ORDER BY id) FROM app.orders WHERE id = ANY($1::int[])", [3, 1]), [1, 3])
    same("script", await conn.execute("SELECT 1; INSERT INTO app.notes VALUES (1, 'x'); DELETE FROM app.notes"), "DELETE 1")
    statement = await conn.prepare("SELECT id FROM app.orders WHERE id > $1 ORDER BY id LIMIT 3")
    same("parameters", [p.name for p in statement.get_parameters()], ["int4"])
    same("attributes", [a.name for a in statement.get_attributes()], ["id"])
    same("prepared", [[r["id"] for r in await statement.fetch(n)] for n in (0, 10)], [[1, 2, 3], [11, 12, 13]])
    same("explain", "Plan" in (await statement.explain(5))[0], True)
    same("division by zero", (await refused("error", asyncpg.DivisionByZeroError, conn.fetch("SELECT 1 / $1::int", 0))).sqlstate, "22012")
    error = await refused("denied", asyncpg.InsufficientPrivilegeError, conn.fetch("SELECT token FROM app.card_tokens WHERE id = $1", 1))
    same("denied names the policy", "denied by" in str(error) and bool(error.hint), True)
    await refused("denied script", asyncpg.InsufficientPrivilegeError, conn.execute("TRUNCATE app.card_tokens"))
    same("after a refusal", await conn.fetchval("SELECT 1"), 1)


async def types(conn):
    """A type asyncpg does not know makes it read the catalog."""
    await conn.execute("CREATE TYPE app.mood AS ENUM ('good', 'bad')")
    await conn.execute("CREATE TABLE app.typed (id int, mood app.mood, moods app.mood[], pair app.notes, r int4range)")
    pair = (7, "seven")
    await conn.execute("INSERT INTO app.typed VALUES ($1, $2, $3, $4, $5)", 1, "good", ["bad", "good"], pair, asyncpg.Range(1, 5))
    row = await conn.fetchrow("SELECT mood, moods, pair, r FROM app.typed")
    same("introspection", (row["mood"], row["moods"], tuple(row["pair"]), row["r"]), ("good", ["bad", "good"], pair, asyncpg.Range(1, 5)))
    await conn.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    same("codec", await conn.fetchval("SELECT $1::jsonb", {"a": 1}), {"a": 1})
    same("whole row", tuple((await conn.fetchrow("SELECT t FROM app.typed t"))["t"])[0], 1)
    await conn.execute("DROP TABLE app.typed")
    await conn.execute("DROP TYPE app.mood")


async def transactions(conn):
    async with conn.transaction(isolation="serializable"):
        await conn.execute("INSERT INTO app.notes VALUES ($1, $2)", 1, "kept")
        await refused("unique", asyncpg.UniqueViolationError, nested(conn))
    same("savepoint", [tuple(r) for r in await conn.fetch("SELECT id, body FROM app.notes")], [(1, "kept")])
    async with conn.transaction(readonly=True):
        same("read only", await conn.fetchval("SHOW transaction_read_only"), "on")
    await conn.executemany("INSERT INTO app.notes VALUES ($1, $2)", [(i, f"n{i}") for i in range(100, 400)])
    rows = await conn.fetchmany("UPDATE app.notes SET body = 'u' WHERE id = $1 RETURNING id", [(i,) for i in range(100, 103)])
    same("fetchmany", [r["id"] for r in rows], [100, 101, 102])
    many = conn.executemany("INSERT INTO app.notes VALUES ($1, $2)", [(900, "a"), (1, "twice"), (901, "b")])
    await refused("executemany is atomic", asyncpg.UniqueViolationError, many)
    same("executemany", await conn.fetchval("SELECT count(*) FROM app.notes"), 301)
    same("delete", await conn.execute("DELETE FROM app.notes WHERE id >= 100"), "DELETE 300")


async def nested(conn):
    async with conn.transaction():
        await conn.execute("INSERT INTO app.notes VALUES (2, 'rolled back')")
        await conn.execute("INSERT INTO app.notes VALUES (1, 'twice')")


async def copies(conn):
    records = [(i, None if i % 2 else f"r\t{i}") for i in range(1000, 6000)]
    same("copy records", await conn.copy_records_to_table("notes", schema_name="app", columns=["id", "body"], records=records), "COPY 5000")
    same("copy back", [tuple(r) for r in await conn.fetch("SELECT id, body FROM app.notes WHERE id IN (1000, 1001) ORDER BY id")], records[:2])
    chunks = []

    async def take(chunk):
        chunks.append(chunk)
    same("copy query", await conn.copy_from_query("SELECT id FROM app.notes WHERE id > $1 ORDER BY id", 5997, output=take, format="csv"), "COPY 2")
    same("copied", b"".join(chunks), b"5998\n5999\n")
    async def feed():
        yield b"7000,x\n"
        yield b"7001,y\n"
    same("copy to table", await conn.copy_to_table("notes", schema_name="app", source=feed(), format="csv"), "COPY 2")
    forbidden = conn.copy_records_to_table("card_tokens", schema_name="app", columns=["id", "token"], records=[(9, "x")])
    await refused("copy refused", asyncpg.InsufficientPrivilegeError, forbidden)
    twice = conn.copy_records_to_table("notes", schema_name="app", columns=["id", "body"], records=[(1, "twice")])
    await refused("copy fails", asyncpg.UniqueViolationError, twice)
    same("after copies", await conn.execute("DELETE FROM app.notes WHERE id >= 1000"), "DELETE 5002")


async def cursors(conn):
    async with conn.transaction():
        same("cursor", [r["id"] async for r in conn.cursor("SELECT id FROM app.orders WHERE id > $1 ORDER BY id", 5, prefetch=7)], list(range(6, 51)))
        cursor = await conn.cursor("SELECT id FROM app.orders ORDER BY id")
        await cursor.forward(10)
        same("forward", [r["id"] for r in await cursor.fetch(2)], [11, 12])


async def notifications(conn, other):
    queue = asyncio.Queue()
    await conn.add_listener("changed", lambda _conn, pid, channel, payload: queue.put_nowait((pid, channel, payload)))
    await other.execute("NOTIFY changed, 'one'")
    await conn.fetch("SELECT pg_notify($1, $2)", "changed", "two")
    got = [await asyncio.wait_for(queue.get(), 10) for _ in range(2)]
    same("notify", sorted(got), sorted([(other.get_server_pid(), "changed", "one"), (conn.get_server_pid(), "changed", "two")]))


async def cancels(conn):
    await refused("timeout cancels", asyncio.TimeoutError, conn.fetch("SELECT pg_sleep(30)", timeout=0.5))
    same("after a timeout", await conn.fetchval("SELECT 1"), 1)


async def pools():
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    async with asyncpg.create_pool(ssl=context, min_size=2, max_size=4) as pool:
        async def one(number):
            return await pool.fetchval("SELECT id FROM app.orders WHERE id = $1", number)
        same("pool", await asyncio.gather(*(one(n) for n in range(1, 41))), list(range(1, 41)))


async def main():
    if sys.argv[1:] == ["pools"]:
        await asyncio.wait_for(pools(), 60)
        print(json.dumps(REPORT))
        return
    conn, other = await connect(), await connect(server_settings={"application_name": "sender", "jit": "off"})
    for part in (queries, types, transactions, copies, cursors, cancels):
        print(part.__name__, flush=True)
        await asyncio.wait_for(part(conn), 60)
    await notifications(conn, other)
    await conn.close()
    await other.close()
    print("pools", flush=True)
    await asyncio.wait_for(pools(), 60)
    print(json.dumps(REPORT))


asyncio.run(main())
