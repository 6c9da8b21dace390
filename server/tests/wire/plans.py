"""Which statements find their rows by an index, as the databases plan them."""

import re
from collections.abc import Mapping
from typing import Any

import asyncpg
import orjson

from authserver.storage.sqlite_connections import connect
from server.tests.wire.harness import Wire
from server.tests.wire.recording import Recording

# Small tables that are read whole on purpose, and not by requests: the catalogue of resources, versions of topics.
READ_WHOLE = re.compile(r"FROM (resources|changes|runtime_settings)\b")


def native(sql: str) -> str:
    """Return a statement with the parameters of SQLite."""
    return re.sub(r"\$(\d+)", r"?\1", sql)


def statements_of(recording: Recording) -> dict[str, tuple[Any, ...]]:
    """Return what was run, but for what is read whole on purpose, with arguments of each."""
    return {sql: args for sql, args in (*recording.reads, *recording.writes) if not READ_WHOLE.search(sql)}


async def find_scans(wire: Wire, statements: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Return the statements that read a whole table."""
    if wire.core.db.dialect == "sqlite":
        return _sqlite_scans(wire.core.config.storage.sqlite.path, statements)
    return await postgres_scans(wire.core.config.storage.postgres.dsn.reveal(), statements)


def _sqlite_scans(path: str, statements: Mapping[str, tuple[Any, ...]]) -> list[str]:
    connection = connect(path, wal=True)
    found = []
    for sql, args in statements.items():
        plan = connection.execute(f"EXPLAIN QUERY PLAN {native(sql)}", args).fetchall()
        found += [f"{row['detail']}: {sql}" for row in plan if row["detail"].startswith("SCAN")]
    connection.close()
    return found


async def postgres_scans(dsn: str, statements: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Return the statements for which PostgreSQL has no index."""
    connection = await asyncpg.connect(dsn)
    # Tables of a test are so small that reading them whole is cheapest: a scan that is left has no index to use.
    await connection.execute("SET enable_seqscan = off")
    found = []
    for sql, args in statements.items():
        async with connection.transaction():
            plan = orjson.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *args))
        if '"Seq Scan"' in orjson.dumps(plan).decode():
            found.append(sql)
    await connection.close()
    return found
