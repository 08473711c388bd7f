"""What sqlx 0.9 sends for `migrate run`, `run` again, `revert` twice and `run`, as its command line and its library do
(building the tool takes too long for a test). Its start-up settings put the table of migrations into the schema `app`."""

import asyncio
import hashlib
import json
import os
import pathlib
import ssl

import asyncpg

FOLDER = pathlib.Path(__file__).parent / "sqlx"
TABLE = "_sqlx_migrations"
LOCK = 0x3D32AD9E * 1_234_567


def migrations(kind):
    return {int(file.name[:4]): file.read_text() for file in sorted(FOLDER.glob(f"*.{kind}.sql"))}


def connect():
    settings = {"DateStyle": "ISO, MDY", "TimeZone": "UTC", "extra_float_digits": "2", "options": "-csearch_path=app"}
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    return asyncpg.connect(ssl=context, server_settings=settings)


async def prepare(conn, locks):
    if locks:
        await conn.fetchval("SELECT current_database()")
        await conn.fetch("SELECT pg_advisory_lock($1)", LOCK)
    await conn.execute(
        f"\nCREATE TABLE IF NOT EXISTS {TABLE} (\n    version BIGINT PRIMARY KEY,\n    description TEXT NOT NULL,\n"
        "    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),\n    success BOOLEAN NOT NULL,\n    checksum BYTEA NOT NULL,\n"
        "    execution_time BIGINT NOT NULL\n);\n                "
    )
    assert await conn.fetchrow(f"SELECT version FROM {TABLE} WHERE success = false ORDER BY version LIMIT 1") is None
    return [row["version"] for row in await conn.fetch(f"SELECT version, checksum FROM {TABLE} ORDER BY version")]


async def run(locks):
    conn = await connect()
    done = await prepare(conn, locks)
    todo = {version: sql for version, sql in migrations("up").items() if version not in done}
    for version, sql in todo.items():
        await conn.execute("BEGIN")
        await conn.execute(sql)
        await conn.execute(
            f"\n    INSERT INTO {TABLE} ( version, description, success, checksum, execution_time )\n"
            "    VALUES ( $1, $2, TRUE, $3, -1 )\n                ",
            version, "it's a migration", hashlib.sha384(sql.encode()).digest(),
        )
        await conn.execute("COMMIT")
        await conn.execute(f"\n    UPDATE {TABLE}\n    SET execution_time = $1\n    WHERE version = $2\n                ", 1, version)
    if locks:
        await conn.fetchval("SELECT current_database()")
        await conn.fetch("SELECT pg_advisory_unlock($1)", LOCK)
    await conn.close()
    return len(todo)


async def revert():
    conn = await connect()
    last = (await prepare(conn, False))[-1]
    await conn.execute("BEGIN")
    await conn.execute(migrations("down")[last])
    await conn.execute(f"DELETE FROM {TABLE} WHERE version = $1", last)
    await conn.execute("COMMIT")
    await conn.close()
    return last


async def main():
    seen = {"first": await run(True), "again": await run(False), "reverted": [await revert(), await revert()], "head": await run(False)}
    print(json.dumps(seen))


asyncio.run(main())
