"""What both drivers promise: commits shared by many, failures shared by none."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authserver.storage.database import (
    Append,
    Claim,
    Database,
    FirstUse,
    ReferenceViolation,
    StorageUnavailable,
    UniqueViolation,
    Writer,
)
from authserver.storage.postgres import PoolLimits, PostgresDatabase
from authserver.storage.sqlite import SqliteDatabase
from authserver.storage.sqlite_connections import MEMORY
from authserver.telemetry.metrics import scrape

pytestmark = pytest.mark.anyio

NOBODY = "postgresql://nobody@127.0.0.1:1/none"
SETTING = "INSERT INTO runtime_settings (key, value, updated_at) VALUES ($1, $2, 0)"
APPENDED = Append(table="dpop_jtis", columns={"jkt": "text", "jti": "text", "expires_at": "bigint"})


async def _set(db: Database, key: str) -> None:
    async def insert(tx: Writer) -> None:
        await tx.execute(SETTING, key, "v")

    await db.write(insert)


async def _keys(db: Database) -> set[str]:
    return {row["key"] for row in await db.fetch_all("SELECT key FROM runtime_settings")}


def _measured(db: Database, operation: str) -> tuple[float, float]:
    """Return how many operations were measured, and the seconds of all together."""
    labels = f'{{operation="{operation}",store="{db.dialect}"}} '
    found = dict(line.split(labels) for line in scrape().decode().splitlines() if labels in line)
    name = "authserver_db_operation_duration_seconds"
    return float(found.get(f"{name}_count", 0)), float(found.get(f"{name}_sum", 0))


async def test_the_time_of_each_commit_and_each_read_is_measured(db: Database) -> None:
    commits, committing = _measured(db, "units_commit")
    await asyncio.gather(*(_set(db, str(n)) for n in range(20)))
    with pytest.raises(UniqueViolation):
        await _set(db, "0")
    together, seconds = _measured(db, "units_commit")
    assert 2 <= together - commits <= 21, "many share one"
    assert seconds > committing

    reads, reading = _measured(db, "rows_read")
    await _keys(db)
    assert _measured(db, "rows_read")[0] == reads + 1
    one = "SELECT value FROM runtime_settings WHERE key = $1"
    await asyncio.gather(*(db.fetch_one(one, str(n)) for n in range(20)))
    together, seconds = _measured(db, "rows_read")
    assert reads + 2 <= together <= reads + 21
    assert seconds > reading


async def test_a_write_returns_what_its_function_returns_and_is_readable_at_once(db: Database) -> None:
    async def insert(tx: Writer) -> str:
        assert await tx.execute(SETTING, "a", "1") == 1
        row = await tx.fetch_one("SELECT value FROM runtime_settings WHERE key = $1", "a")
        assert row is not None
        assert len(await tx.fetch_all("SELECT value FROM runtime_settings")) == 1
        return str(row["value"])

    assert await db.write(insert) == "1"
    row = await db.fetch_one("SELECT value FROM runtime_settings WHERE key = $1", "a")
    assert row is not None
    assert row["value"] == "1"
    assert await db.fetch_one("SELECT value FROM runtime_settings WHERE key = $1", "b") is None


async def test_one_failing_unit_of_many_fails_alone(db: Database) -> None:
    async def fail(tx: Writer) -> None:
        await tx.execute(SETTING, "lost", "v")
        raise LookupError("mine")

    async def clash(tx: Writer) -> None:
        await tx.execute(SETTING, "k0", "v")

    units = [_set(db, f"k{n}") for n in range(20)]
    units[7:7] = [db.write(fail), db.write(clash)]
    outcomes = await asyncio.gather(*units, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [LookupError, UniqueViolation]
    assert await _keys(db) == {f"k{n}" for n in range(20)}


async def test_a_foreign_key_is_a_reference_violation(db: Database) -> None:
    async def insert(tx: Writer) -> None:
        await tx.execute(
            "INSERT INTO issuance_rows (id, kind, client_number, resource_number, scopes, issued_at, expires_at)"
            " VALUES ($1, 'user', 1, 999, '', 0, 0)",
            b"0" * 16,
        )

    with pytest.raises(ReferenceViolation):
        await db.write(insert)


async def test_appended_rows_of_many_callers_are_all_there(db: Database) -> None:
    async def append(n: int) -> None:
        async def unit(tx: Writer) -> None:
            await tx.append(APPENDED, "key", str(n), n)

        await db.write(unit)

    await asyncio.gather(*(append(n) for n in range(300)))
    rows = await db.fetch_all("SELECT jti, expires_at FROM dpop_jtis")
    assert {(row["jti"], row["expires_at"]) for row in rows} == {(str(n), n) for n in range(300)}


async def test_an_appended_duplicate_fails_its_own_caller(db: Database) -> None:
    async def unit(tx: Writer) -> None:
        await tx.append(APPENDED, "key", "same", 1)

    outcomes = await asyncio.gather(*(db.write(unit) for _ in range(10)), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, UniqueViolation) for outcome in outcomes) == 9


async def test_what_a_unit_appended_before_it_failed_is_not_kept(db: Database) -> None:
    async def append(n: int) -> None:
        async def unit(tx: Writer) -> None:
            await tx.append(APPENDED, "key", str(n), n)
            if n % 2:
                raise LookupError(n)

        await db.write(unit)

    outcomes = await asyncio.gather(*(append(n) for n in range(10)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), LookupError] * 5
    await append(10)
    rows = await db.fetch_all("SELECT jti FROM dpop_jtis")
    assert {row["jti"] for row in rows} == {"0", "2", "4", "6", "8", "10"}


async def test_a_cancelled_caller_does_not_disturb_the_others(db: Database) -> None:
    doomed = asyncio.ensure_future(_set(db, "cancelled"))
    others = [asyncio.ensure_future(_set(db, f"k{n}")) for n in range(5)]
    await asyncio.sleep(0)
    doomed.cancel()
    await asyncio.gather(*others)
    assert {f"k{n}" for n in range(5)} <= await _keys(db)


async def test_ping_answers(db: Database) -> None:
    await db.ping()


async def test_sqlite_refuses_a_unit_that_awaits_something_else(tmp_path: Path, sqlite_template: Path) -> None:
    db = SqliteDatabase(str(sqlite_template))

    async def sleeps(_tx: Writer) -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError):
        await db.write(sleeps)
    await db.close()


async def test_a_database_in_memory_reads_what_it_wrote_and_rolls_back() -> None:
    db = SqliteDatabase(MEMORY)
    db.connection.execute("CREATE TABLE runtime_settings (key TEXT PRIMARY KEY, value TEXT, updated_at BIGINT)")
    await _set(db, "a")
    with pytest.raises(UniqueViolation):
        await _set(db, "a")
    assert await _keys(db) == {"a"}
    await db.close()


async def test_a_locked_sqlite_file_is_unavailable_and_heals(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    path.write_bytes(sqlite_template.read_bytes())  # noqa: ASYNC240  a test may block
    holder, db = SqliteDatabase(str(path)), SqliteDatabase(str(path), patience_ms=50)
    holder.connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        await _set(db, "a")
    holder.connection.execute("ROLLBACK")
    await _set(db, "a")
    await db.close()
    await holder.close()


@pytest.mark.parametrize(
    ("impair", "mend"),
    [
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000"),
        ("PRAGMA query_only = 1", "PRAGMA query_only = 0"),
    ],
    ids=["full", "read-only"],
)
async def test_a_sqlite_file_that_cannot_be_written_is_unavailable_and_heals(
    sqlite_template: Path, tmp_path: Path, impair: str, mend: str
) -> None:
    path = tmp_path / "full.db"
    path.write_bytes(sqlite_template.read_bytes())  # noqa: ASYNC240  a test may block
    db = SqliteDatabase(str(path))
    db.connection.execute(impair)

    async def insert(tx: Writer, key: str) -> None:
        await tx.execute("INSERT INTO runtime_settings (key, value, updated_at) VALUES ($1, $2, 0)", key, "v" * 100_000)

    outcomes = await asyncio.gather(*(db.write(partial(insert, key=key)) for key in "abc"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 3
    assert await _keys(db) == set()
    db.connection.execute(mend)
    await db.write(partial(insert, key="a"))
    assert await _keys(db) == {"a"}
    await db.close()


async def test_an_unopenable_sqlite_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        SqliteDatabase(str(tmp_path))


async def test_postgres_comes_back_by_itself_after_its_connections_were_cut(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=1, max_conns=2))
    await _set(db, "before")
    admin = await asyncpg.connect(postgres_target)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await admin.close()
    assert "before" in await _keys(db)
    await _set(db, "after")
    assert "after" in await _keys(db)
    await db.close()


async def test_an_absent_postgres_is_unavailable() -> None:
    with pytest.raises(StorageUnavailable):
        await PostgresDatabase.open(NOBODY, PoolLimits())


async def _meet(admin: "asyncpg.Connection[Any]", number: int, waiting: int) -> None:
    """Let those go on who wait for an advisory lock that ``admin`` holds, once they are as many as expected."""
    async with asyncio.timeout(5):
        while waiting > await admin.fetchval("SELECT count(*) FROM pg_locks WHERE objid = $1 AND NOT granted", number):  # noqa: ASYNC110  the server offers no event
            await asyncio.sleep(0.005)
    await admin.execute("SELECT pg_advisory_unlock($1)", number)


async def test_postgres_runs_again_what_a_deadlock_undid(postgres_target: str) -> None:
    first = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    second = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    await _set(first, "x")
    await _set(first, "y")
    admin = await asyncpg.connect(postgres_target)
    await admin.execute("SELECT pg_advisory_lock(7)")
    tries = 0

    async def touch(tx: Writer, keys: str) -> None:
        nonlocal tries
        tries += 1
        await tx.execute("UPDATE runtime_settings SET updated_at = updated_at + 1 WHERE key = $1", keys[0])
        if tries <= 2:
            await tx.fetch_one("SELECT pg_advisory_xact_lock_shared(7)")
        await tx.execute("UPDATE runtime_settings SET updated_at = updated_at + 1 WHERE key = $1", keys[1])

    await asyncio.gather(
        first.write(lambda tx: touch(tx, "xy")), second.write(lambda tx: touch(tx, "yx")), _meet(admin, 7, waiting=2)
    )
    rows = await first.fetch_all("SELECT updated_at FROM runtime_settings WHERE key IN ('x', 'y')")
    assert [row["updated_at"] for row in rows] == [2, 2]
    assert tries >= 3
    await admin.close()
    await first.close()
    await second.close()


async def test_a_unit_can_see_what_others_of_its_commit_appended(db: Database) -> None:
    async def append(tx: Writer) -> None:
        await tx.append(APPENDED, "key", "early", 1)

    async def change(tx: Writer) -> int:
        await tx.settle(APPENDED)
        return await tx.execute("UPDATE dpop_jtis SET expires_at = 2 WHERE jti = $1", "early")

    _, touched = await asyncio.gather(db.write(append), db.write(change))
    assert touched == 1


async def test_on_postgres_a_row_that_somebody_holds_fails_only_who_needs_it(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    await _set(db, "held")
    holder = await asyncpg.connect(postgres_target)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("UPDATE runtime_settings SET value = 'w' WHERE key = 'held'")

    async def needs(tx: Writer) -> None:
        await tx.execute("UPDATE runtime_settings SET value = 'x' WHERE key = 'held'")

    outcomes = await asyncio.gather(db.write(needs), _set(db, "free1"), _set(db, "free2"), return_exceptions=True)
    assert isinstance(outcomes[0], StorageUnavailable)
    assert list(outcomes[1:]) == [None, None]
    await transaction.rollback()
    await holder.close()
    await db.write(needs)
    await db.close()


class _LosesTheAnswer:
    """A connection that dies after the server has committed and before it could say so."""

    def __init__(self, connection: Any, failure: type[Exception]) -> None:
        self._connection = connection
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, sql: str, *args: object) -> str:
        status = await self._connection.execute(sql, *args)
        if sql == "COMMIT":
            self._connection.terminate()
            raise self._failure
        return str(status)


async def _losing_answers(dsn: str, failure: type[Exception]) -> PostgresDatabase:
    db = await PostgresDatabase.open(dsn, PoolLimits(min_conns=0))
    await _set(db, uuid.uuid4().hex)
    connection = db._writer._connection
    assert connection is not None
    db._writer._connection = _LosesTheAnswer(connection, failure)
    return db


def _appending(key: str) -> Callable[[Writer], Awaitable[str]]:
    async def append(tx: Writer) -> str:
        await tx.execute(SETTING, key, "v")
        return "the caller's"

    return append


@pytest.mark.parametrize("failure", [ConnectionResetError, TimeoutError])
async def test_a_commit_whose_answer_was_lost_is_not_run_twice(postgres_target: str, failure: type[Exception]) -> None:
    db, key = await _losing_answers(postgres_target, failure), uuid.uuid4().hex
    assert await db.write(_appending(key)) == "the caller's"
    assert key in await _keys(db)
    await db.close()


async def test_a_commit_whose_outcome_nobody_can_tell_is_answered_when_somebody_can(postgres_target: str) -> None:
    db, key = await _losing_answers(postgres_target, ConnectionResetError), uuid.uuid4().hex
    db._writer._dsn = NOBODY
    writing = asyncio.create_task(db.write(_appending(key)))
    async with asyncio.timeout(10):
        while key not in await _keys(db):
            pass
    # It is in the database, and nobody who could say so answers: the caller is told nothing, least of all a failure.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(writing), 0.3)
    db._writer._dsn = postgres_target
    assert await writing == "the caller's"
    await db.close()


async def test_a_commit_that_the_server_never_heard_of_is_known_not_to_be(postgres_target: str) -> None:
    """As when a server that is behind takes the place of one that failed: nobody can ever say more."""
    db = await PostgresDatabase.open(postgres_target, PoolLimits(max_conns=1, min_conns=1))
    async with asyncio.timeout(5):
        assert await db._writer._was_committed("999999999999") is False
    await db.close()


CLAIM = Claim(
    table="runtime_settings",
    assignments="value = $2, updated_at = $3",
    condition="key = $1 AND updated_at = 0",
    types=("text", "text", "bigint"),
)
SECOND_CLAIM = Claim(
    table="runtime_settings", assignments="updated_at = 0", condition="key = $1 AND value = $2", types=("text", "text")
)


async def _value(db: Database, key: str) -> tuple[str, int] | None:
    row = await db.fetch_one("SELECT value, updated_at FROM runtime_settings WHERE key = $1", key)
    return (row["value"], row["updated_at"]) if row else None


async def test_of_many_equal_claims_in_one_commit_one_wins(db: Database) -> None:
    await _set(db, "a")
    await _set(db, "b")

    async def claim(key: str, name: str) -> bool:
        async def unit(tx: Writer) -> bool:
            if not await tx.claim(CLAIM, key, name, 1):
                return False
            await tx.append(APPENDED, key, name, 1)
            return True

        return await db.write(unit)

    wanted = [(key, str(n)) for n in range(50) for key in ("a", "b", "absent")]
    outcomes = await asyncio.gather(*(claim(key, name) for key, name in wanted))
    won = [pair for pair, outcome in zip(wanted, outcomes, strict=True) if outcome]
    assert sorted(key for key, _ in won) == ["a", "b"]
    for key, name in won:
        assert await _value(db, key) == (name, 1)
    # Who lost wrote nothing else.
    rows = await db.fetch_all("SELECT jkt, jti FROM dpop_jtis")
    assert {(row["jkt"], row["jti"]) for row in rows} == set(won)


async def test_a_claim_of_a_unit_that_fails_is_free_for_the_next(db: Database) -> None:
    await _set(db, "a")

    async def fail(tx: Writer) -> bool:
        assert await tx.claim(CLAIM, "a", "failed", 1)
        raise LookupError

    async def succeed(tx: Writer) -> bool:
        return await tx.claim(CLAIM, "a", "kept", 1)

    outcomes = await asyncio.gather(db.write(fail), db.write(succeed), db.write(succeed), return_exceptions=True)
    assert isinstance(outcomes[0], LookupError)
    assert sorted(map(bool, outcomes[1:])) == [False, True]
    assert await _value(db, "a") == ("kept", 1)


async def test_claims_of_several_steps_and_other_statements_share_a_commit(db: Database) -> None:
    for key in "abcd":
        await _set(db, key)

    async def two_steps(key: str, tx: Writer) -> tuple[bool, bool, int]:
        first = await tx.claim(CLAIM, key, "claimed", 1)
        second = await tx.claim(SECOND_CLAIM, key, "claimed")
        return first, second, await tx.execute("UPDATE runtime_settings SET updated_at = 9 WHERE key = $1", key)

    async def afterwards(tx: Writer) -> bool:
        row = await tx.fetch_one("SELECT value FROM runtime_settings WHERE key = 'd'")
        assert row is not None
        return await tx.claim(CLAIM, "d", "late", 2)

    outcomes = await asyncio.gather(db.write(afterwards), *(db.write(partial(two_steps, key)) for key in "abc"))
    assert outcomes == [True, (True, True, 1), (True, True, 1), (True, True, 1)]
    assert await _value(db, "b") == ("claimed", 9)
    assert await _value(db, "d") == ("late", 2)


async def test_claims_from_two_processes_have_one_winner(postgres_target: str) -> None:
    first = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    second = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    keys = [f"k{n}" for n in range(20)]
    for key in keys:
        await _set(first, key)

    async def claim(db: Database, key: str, name: str) -> bool:
        return await db.write(lambda tx: tx.claim(CLAIM, key, name, 1))

    # In opposite orders, so that the two may also meet in a deadlock.
    outcomes = await asyncio.gather(
        *(claim(first, key, "first") for key in keys), *(claim(second, key, "second") for key in reversed(keys))
    )
    won = list(zip(outcomes[:20], reversed(outcomes[20:]), strict=True))
    assert all(one != other for one, other in won)
    for key, (is_first, _) in zip(keys, won, strict=True):
        assert await _value(first, key) == ("first" if is_first else "second", 1)
    await first.close()
    await second.close()


async def test_reads_at_the_same_moment_each_get_their_own_row(db: Database) -> None:
    for n in range(20):
        await _set(db, f"k{n}")
    wanted = [f"k{n % 25}" for n in range(100)]
    found = await asyncio.gather(*(_key_of(db, key) for key in wanted))
    assert found == [key if int(key[1:]) < 20 else None for key in wanted]


async def _key_of(db: Database, key: str) -> str | None:
    row = await db.fetch_one("SELECT key FROM runtime_settings WHERE key = $1", key)
    return row["key"] if row else None


async def test_on_postgres_a_read_that_cannot_be_asked_fails_alone(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    await _set(db, "good")
    outcomes = await asyncio.gather(
        *(_key_of(db, key) for key in ("good", "b\x00d", "absent", "good")), return_exceptions=True
    )
    assert isinstance(outcomes[1], asyncpg.PostgresError)
    assert [outcomes[0], *outcomes[2:]] == ["good", None, "good"]
    await db.close()


async def test_a_cancelled_reader_does_not_disturb_the_others(db: Database) -> None:
    await _set(db, "a")
    doomed = asyncio.ensure_future(_key_of(db, "a"))
    others = [asyncio.ensure_future(_key_of(db, "a")) for _ in range(5)]
    await asyncio.sleep(0)
    doomed.cancel()
    assert await asyncio.gather(*others) == ["a"] * 5


async def test_a_read_sees_what_was_committed_before_it_was_asked_for(db: Database) -> None:
    await _set(db, "a")

    seen = 0

    async def change_and_read() -> bool:
        nonlocal seen
        await db.write(lambda tx: tx.execute("UPDATE runtime_settings SET updated_at = updated_at + 1 WHERE key = 'a'"))
        own = seen = seen + 1
        found = await _value(db, "a")
        assert found is not None
        return found[1] >= own

    assert all(await asyncio.gather(*(change_and_read() for _ in range(60))))


async def test_postgres_refuses_a_unit_that_awaits_something_else(postgres_target: str) -> None:
    db = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))

    async def sleeps(_tx: Writer) -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError):
        await db.write(sleeps)
    await _set(db, "still served")
    await db.close()


USED = FirstUse(table="dpop_jtis", columns=("jkt", "jti"))


async def test_of_many_first_uses_of_a_key_one_wins(db: Database) -> None:
    async def use(key: str, name: str) -> bool:
        async def unit(tx: Writer) -> bool:
            if not await tx.claim(USED, "key", key, 10, 5):
                return False
            await tx.execute(SETTING, f"{key} {name}", "v")
            return True

        return await db.write(unit)

    wanted = [(key, str(n)) for n in range(40) for key in ("a", "b", "c")]
    outcomes = await asyncio.gather(*(use(key, name) for key, name in wanted))
    won = [f"{key} {name}" for (key, name), outcome in zip(wanted, outcomes, strict=True) if outcome]
    assert sorted(each[0] for each in won) == ["a", "b", "c"]
    # Who lost wrote nothing else.
    assert await _keys(db) == set(won)


async def test_a_key_that_has_expired_is_free_again_for_one(db: Database) -> None:
    assert await db.write(lambda tx: tx.claim(USED, "key", "a", 10, 5))
    assert not await db.write(lambda tx: tx.claim(USED, "key", "a", 20, 10))
    outcomes = await asyncio.gather(*(db.write(lambda tx: tx.claim(USED, "key", "a", 30, 11)) for _ in range(9)))
    assert sorted(outcomes) == [False] * 8 + [True]
    rows = await db.fetch_all("SELECT expires_at FROM dpop_jtis")
    assert [row["expires_at"] for row in rows] == [30]


async def test_the_first_use_that_wins_is_remembered_for_as_long_as_it_asked(db: Database) -> None:
    async def use(key: str, end: int) -> bool:
        return await db.write(lambda tx: tx.claim(USED, "key", key, end, 5))

    # The same keys again and again in one commit, each time with another end: the winner's is the one that counts.
    wanted = [(f"{n % 20:02}", 10 + (n * 37) % 100) for n in range(200)]
    outcomes = await asyncio.gather(*(use(key, end) for key, end in wanted))
    won = {each for each, outcome in zip(wanted, outcomes, strict=True) if outcome}
    rows = await db.fetch_all("SELECT jti, expires_at FROM dpop_jtis")
    assert {(row["jti"], row["expires_at"]) for row in rows} == won
    assert len(won) == 20


async def test_a_first_use_of_a_unit_that_fails_is_free_for_the_next(db: Database) -> None:
    async def fail(tx: Writer) -> bool:
        assert await tx.claim(USED, "key", "a", 10, 5)
        raise LookupError

    with pytest.raises(LookupError):
        await db.write(fail)
    assert await db.write(lambda tx: tx.claim(USED, "key", "a", 10, 5))


async def test_first_uses_from_two_processes_have_one_winner(postgres_target: str) -> None:
    first = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    second = await PostgresDatabase.open(postgres_target, PoolLimits(min_conns=0))
    keys = [f"process {n}" for n in range(20)]

    async def use(db: Database, key: str) -> bool:
        return await db.write(lambda tx: tx.claim(USED, "key", key, 10, 5))

    # In opposite orders, so that the two may also meet in a deadlock.
    outcomes = await asyncio.gather(*(use(first, key) for key in keys), *(use(second, key) for key in reversed(keys)))
    assert all(one != other for one, other in zip(outcomes[:20], reversed(outcomes[20:]), strict=True))
    await first.close()
    await second.close()
