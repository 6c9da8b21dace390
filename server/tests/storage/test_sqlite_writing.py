"""The event loop runs statements and waits for nobody: neither for the disk, nor for another process, nor for long work."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authserver.storage.database import StorageUnavailable, Writer
from authserver.storage.sqlite import SqliteDatabase
from authserver.storage.sqlite_writing import Unit
from authserver.telemetry.metrics import scrape

pytestmark = pytest.mark.anyio

SETTING = "INSERT INTO runtime_settings (key, value, updated_at) VALUES ($1, 'v', 0)"
MANY_STEPS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) AS rows FROM n"
)


@pytest.fixture
async def db(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    path = tmp_path / "own.db"
    path.write_bytes(sqlite_template.read_bytes())  # noqa: ASYNC240  a test may block
    db = SqliteDatabase(str(path))
    yield db
    await db.close()


class Traced:
    """A unit that inserts a row, and remembers which threads ran it."""

    def __init__(self, key: str, before: Callable[[Writer], Awaitable[object]] | None = None) -> None:
        self.key = key
        self.threads: list[int] = []
        self._before = before

    async def __call__(self, tx: Writer) -> str:
        self.threads.append(threading.get_ident())
        if self._before is not None:
            await self._before(tx)
        await tx.execute(SETTING, self.key)
        return self.key


async def keys_of(db: SqliteDatabase) -> set[str]:
    return {row["key"] for row in await db.fetch_all("SELECT key FROM runtime_settings")}


def commits() -> float:
    name = 'authserver_db_operation_duration_seconds_count{operation="units_commit",store="sqlite"} '
    return sum(float(line.removeprefix(name)) for line in scrape().decode().splitlines() if line.startswith(name))


@contextmanager
def held_commits(db: SqliteDatabase) -> Iterator[asyncio.Event]:
    """Hold each commit before its first page is written; yield what tells that one is held."""
    loop, held, released = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(statement: str) -> None:
        if statement == "COMMIT":
            loop.call_soon_threadsafe(held.set)
            released.wait(10)

    db.connection.set_trace_callback(hold)
    try:
        yield held
    finally:
        released.set()


async def test_statements_run_on_the_loop_and_what_gathers_during_a_commit_shares_the_next(db: SqliteDatabase) -> None:
    before, unit, others = commits(), Traced("first"), [Traced(str(n)) for n in range(5)]
    with held_commits(db) as held:
        first = asyncio.create_task(db.write(unit))
        await asyncio.wait_for(held.wait(), 5)
        rest = [asyncio.create_task(db.write(other)) for other in others]
        # The loop goes on, and what is not committed is neither read nor answered.
        assert await keys_of(db) == set()
        assert not first.done()
    assert await asyncio.gather(first, *rest) == ["first", *"01234"]
    assert await keys_of(db) == {"first", *"01234"}
    assert commits() == before + 2
    assert {ident for each in (unit, *others) for ident in each.threads} == {threading.get_ident()}


async def test_a_file_that_another_process_writes_to_stops_neither_the_loop_nor_the_write(
    db: SqliteDatabase, tmp_path: Path
) -> None:
    other, unit = SqliteDatabase(str(tmp_path / "own.db")), Traced("a")
    other.connection.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(db.write(unit))
    # Only this loop can let the file go: a loop that waited for it would wait in vain.
    assert await keys_of(db) == set()
    other.connection.execute("ROLLBACK")
    assert await writing == "a"
    assert await keys_of(other) == {"a"}
    await other.close()


async def test_a_unit_that_takes_long_moves_to_the_thread_with_those_of_its_commit(db: SqliteDatabase) -> None:
    async def count(tx: Writer) -> None:
        row = await tx.fetch_one(MANY_STEPS)
        assert row is not None
        assert row["rows"] == 3_000_000

    early, long, late = Traced("early"), Traced("long", before=count), Traced("late")
    assert await asyncio.gather(*(db.write(unit) for unit in (early, long, late))) == ["early", "long", "late"]
    assert await keys_of(db) == {"early", "long", "late"}
    own = threading.get_ident()
    assert len(long.threads) == 2
    assert long.threads[0] == own != long.threads[1]
    assert late.threads == [long.threads[1]]


async def test_units_for_which_the_loop_has_no_time_wait_for_the_next_commit(db: SqliteDatabase) -> None:
    async def spin(_tx: Writer) -> None:
        until = time.thread_time() + 0.011
        while time.thread_time() < until:
            pass

    before, units = commits(), [Traced(str(n), before=spin) for n in range(6)]
    assert await asyncio.gather(*(db.write(unit) for unit in units)) == list("012345")
    assert commits() == before + 6


async def test_when_all_that_waited_is_refused_the_file_is_left_to_others(db: SqliteDatabase, tmp_path: Path) -> None:
    assert db._writer is not None
    late = Unit(Traced("late"), asyncio.get_running_loop().create_future())
    late.queued_at -= 6
    db._writer.submit(late)
    with pytest.raises(StorageUnavailable, match="slow"):
        await late.future
    other = SqliteDatabase(str(tmp_path / "own.db"), patience_ms=0)
    assert await other.write(Traced("other")) == "other"
    assert await db.write(Traced("next")) == "next"
    assert await keys_of(db) == {"other", "next"}
    await other.close()


async def test_a_failed_commit_is_answered_and_undone_and_the_next_is_not(db: SqliteDatabase) -> None:
    db.connection.execute("PRAGMA foreign_keys = OFF")
    db.connection.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    db.connection.execute("CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
    db.connection.execute("PRAGMA foreign_keys = ON")

    async def orphan(tx: Writer) -> None:
        await tx.execute("INSERT INTO children VALUES (1)")

    # All statements succeed; what is wrong with one shows at the commit that they share.
    alone, good = Traced("a", before=orphan), [Traced("b"), Traced("c")]
    outcomes = await asyncio.gather(*(db.write(unit) for unit in (good[0], alone, good[1])), return_exceptions=True)
    assert [outcomes[0], outcomes[2]] == ["b", "c"]
    assert isinstance(outcomes[1], Exception)
    assert await keys_of(db) == {"b", "c"}
    assert await db.write(Traced("d")) == "d"


WITHOUT_MEMORY = """
import asyncio, sqlite3, sys
from authserver.storage.database import StorageUnavailable
from authserver.storage.sqlite import SqliteDatabase

