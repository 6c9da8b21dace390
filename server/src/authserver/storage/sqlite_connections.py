"""SQLite connections, and what runs on one: statements, transactions, and our exceptions for SQLite's."""

import contextlib
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Awaitable, Generator, Sequence
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, cast
from urllib.parse import quote

from authserver.storage.database import (
    Append,
    Claim,
    FirstUse,
    ReferenceViolation,
    Row,
    StorageUnavailable,
    UniqueViolation,
    Value,
)
from authserver.storage.names import Names

T = TypeVar("T")

MEMORY = ":memory:"

BUSY_TIMEOUT_MS = 5000
FAULTS = (sqlite3.Error, MemoryError)
"""What a statement may raise through no fault of the code; SQLite's want of memory has no exception of its own."""
_CACHED_STATEMENTS = 256
_FIND_NUMBER = "SELECT number FROM names WHERE name = ?"
_MAKE_NUMBER = "INSERT INTO names (name) VALUES (?) RETURNING number"
_PLACEHOLDER = re.compile(r"\$(\d+)")

# Bytes and None are bound as they are. Unless it is told so, the driver looks for two attributes that such a value does not
# have, each time one is bound; a token's rows have a dozen. A dictionary's `get` is a function of C that returns None for None.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(NoneType, {None: None}.get)


@lru_cache(maxsize=1024)
def native(sql: str) -> str:
    """Return a statement with SQLite's spelling of numbered placeholders; statements are constants of modules."""
    return _PLACEHOLDER.sub(r"?\1", sql)


def connect(path: str, *, wal: bool, timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
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


def connect_readonly(path: str) -> sqlite3.Connection:
    """Open a file that is there, for reading; nothing of it changes, not even how it is journaled.

    Raises:
        StorageUnavailable: The file cannot be opened.
    """
    try:
        connection = sqlite3.connect(  # noqa: TID251  this is the one place
            f"file:{quote(str(Path(path).absolute()))}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as exc:
        raise StorageUnavailable(f"cannot open {path}: {exc}") from exc
    connection.row_factory = sqlite3.Row
    return connection


class Locked(StorageUnavailable):
    """Another process kept the file to itself for too long."""


def translated(exc: Exception) -> Exception:
    """Return our exception for one of SQLite's, or the same one when it is a fault of ours."""
    if isinstance(exc, sqlite3.IntegrityError):
        if exc.sqlite_errorname in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
            return UniqueViolation(str(exc))
        if exc.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
            return ReferenceViolation(str(exc))
        return exc
    if isinstance(exc, sqlite3.ProgrammingError) and "closed" in str(exc):
        return StorageUnavailable("the SQLite database is closed")
    if isinstance(exc, MemoryError):
        return StorageUnavailable("SQLite does not answer: no memory")
    name = getattr(exc, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Locked(f"SQLite does not answer: {name}")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return StorageUnavailable(f"SQLite does not answer: {name}")
    return exc


class Transaction:
    """A ``Writer`` whose statements run at once: its coroutines never wait, so that whoever has the connection can drive them.

    Rows that are appended are kept until ``flush``, which whoever commits calls before.
    """

    __slots__ = ("_appended", "_connection", "_cursor", "_names")

    def __init__(self, connection: sqlite3.Connection, names: Names) -> None:
        self._connection = connection
        # For what gives no rows back, one statement after the other; a read has its own, which goes with its last row.
        self._cursor = connection.cursor()
        self._names = names
        self._appended: defaultdict[Append, list[Sequence[Value]]] = defaultdict(list)

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self._connection.execute(native(sql), args).fetchone()
        return row

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        """Return all rows."""
        return self._connection.execute(native(sql), args).fetchall()

    async def hold(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None: transactions come one after the other, so nobody changes it meanwhile."""
        return await self.fetch_one(sql, *args)

    async def execute(self, sql: str, *args: Value) -> int:
        """Run a statement for its effect; return the number of rows it touched."""
        return self._cursor.execute(native(sql), args).rowcount

    async def claim(self, claim: Claim | FirstUse, *values: Value) -> bool:
        """Update a row if its condition holds, or insert one if its key is new."""
        return self._cursor.execute(native(claim.statement), values).rowcount == 1

    async def append(self, append: Append, *values: Value) -> None:
        """Append one row."""
        self._appended[append].append(values)

    async def number_of(self, name: str) -> int:
        """Return the number that stands for a text."""
        return self._names.get(name) or self._number(name)

    async def settle(self, append: Append) -> None:
        """Write the rows appended to a table by now."""
        if append in self._appended:
            self.flush()

    def flush(self) -> None:
        """Write what was appended: one statement a table, which is bound anew for each row."""
        for append, rows in self._appended.items():
            if append.named_at:
                rows[:] = [self._numbered(append, row) for row in rows]
            self._cursor.executemany(append.statement, rows)
        self._appended.clear()

    def forget(self) -> None:
        """Drop what was appended to a transaction that is undone."""
        self._appended.clear()

    def _numbered(self, append: Append, values: Sequence[Value]) -> Sequence[Value]:
        row: list[Any] = [*values]
        for place in append.named_at:
            name = row[place]
            if name is not None:
                row[place] = self._names.get(name) or self._number(name)
        return row

    def _number(self, name: str) -> int:
        """Look a number up, or make it."""
        row = self._connection.execute(_FIND_NUMBER, (name,)).fetchone()
        if row is None:
            row = self._connection.execute(_MAKE_NUMBER, (name,)).fetchone()
        number: int = row[0]
        self._names.put(name, number)
        return number


def driven(work: Awaitable[T]) -> T:
    """Drive a coroutine to its end. It awaits nothing but statements, which never suspend."""
    step = cast("Generator[None, None, T]", work.__await__())
    try:
        step.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    step.close()
    raise AssertionError("a transaction awaited something other than its statements")
