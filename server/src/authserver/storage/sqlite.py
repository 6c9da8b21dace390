"""SQLite: one writer thread that commits many callers together, and a connection of the event loop for reading.

Durable by ``synchronous=FULL``: a caller is answered after the flush of the commit that holds its rows. Correct with
several processes on one file: every write transaction is immediate and waits for its turn.
"""

import asyncio
import contextlib
import os
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from authserver.storage.database import (
    Append,
    Claim,
    FirstUse,
    Reader,
    ReferenceViolation,
    Row,
    StorageUnavailable,
    UniqueViolation,
    Value,
    Writer,
)
from authserver.telemetry.metrics import DB_OPERATION_DURATION

T = TypeVar("T")

MEMORY = ":memory:"

_BUSY_TIMEOUT_MS = 5000
_QUEUE_UNITS = 4096
# Longer than a disk stalls on a busy machine; what waits longer is refused, so that a queue never grows old.
_QUEUE_SECONDS = 5.0
_BATCH_UNITS = 256
_CACHED_STATEMENTS = 256
_READS = DB_OPERATION_DURATION.child("rows_read", "sqlite")
_COMMITS = DB_OPERATION_DURATION.child("units_commit", "sqlite")
_PLACEHOLDER = re.compile(r"\$(\d+)")


@lru_cache(maxsize=1024)
def _native(sql: str) -> str:
    """Return a statement with SQLite's spelling of numbered placeholders; statements are constants of modules."""
    return _PLACEHOLDER.sub(r"?\1", sql)


@lru_cache(maxsize=256)
def _insert(append: Append) -> str:
    marks = ", ".join("?" * len(append.columns))
    return f"INSERT INTO {append.table} ({append.names}) VALUES ({marks})"


@lru_cache(maxsize=256)
def _update(claim: Claim | FirstUse) -> str:
    return _native(claim.statement)


