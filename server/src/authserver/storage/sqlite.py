"""The database in one SQLite file, or in memory.

Durable by ``synchronous=FULL``: a caller is answered after the flush of the commit that holds its rows. Correct with
several processes on one file: every write transaction is immediate and waits for its turn.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from authserver.storage.database import Reader, Row, Value, Writer
from authserver.storage.names import Names
from authserver.storage.spans import reading, writing
from authserver.storage.sqlite_connections import (
    BUSY_TIMEOUT_MS,
    FAULTS,
    MEMORY,
    Transaction,
    connect,
    driven,
    native,
    translated,
)
from authserver.storage.sqlite_writing import SqliteWriter, Unit
from authserver.telemetry.metrics import DB_OPERATION_DURATION
from authserver.telemetry.spans import current_span

T = TypeVar("T")
F = TypeVar("F")

_FETCH_ONE: Callable[[sqlite3.Cursor], Row | None] = sqlite3.Cursor.fetchone
_FETCH_ALL: Callable[[sqlite3.Cursor], Sequence[Row]] = sqlite3.Cursor.fetchall
_READS = DB_OPERATION_DURATION.child("rows_read", "sqlite")


class SqliteDatabase:
    """The database in one file (or in memory, for tests and trials)."""

    dialect = "sqlite"

    def __init__(self, path: str, *, wal: bool = True, patience_ms: int = BUSY_TIMEOUT_MS) -> None:
        """Open the file. Needs a running event loop.

        Args:
            path: Where the file is.
            wal: Whether a new file has a write-ahead log.
            patience_ms: How long a transaction waits for another process that writes; the loop never does.

        Raises:
            StorageUnavailable: The file cannot be opened.
        """
        self._path, self._wal = path, wal
        self._writing = connect(path, wal=wal)
        # A database in memory belongs to its connection: it is read and written on the loop, where no two units overlap.
        self._reading = self._writing if path == MEMORY else connect(path, wal=wal)
        self._writer = None if path == MEMORY else SqliteWriter(self._writing, patience_ms=patience_ms)

    @property
    def connection(self) -> sqlite3.Connection:
        """The writing connection; a database in memory is migrated over it."""
        return self._writing

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None. Runs on the loop: a point read takes 5 to 10 microseconds."""
        if current_span() is None:
            return self._read(_FETCH_ONE, sql, args)
        with reading("sqlite"):
            return self._read(_FETCH_ONE, sql, args)

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        """Return all rows."""
        with reading("sqlite"):
            return self._read(_FETCH_ALL, sql, args)

    async def write(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run ``transaction`` and commit; see ``Database.write``."""
        if current_span() is None:
            return await self._begin(transaction)
        with writing("sqlite", transaction):
            return await self._begin(transaction)

    async def survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        """Run a query that reads much, on a connection and in a thread of its own."""
        if self._writer is None:
            return await query(self)
        return await asyncio.to_thread(self._survey, query)

    async def ping(self) -> None:
        """Return when the database answers."""
        self._read(_FETCH_ONE, "SELECT 1", ())

    async def close(self) -> None:
        """Commit what is queued and close the connections."""
        if self._writer is not None:
            await self._writer.stop()
        self._reading.close()
        self._writing.close()

    def _read(self, fetch: Callable[[sqlite3.Cursor], F], sql: str, args: tuple[Value, ...]) -> F:
        started = time.perf_counter()
        statement = native(sql)
        try:
            if self._writer is None or self._writer.is_lent:
                return fetch(self._reading.execute(statement, args))
            try:
                # This connection has in memory what it wrote; where it meets another process, the other one waits.
                return fetch(self._writing.execute(statement, args))
            except sqlite3.OperationalError:
                return fetch(self._reading.execute(statement, args))
        except FAULTS as exc:
            raise translated(exc) from exc
        finally:
            _READS.observe(time.perf_counter() - started)

    def _begin(self, transaction: Callable[[Writer], Awaitable[T]]) -> Awaitable[T]:
        """Give a transaction to whoever runs it; its result is to be awaited."""
        if self._writer is None:
            return self._write_in_memory(transaction)
        unit = Unit(transaction, asyncio.get_running_loop().create_future())
        self._writer.submit(unit)
        return unit.future

    def _survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        connection = connect(self._path, wal=self._wal)
        try:
            return driven(query(Transaction(connection, Names())))
        except sqlite3.Error as exc:
            raise translated(exc) from exc
        finally:
            connection.close()

    async def _write_in_memory(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run on the loop: there is nothing to flush, and the unit never suspends, so no reader sees half of it."""
        self._writing.execute("BEGIN IMMEDIATE")
        tx = Transaction(self._writing, Names())
        try:
            result = await transaction(tx)
            tx.flush()
        except BaseException as exc:
            self._writing.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise translated(exc) from exc
            raise
        self._writing.execute("COMMIT")
        return result
