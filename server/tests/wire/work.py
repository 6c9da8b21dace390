"""How much a database does for a statement: the plan it chose, and how many rows it went through to carry it out."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import orjson

from authserver.storage.sqlite_connections import connect
from filling import fill_postgres, fill_sqlite
from server.tests.wire.harness import RESOURCE
from server.tests.wire.plans import native
from server.tests.wire.recording import Recording, Statement

SIZE = 10_000
SMALL = re.compile(
    r"FROM (resources|fronting_links|trusted_idps|xaa_policies|operators|changes|runtime_settings|leases|audit_deliveries"
    r"|audit_keys|audit_checkpoints|audit_tombstones|signing_keys|refusal_traces|schema_migrations"
    r"|broker_providers)\b"
)
"""Tables of as many rows as operators wrote, or that are bounded in number."""
_STEPS = 100
# What a statement may do beside what it does for each row of its answer.
_SQLITE_STEPS, _SQLITE_STEPS_A_ROW = 15_000, 150
_POSTGRES_ROWS, _POSTGRES_ROWS_A_ROW = 4_500, 5

EXCEPTIONS = {
    "OFFSET": "an offset is walked, along an index and beside the loop; who goes on with `after` need not",
    "SELECT count(*) AS number FROM clients": "counted once a minute, beside the loop (storage/totals.py)",
    "SELECT count(*) AS number FROM users": "likewise",
    "SELECT count(*) AS number FROM authorizations WHERE consumed_at IS NOT NULL": "likewise",
    "_number + 0 =": "conditions beyond the first are looked at on the way, within the days that are asked about",
    "WHERE consumed_at IS NOT NULL AND (user_id, id) > ($1, $3) AND (user_id, id) < ($1, $4) AND client_id = $2": (
        "the families of one user with one client: those with others are passed over"
    ),
    "WHERE consumed_at IS NOT NULL AND user_id = $1 AND client_id = $2": "likewise",
    "FROM broker_grants WHERE user_id = $1 ORDER BY id": "a user has one for each provider",
    "kind || '' = 'machine'": "the machine tokens of one client: what it got by other grants is passed over",
}
"""What grows, by a piece of the statement, and why it may."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was found out about a statement.

    Attributes:
        complaints: Why it does not stay flat; empty when it does.
    """

    sql: str
    complaints: tuple[str, ...]


async def examine(target: str, recording: Recording, *, exceptions: Mapping[str, str]) -> list[str]:
    """Run what ran again, without effect, and tell what of it grows with the tables.

    Args:
        target: The path of a SQLite file, or the DSN of a PostgreSQL database.
        recording: What ran.
        exceptions: Pieces of statements that may grow, and why.
    """
    ran = dict.fromkeys((*recording.reads, *recording.writes))
    statements = [each for each in ran if not SMALL.search(each[0]) and not each[0].startswith("INSERT INTO")]
    assert statements
    found = await _examine_postgres(target, statements) if "://" in target else [*_examine_sqlite(target, statements)]
    return [
        f"{'; '.join(work.complaints)}: {work.sql}"
        for work in found
        if work.complaints and not any(piece in work.sql for piece in exceptions)
    ]


async def fill(target: str, *, now: int) -> None:
    """Write ten thousand clients, users, families, tokens and events, one each 200 seconds before ``now``."""
    write = fill_postgres if "://" in target else fill_sqlite
    await asyncio.to_thread(partial(write, target, 0, SIZE, now=now, step=200, uri=RESOURCE, scope="notes:read"))


def _examine_sqlite(path: str, statements: Sequence[Statement]) -> Iterator[Work]:
    connection = connect(path, wal=True)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += _STEPS
        return 0

    connection.set_progress_handler(count, _STEPS)
    for sql, args in statements:
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {native(sql)}", args)]
        complaints = [line for line in plan if "TEMP B-TREE" in line or "AUTOMATIC" in line]
        if " LIMIT " not in sql:
            # Along an index, the limit ends it; whether it does so in time, the steps tell.
            complaints += [line for line in plan if line.startswith("SCAN ")]
        steps = 0
        connection.execute("BEGIN")
        rows = len(connection.execute(native(sql), args).fetchall())
        connection.execute("ROLLBACK")
        if steps > _SQLITE_STEPS + rows * _SQLITE_STEPS_A_ROW:
            complaints.append(f"{steps} steps for {rows} rows")
        yield Work(sql, tuple(complaints))
    connection.close()


async def _examine_postgres(dsn: str, statements: Sequence[Statement]) -> list[Work]:
    connection = await asyncpg.connect(dsn)
    found = []
    for sql, args in statements:
        transaction = connection.transaction()
        await transaction.start()
        try:
            plan = orjson.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", *args))
        finally:
            await transaction.rollback()
        root = plan[0]["Plan"]
        bound = _POSTGRES_ROWS + root["Actual Rows"] * _POSTGRES_ROWS_A_ROW
        complaints = []
        visited = sum(map(_visited, _nodes(root)))
        if visited > bound:
            complaints.append(f"{visited:.0f} rows visited for {root['Actual Rows']}")
        complaints += [
            f"{node['Node Type']} of {node['Actual Rows']} rows"
            for node in _nodes(root)
            if "Sort" in node["Node Type"] and max(child["Actual Rows"] for child in node["Plans"]) > bound
        ]
        found.append(Work(sql, tuple(complaints)))
    await connection.close()
    return found


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _visited(node: dict[str, Any]) -> float:
    """Return the rows that a node reads from a table or an index, those included that it throws away."""
    if not node["Node Type"].endswith(("Scan", "Scan Backward")) or "Relation Name" not in node:
        return 0
    thrown = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + thrown) * node["Actual Loops"])
