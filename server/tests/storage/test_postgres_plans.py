"""How PostgreSQL is spared: plans that are kept, connections that stay at hand, commits that wait for company."""

import asyncio
from functools import partial
from typing import Any

import asyncpg
import pytest

from authserver.storage import postgres_writing
from authserver.storage.database import Append, Claim, FirstUse, Writer
from authserver.storage.postgres import PoolLimits, PostgresDatabase
from authserver.storage.postgres_writing import Unit, WriterTask

pytestmark = pytest.mark.anyio

APPENDED = Append(table="dpop_jtis", columns={"jkt": "text", "jti": "text", "expires_at": "bigint"})
CLAIM = Claim(
    table="runtime_settings",
    assignments="updated_at = $2",
    condition="key = $1 AND updated_at < $2",
    types=("text", "bigint"),
)
USED = FirstUse(table="dpop_jtis", columns=("jkt", "jti"))
READ = "SELECT key FROM runtime_settings WHERE key = $1"
# PostgreSQL compares after so many plans of its own making.
TRIED = 5


async def _plans(connection: "asyncpg.Connection[Any]") -> dict[str, tuple[int, int]]:
    rows = await connection.fetch("SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements")
    return {
        row["statement"]: (row["generic_plans"], row["custom_plans"]) for row in rows if "unnest" in row["statement"]
    }


async def test_what_writes_a_batch_is_planned_once_however_few_are_in_it(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))

    async def write(tx: Writer, number: int) -> None:
        assert await tx.claim(USED, "key", str(number), 10, 5)
        assert await tx.claim(CLAIM, "a", number)
        await tx.append(APPENDED, "other", str(number), 10)

    await db.write(lambda tx: tx.execute("INSERT INTO runtime_settings (key, value, updated_at) VALUES ('a', 'v', 0)"))
    for number in range(1, 3 * TRIED):
        await db.write(partial(write, number=number))
    assert db._writer._connection is not None
    plans = await _plans(db._writer._connection)
    assert sorted(statement.split()[0] for statement in plans) == ["INSERT", "UPDATE", "WITH"]
    for statement, (generic, custom) in plans.items():
        assert custom <= TRIED < generic, statement
    await db.close()


async def test_what_reads_for_many_is_planned_once_however_few_they_are(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=1, max_conns=1))
    for _ in range(3 * TRIED):
        await asyncio.gather(db.fetch_one(READ, "a"), db.fetch_one(READ, "b"))
    ((connection, _),) = db._reads._at_hand
    ((generic, custom),) = (await _plans(connection)).values()
    assert custom <= TRIED < generic
    await db.close()


async def test_more_readers_than_connections_are_all_answered(postgres_target: str) -> None:
    """Who waits for the pool gets the connections that others had at hand."""
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=2, max_conns=2))
    for _ in range(3):
        rows = await asyncio.gather(*(db.fetch_all(f"SELECT {number} AS number") for number in range(20)))
        assert [row["number"] for (row,) in rows] == list(range(20))
    await db.close()


async def test_a_connection_that_reads_while_all_are_replaced_is_replaced_too(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=2, max_conns=2))
    ask = "SELECT pg_backend_pid() AS pid"
    (first,) = await db.fetch_all(ask)
    under_way = asyncio.create_task(db.fetch_all(f"{ask}, pg_sleep(0.2)"))
    await asyncio.sleep(0)  # it takes the connection
    assert not db._reads._at_hand
    db._reads._renew_at = asyncio.get_running_loop().time() - 1
    await db.fetch_all(ask)
    (old,) = await under_way
    assert old["pid"] == first["pid"]
    (new,) = await db.fetch_all(ask)
    assert new["pid"] != old["pid"]
    await db.close()


async def test_a_connection_at_hand_that_nobody_uses_is_closed(postgres_target: str) -> None:
    """As the pool closes its own: a firewall may have forgotten it, and a read over it would wait until it is late."""
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=2, max_conns=2, max_conn_idle_time=0.01))
    ask = "SELECT pg_backend_pid() AS pid"
    before = await asyncio.gather(*(db.fetch_all(f"{ask}, {number} AS number") for number in range(2)))
    # Below its least number the pool makes new ones.
    async with asyncio.timeout(30):
        while db._reads._at_hand:  # noqa: ASYNC110  a timer of theirs tells nobody
            await asyncio.sleep(0.01)
    (after,) = await db.fetch_all(ask)
    assert after["pid"] not in {row["pid"] for (row,) in before}
    await db.close()


async def test_no_connection_is_silent_for_minutes(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=1, max_conns=1))
    (shown,) = await db.fetch_all("SHOW tcp_keepalives_idle")
    assert shown["tcp_keepalives_idle"] == "60"
    await db.close()


async def _transaction(tx: Writer) -> str:
    row = await tx.fetch_one("SELECT pg_current_xact_id()::text AS id")
    assert row is not None
    transaction_id: str = row["id"]
    return transaction_id


def _submit(writer: WriterTask) -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    writer.submit(Unit(_transaction, future, loop.time()))
    return future


async def test_who_is_still_reading_when_a_commit_could_begin_joins_it(
    postgres_target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writing, "_GATHER_SECONDS", 60)
    late: list[asyncio.Future[str]] = []

    def reading() -> int:
        if late:
            return 0
        late.append(_submit(writer))
        return 8

    writer = WriterTask(postgres_target, reading=reading)
    writer._took = 60
    assert await _submit(writer) == await late[0]
    await writer.stop()


async def test_rows_are_kept_table_by_table_whoever_came_first(postgres_target: str) -> None:
    """Else one would keep what a revocation waits for, and the next one wait for what the revocation has."""
    other = await asyncpg.connect(postgres_target)
    await other.execute("INSERT INTO runtime_settings (key, value, updated_at) VALUES ('k', '1', 1)")
    await other.execute("INSERT INTO dpop_jtis (jkt, jti, expires_at) VALUES ('k', 'j', 1)")
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"

    async def late(tx: Writer) -> bool:
        return await tx.hold("SELECT 1 AS one FROM runtime_settings WHERE key = $1", "k") is not None

    async def early(tx: Writer) -> bool:
        is_there = await tx.hold("SELECT 1 AS one FROM dpop_jtis WHERE jti = $1", "j") is not None
        return is_there and await late(tx)

    writer = WriterTask(postgres_target, reading=lambda: 0)
    async with other.transaction():
        await other.execute("UPDATE dpop_jtis SET expires_at = 2")
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[bool]] = [loop.create_future() for _ in range(2)]
        for transaction, future in zip((late, early), futures, strict=True):
            writer.submit(Unit(transaction, future, loop.time()))
        async with asyncio.timeout(30):
            while not await other.fetchval(waits):  # noqa: ASYNC110  a lock tells nobody that it is waited for
                await asyncio.sleep(0.01)
        await other.execute("SELECT FROM runtime_settings FOR UPDATE NOWAIT")
    assert await asyncio.gather(*futures) == [True, True]
    await writer.stop()
    await other.close()


async def test_a_commit_does_not_wait_for_ever_for_who_is_reading(postgres_target: str) -> None:
    writer = WriterTask(postgres_target, reading=lambda: 20)
    writer._took = 1
    assert len({await _submit(writer) for _ in range(5)}) == 5
    await writer.stop()