async def main():
    db = SqliteDatabase(sys.argv[1])
    async def write(tx):
        await tx.execute("INSERT INTO runtime_settings (key, value, updated_at) VALUES ('a', 'v', 0)")
    try:
        # Of the whole process, and for good: SQLite gets no more memory.
        db.connection.execute("PRAGMA hard_heap_limit = 1")
    except MemoryError:
        pass
    for work in (db.write(write), db.write(write), db.fetch_one("SELECT key FROM runtime_settings")):
        try:
            await asyncio.wait_for(work, 10)
        except StorageUnavailable as exc:
            print(exc)
    await db.close()

asyncio.run(main())
"""


async def test_a_process_without_memory_refuses_and_goes_on(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    path.write_bytes(sqlite_template.read_bytes())  # noqa: ASYNC240  a test may block
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WITHOUT_MEMORY, str(path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert output.decode().splitlines() == ["SQLite does not answer: no memory"] * 3
    assert process.returncode == 0


async def test_closing_commits_what_waits_and_refuses_what_comes_later(db: SqliteDatabase, tmp_path: Path) -> None:
    with held_commits(db) as held:
        first = asyncio.create_task(db.write(Traced("first")))
        await asyncio.wait_for(held.wait(), 5)
        second = asyncio.create_task(db.write(Traced("second")))
        await asyncio.sleep(0)
        closing = asyncio.create_task(db.close())
        await asyncio.sleep(0)
        with pytest.raises(StorageUnavailable):
            await db.write(Traced("late"))
    await closing
    assert (await first, await second) == ("first", "second")
    again = SqliteDatabase(str(tmp_path / "own.db"))
    assert await keys_of(again) == {"first", "second"}
    await again.close()


async def test_without_a_log_the_thread_runs_the_statements_since_a_commit_waits_for_readers(tmp_path: Path) -> None:
    db, unit = SqliteDatabase(str(tmp_path / "plain.db"), wal=False), Traced("a")
    db.connection.execute("CREATE TABLE runtime_settings (key TEXT PRIMARY KEY, value TEXT, updated_at BIGINT)")
    assert await db.write(unit) == "a"
    assert threading.get_ident() not in unit.threads
    assert await keys_of(db) == {"a"}
    await db.close()


async def test_a_read_that_meets_another_process_waits_for_it(tmp_path: Path) -> None:
    path = str(tmp_path / "plain.db")
    db, other = SqliteDatabase(path, wal=False), SqliteDatabase(path, wal=False)
    db.connection.execute("CREATE TABLE runtime_settings (key TEXT PRIMARY KEY, value TEXT, updated_at BIGINT)")
    db._reading.execute("SELECT key FROM runtime_settings").fetchall()
    asked = threading.Event()

    def let_go() -> None:
        asked.wait(10)
        other.connection.execute("ROLLBACK")

    other.connection.execute("BEGIN EXCLUSIVE")
    db._reading.set_trace_callback(lambda _: asked.set())
    thread = threading.Thread(target=let_go)
    thread.start()
    assert await keys_of(db) == set()
    thread.join()
    await db.close()
    await other.close()
