"""What is being exchanged while its subject token is revoked goes with it, whoever revokes and for whatever reason."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from authserver.storage.database import Database, Writer
from authserver.tokens.store import revoke_descendants, revoke_issuance, revoke_lineage
from authserver.tokens.withdrawal import Withdrawal

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_target", ["postgres"], indirect=True)]

NOW = 1_790_000_000
ROOT, CHILD = bytes(15) + b"\1", bytes(15) + b"\2"
WITHDRAWAL = Withdrawal(refresh_lifetime=3600)

_INSERT = (
    "INSERT INTO issuance_rows"
    " (id, kind, subject_number, client_number, resource_number, scopes, issued_at, expires_at, parent_jti)"
    " VALUES ($1, $2, 1, 2, 3, '', $3::bigint, $3::bigint + 3600, $4)"
)

Revoke = Callable[[Writer], Awaitable[int]]


def revoke_user(tx: Writer) -> Awaitable[int]:
    return WITHDRAWAL.revoke_user(tx, "u", NOW)


def revoke_client(tx: Writer) -> Awaitable[int]:
    return WITHDRAWAL.revoke_client(tx, "agent", NOW)


def revoke_consent(tx: Writer) -> Awaitable[int]:
    return revoke_lineage(tx, user_id="u", client_id="agent", resource_id="r", now=NOW)


async def revoke_with_descendants(tx: Writer) -> int:
    return await revoke_issuance(tx, ROOT, now=NOW) + await revoke_descendants(tx, ROOT, now=NOW)


@pytest.fixture
async def exchanging(db: Database, database_target: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Another process, in the midst of an exchange of the root: it holds the root and has written the child."""

    async def prepare(tx: Writer) -> None:
        await tx.execute("INSERT INTO names (number, name) VALUES (1, 'u'), (2, 'agent'), (3, 'r')")
        await tx.execute(
            "INSERT INTO resources (id, slug, backend_kind, scopes, policy, created_at, updated_at, number)"
            " VALUES ('r', 'r', 'mint', '[]', '{}', 0, 0, 3)"
        )
        await tx.execute(_INSERT, ROOT, "user", NOW, None)

    await db.write(prepare)
    connection = await asyncpg.connect(database_target)
    await connection.execute("BEGIN")
    await connection.fetch("SELECT id FROM issuance_rows WHERE id = $1 AND revoked_at IS NULL FOR SHARE", ROOT)
    await connection.execute(_INSERT, CHILD, "exchange", NOW, ROOT)
    yield connection
    await connection.close()


async def until_somebody_waits(target: str) -> None:
    admin = await asyncpg.connect(target)
    async with asyncio.timeout(5):
        while not await admin.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  the server offers no event
            await asyncio.sleep(0.005)
    await admin.close()


@pytest.mark.parametrize("revoke", [revoke_user, revoke_client, revoke_consent, revoke_with_descendants])
async def test_a_token_that_is_written_while_its_subject_is_being_revoked_is_revoked_too(
    db: Database, database_target: str, exchanging: "asyncpg.Connection[Any]", revoke: Revoke
) -> None:
    async def run(tx: Writer) -> int:
        return await revoke(tx)

    revoking = asyncio.create_task(db.write(run))
    await until_somebody_waits(database_target)
    await exchanging.execute("COMMIT")
    await revoking
    rows = await db.fetch_all("SELECT id, revoked_at FROM issuances ORDER BY id")
    assert [(row["id"], row["revoked_at"]) for row in rows] == [(ROOT, NOW), (CHILD, NOW)]