def connect(path: str, *, wal: bool, timeout_ms: int = _BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """Open a connection with the settings that every one of ours has; the directory is made when missing (mode 0750).

    Raises:
        StorageUnavailable: The file cannot be opened.
    """
    try:
        if path != MEMORY:
            Path(path).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            # SQLite gives its side files the mode of the file. Only a new file may be opened here: closing a descriptor of
            # one that SQLite has open would drop the locks of this process (POSIX), and another could lose our commits.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(  # noqa: TID251  this is the one place
            path,
            timeout=timeout_ms / 1000,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except (sqlite3.Error, OSError) as exc:
        raise StorageUnavailable(f"cannot open the SQLite database: {exc}") from exc
    return connection


class _Locked(StorageUnavailable):
    """Another process kept the file to itself for too long."""


def _translated(exc: sqlite3.Error) -> Exception:
    """Return our exception for one of SQLite's, or the same one when it is a fault of ours."""
    if isinstance(exc, sqlite3.IntegrityError):
        if exc.sqlite_errorname in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
            return UniqueViolation(str(exc))
        if exc.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
            return ReferenceViolation(str(exc))
        return exc
    if isinstance(exc, sqlite3.ProgrammingError) and "closed" in str(exc):
        return StorageUnavailable("the SQLite database is closed")
    name = getattr(exc, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _Locked(f"SQLite does not answer: {name}")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return StorageUnavailable(f"SQLite does not answer: {name}")
    return exc


class _Transaction:
    """A ``Writer`` whose statements run at once: its coroutines never wait, so the writer thread can drive them."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        cursor = self._connection.execute(_native(sql), args)
        rows = cursor.fetchall()
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        return self._connection.execute(_native(sql), args).fetchall()

    async def execute(self, sql: str, *args: Value) -> int:
        return self._connection.execute(_native(sql), args).rowcount

    async def claim(self, claim: Claim | FirstUse, *values: Value) -> bool:
        return self._connection.execute(_update(claim), values).rowcount == 1

    async def append(self, append: Append, *values: Value) -> None:
        self._connection.execute(_insert(append), values)

    async def settle(self, append: Append) -> None:
        """Do nothing: appended rows are written at once."""


def _driven(work: Awaitable[T]) -> T:
    """Drive a coroutine to its end. It awaits nothing but statements, which never suspend."""
    step = cast("Generator[None, None, T]", work.__await__())
    try:
        step.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    step.close()
    raise AssertionError("a transaction awaited something other than its statements")


class _Unit:
    """One caller's transaction: waiting, then run, then answered."""

    __slots__ = ("error", "future", "queued_at", "result", "transaction")

    def __init__(self, transaction: Callable[[Writer], Awaitable[Any]], future: asyncio.Future[Any]) -> None:
        self.transaction = transaction
        self.future = future
        self.queued_at = time.monotonic()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, tx: Writer) -> None:
        """Run the transaction, for the result that its caller gets."""
        self.result, self.error = None, None
        self.result = _driven(self.transaction(tx))

    def settle(self) -> None:
        """Answer the caller. Runs on the event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _WriterThread:
    """Runs the queued transactions: all that wait share one commit; one that fails is undone alone."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._tx: Writer = _Transaction(connection)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: _Unit) -> None:
        """Queue a unit.

        Raises:
            StorageUnavailable: The queue is full, or the database was closed.
        """
        if self._stopped or self._queue.qsize() >= _QUEUE_UNITS:
            raise StorageUnavailable("the write queue is full or closed")
        self._queue.put(unit)

    async def stop(self) -> None:
        """Commit what is queued and end the thread."""
        self._stopped = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            unit = self._queue.get()
            if unit is None:
                return
            units = [unit]
            with contextlib.suppress(queue.Empty):
                while len(units) < _BATCH_UNITS:
                    following = self._queue.get_nowait()
                    if following is None:
                        stopping = True
                        break
                    units.append(following)
            self._commit_together(_refuse_late(units))
            # The loop is gone when a caller was cut off by a shutdown: nobody waits for the answer then.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, units)

    def _commit_together(self, units: list[_Unit]) -> None:
        error = self._commit(units) if units else None
        if error is None:
            return
        if len(units) == 1 or isinstance(error, _Locked):
            # Another process holds the file: each alone would wait as long again.
            for unit in units:
                unit.result, unit.error = None, error
            return
        # One of them may be to blame (a full disk, a too large row): each gets a commit of its own.
        for unit in units:
            error = self._commit([unit])
            if error is not None:
                unit.error = error

    def _commit(self, units: list[_Unit]) -> Exception | None:
        started = time.perf_counter()
        error = self._try_commit(units)
        _COMMITS.observe(time.perf_counter() - started)
        return error

    def _try_commit(self, units: list[_Unit]) -> Exception | None:
        """Run units in one transaction; return why nothing of it was kept, or None."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if not self._run_plainly(units):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._connection.execute("BEGIN IMMEDIATE")
                for unit in units:
                    self._run_apart(unit)
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            return _translated(exc)
        return None

    def _run_plainly(self, units: list[_Unit]) -> bool:
        """Run units one after the other; False when one failed: then all must be undone, and run apart.

        Failing is rare, and a savepoint around every unit costs as much as two more rows.
        """
        try:
            for unit in units:
                unit.run(self._tx)
        except Exception:  # noqa: BLE001  it is looked at when the unit fails again
            return False
        return True

    def _run_apart(self, unit: _Unit) -> None:
        """Run one unit so that its failure leaves its neighbours' work alone."""
        self._connection.execute("SAVEPOINT unit")
        try:
            unit.run(self._tx)
        except Exception as exc:
            unit.error = _translated(exc) if isinstance(exc, sqlite3.Error) else exc
            if not self._connection.in_transaction:
                # SQLite itself gave the whole transaction up (disk full, I/O error).
                raise exc if isinstance(exc, sqlite3.Error) else sqlite3.OperationalError(str(exc)) from exc
            self._connection.execute("ROLLBACK TO unit")
        self._connection.execute("RELEASE unit")


def _refuse_late(units: list[_Unit]) -> list[_Unit]:
    """Return the units to run; one that waited too long is refused instead of served late."""
    oldest = time.monotonic() - _QUEUE_SECONDS
    for unit in units:
        if unit.queued_at < oldest:
            unit.error = StorageUnavailable("the write queue is slow")
    return [unit for unit in units if unit.error is None]


def _settle(units: list[_Unit]) -> None:
    for unit in units:
        unit.settle()


class SqliteDatabase:
    """The database in one file (or in memory, for tests and trials)."""

    dialect = "sqlite"

    def __init__(self, path: str, *, wal: bool = True) -> None:
        """Open the file. Needs a running event loop.

        Raises:
            StorageUnavailable: The file cannot be opened.
        """
        self._path, self._wal = path, wal
        self._writing = connect(path, wal=wal)
        # A database in memory belongs to its connection: it is read and written on the loop, where no two units overlap.
        self._reading = self._writing if path == MEMORY else connect(path, wal=wal)
        self._writer = None if path == MEMORY else _WriterThread(self._writing, asyncio.get_running_loop())

    @property
    def connection(self) -> sqlite3.Connection:
        """The writing connection; a database in memory is migrated over it."""
        return self._writing

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None. Runs on the loop: a point read takes 5 to 10 microseconds."""
        rows = self._read(sql, args)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        """Return all rows."""
        return self._read(sql, args)

    async def write(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run ``transaction`` and commit; see ``Database.write``."""
        if self._writer is None:
            return await self._write_in_memory(transaction)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(_Unit(transaction, future))
        return await future

    async def survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        """Run a query that reads much, on a connection and in a thread of its own."""
        if self._writer is None:
            return await query(self)
        return await asyncio.to_thread(self._survey, query)

    async def ping(self) -> None:
        """Return when the database answers."""
        self._read("SELECT 1", ())

    async def close(self) -> None:
        """Commit what is queued and close the connections."""
        if self._writer is not None:
            await self._writer.stop()
        self._reading.close()
        self._writing.close()

    def _read(self, sql: str, args: tuple[Value, ...]) -> list[Any]:
        started = time.perf_counter()
        try:
            return self._reading.execute(_native(sql), args).fetchall()
        except sqlite3.Error as exc:
            raise _translated(exc) from exc
        finally:
            _READS.observe(time.perf_counter() - started)

    def _survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        connection = connect(self._path, wal=self._wal)
        try:
            return _driven(query(_Transaction(connection)))
        except sqlite3.Error as exc:
            raise _translated(exc) from exc
        finally:
            connection.close()

    async def _write_in_memory(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run on the loop: there is nothing to flush, and the unit never suspends, so no reader sees half of it."""
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            result = await transaction(_Transaction(self._writing))
        except BaseException as exc:
            self._writing.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise _translated(exc) from exc
            raise
        self._writing.execute("COMMIT")
        return result
