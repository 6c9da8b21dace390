"""Migration 0007: what earlier versions wrote reads the same afterwards, and goes on to be found."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authserver.audit.store import list_events
from authserver.maintenance.purge import Target, purge
from authserver.storage.database import Database, ReferenceViolation, Value
from authserver.storage.migrate import embedded_migrations, migrate_postgres, migrate_sqlite
from authserver.storage.postgres import PoolLimits, PostgresDatabase
from authserver.storage.sqlite import SqliteDatabase
from authserver.storage.sqlite_connections import connect, native
from authserver.tokens.store import find_issued, find_last_issuance, revoke_issuances_of, revoke_lineage

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
BEFORE = embedded_migrations()[:6]
Rows = list[dict[str, Value]]


def _id(n: int) -> bytes:
    return (NOW * 1000).to_bytes(6, "big") + n.to_bytes(10, "big")


_RESOURCE: dict[str, Value] = {"backend_kind": "mint", "scopes": "[]", "policy": "{}", "created_at": 0, "updated_at": 0}
_ISSUANCE: dict[str, Value] = {"scopes": "a b", "issued_at": NOW, "expires_at": NOW + 900}
_ROWS: list[tuple[str, dict[str, Value]]] = [
    ("resources", {**_RESOURCE, "id": "r1", "slug": "one"}),
    ("resources", {**_RESOURCE, "id": "r2", "slug": "two"}),
    (
        "issuances",
        {
            **_ISSUANCE,
            "id": _id(1),
            "token_digest": b"d" * 16,
            "kind": "user",
            "subject": "user",
            "client_id": "app",
            "resource_id": "r1",
            "authorization_id": _id(100),
            "consent_client_id": "app",
        },
    ),
    (
        "issuances",
        {
            **_ISSUANCE,
            "id": _id(2),
            "kind": "exchange",
            "subject": "user",
            "client_id": "agent",
            "resource_id": "r1",
            "revoked_at": NOW + 1,
            "dpop_jkt": "key",
            "agent_id": "agent",
            "agent_chain": '["agent"]',
            "consent_client_id": "app",
            "parent_jti": _id(1),
        },
    ),
    ("issuances", {**_ISSUANCE, "id": _id(3), "kind": "machine", "client_id": "robot"}),
    (
        "audit_events",
        {
            "id": _id(1),
            "action": "token.issued",
            "actor_id": "user",
            "client_id": "app",
            "ip": "192.0.2.1",
            "detail": "family=x",
            "trace_id": "0af7",
            "created_at": NOW,
        },
    ),
    ("audit_events", {"id": _id(2), "action": "user.login_failed", "reference": "ref_1", "created_at": NOW + 1}),
    ("audit_events", {"id": _id(3), "action": "token.issued", "actor_id": "robot", "created_at": NOW + 2}),
]
_READ = ("SELECT * FROM issuances ORDER BY id", "SELECT * FROM audit_events ORDER BY id")


def _insert(table: str, row: dict[str, Value]) -> str:
    marks = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"


def _as_dicts(rows: Any) -> Rows:
    return [dict(row) for row in rows]


async def _upgrade_sqlite(path: str) -> tuple[Database, list[Rows]]:
    migrate_sqlite(path, wal=True, now=1, migrations=BEFORE)
    connection = connect(path, wal=True)
    for table, row in _ROWS:
        connection.execute(native(_insert(table, row)), tuple(row.values()))
    before = [_as_dicts(connection.execute(sql)) for sql in _READ]
    connection.close()
    migrate_sqlite(path, wal=True, now=2)
    return SqliteDatabase(path), before


async def _upgrade_postgres(dsn: str) -> tuple[Database, list[Rows]]:
    await migrate_postgres(dsn, now=1, migrations=BEFORE)
    connection = await asyncpg.connect(dsn)
    for table, row in _ROWS:
        await connection.execute(_insert(table, row), *row.values())
    before = [_as_dicts(await connection.fetch(sql)) for sql in _READ]
    await connection.close()
    await migrate_postgres(dsn, now=2)
    return await PostgresDatabase.open(dsn, PoolLimits(max_conns=2, min_conns=1)), before


@pytest.fixture(params=["sqlite", "postgres"])
async def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Database, list[Rows]]]:
    """A database that was filled before the migration, and what was read from it then."""
    if request.param == "sqlite":
        db, before = await _upgrade_sqlite(str(tmp_path / "old.db"))
        yield db, before
        await db.close()
        return
    server: str = request.getfixturevalue("postgres_dsn")
    admin, name = await asyncpg.connect(server), f"old_{uuid.uuid4().hex[:12]}"
    await admin.execute(f"CREATE DATABASE {name}")
    db, before = await _upgrade_postgres(f"{server.rpartition('/')[0]}/{name}")
    yield db, before
    await db.close()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def test_every_row_reads_as_before(upgraded: tuple[Database, list[Rows]]) -> None:
    db, before = upgraded
    assert [len(rows) for rows in before] == [3, 3]
    assert [_as_dicts(await db.fetch_all(sql)) for sql in _READ] == before


async def test_old_tokens_are_found_and_revoked(upgraded: tuple[Database, list[Rows]]) -> None:
    db, _ = upgraded
    found = await find_issued(db, _id(2))
    assert found is not None
    assert (found.issuance.subject, found.issuance.client_id, found.issuance.resource_id) == ("user", "agent", "r1")
    assert (found.issuance.agent_id, found.issuance.consent_client_id) == ("agent", "app")
    assert await find_last_issuance(db, "robot") == _id(3)
    assert await db.write(lambda tx: revoke_issuances_of(tx, client_id="robot", now=NOW)) == 1
    assert await db.write(lambda tx: revoke_issuances_of(tx, client_id="unheard-of", now=NOW)) == 0
    assert (
        await db.write(lambda tx: revoke_lineage(tx, user_id="user", client_id="app", resource_id="r1", now=NOW)) == 1
    )
    assert await purge(db, Target.MACHINE_TOKENS, now=NOW + 901) == 1


async def test_old_events_are_listed_by_what_they_are_about(upgraded: tuple[Database, list[Rows]]) -> None:
    db, _ = upgraded
    assert [event.id for event in await list_events(db, limit=9)] == [_id(3), _id(2), _id(1)]
    assert [event.id for event in await list_events(db, limit=9, action="token.issued")] == [_id(3), _id(1)]
    assert [event.id for event in await list_events(db, limit=9, actor_id="robot")] == [_id(3)]
    (event,) = await list_events(db, limit=9, client_id="app", action="token.issued")
    assert (event.actor_id, event.client_id, event.detail, event.trace_id) == ("user", "app", "family=x", "0af7")
    assert await list_events(db, limit=9, actor_id="unheard-of") == []


async def test_a_resource_with_old_tokens_stays_and_one_without_may_go(upgraded: tuple[Database, list[Rows]]) -> None:
    db, _ = upgraded
    with pytest.raises(ReferenceViolation):
        await db.write(lambda tx: tx.execute("DELETE FROM resources WHERE id = 'r1'"))
    assert await db.write(lambda tx: tx.execute("DELETE FROM resources WHERE id = 'r2'")) == 1
