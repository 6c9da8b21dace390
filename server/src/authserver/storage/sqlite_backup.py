"""Backup and restore of a SQLite database, while it is in use and when it is not.

A backup is one file: a copy of one moment, made by SQLite's backup interface while servers read and write, and checked
before it gets its name. A restore is one transaction on the file that is there: after a crash in its middle that is what
it was. Knows no tables.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from authserver.protocol.operator_errors import Conflict, Invalid
from authserver.storage.database import StorageUnavailable
from authserver.storage.migrate import embedded_migrations, pending
from authserver.storage.sqlite_connections import MEMORY, connect, connect_readonly

MIGRATIONS = "schema_migrations"
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
_IN_USE_MS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a database holds.

    Attributes:
        rows: Table to number of rows, the record of migrations left out.
        schema: The highest migration it has.
        pending: How many migrations of this program it lacks.
    """

    rows: dict[str, int]
    schema: int
    pending: int

    @property
    def total(self) -> int:
        """The rows of all tables."""
        return sum(self.rows.values())


def back_up(path: str, file: str, *, wal: bool, force: bool) -> Contents:
    """Copy the database at ``path`` into a new file, as of one moment; return what is in it.

    Args:
        path: The database, which may be in use.
        file: Where the copy goes; it appears when it is whole and checked.
        wal: How the database is journaled. Without a write-ahead log, writers wait until the copy is made.
        force: Whether a file that is there may be replaced.

    Raises:
        Conflict: ``file`` exists.
        Invalid: There is no database, it is damaged, or the copy would replace it.
        StorageUnavailable: Either file cannot be opened or written.
    """
    _check_source(path)
    target = Path(file)
    if target.exists():
        if target.samefile(path):
            raise Invalid("the backup would replace the database itself")
        if not force:
            raise Conflict(f"{file} exists; --force replaces it")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with _translating(file):
            with contextlib.closing(connect(path, wal=wal)) as source:
                contents = _copy_into(source, str(partial))
            _flush(partial)
            partial.replace(target)
            _flush(target.parent)
    finally:
        _remove(partial)
    return contents


def restore(file: str, path: str, *, wal: bool, force: bool) -> Contents:
    """Put a backup in the place of the database at ``path``; return what is in it.

    Args:
        file: A backup, or any whole SQLite file with our schema; it is not changed.
        path: The database, which nobody may have open.
        wal: How the database is journaled.
        force: Whether a database that holds something may be replaced.

    Raises:
        Conflict: The database holds something, or somebody has it open.
        Invalid: The backup is damaged, or not of this program.
        StorageUnavailable: Either file cannot be opened or written.
    """
    if path == MEMORY:
        raise Invalid("storage.sqlite.path is :memory:, which keeps nothing")
    if not Path(file).is_file():
        raise Invalid(f"there is no file {file}")
    if Path(path).exists() and Path(path).samefile(file):
        raise Invalid("the backup is the database itself")
    with _translating(file), contextlib.closing(connect_readonly(file)) as source:
        contents = inspect(source, file)
        _make_way(path, force=force)
        # Not in WAL mode: a copy into it would have to be of the same page size.
        with contextlib.closing(connect(path, wal=False)) as target:
            source.backup(target)
    with contextlib.closing(connect(path, wal=wal)) as restored, _translating(path):
        inspect(restored, path)
    return contents


def inspect(connection: sqlite3.Connection, name: str) -> Contents:
    """Check a database, from its pages to its migrations, and return what it holds.

    Raises:
        Invalid: It is damaged, has no schema of ours, or one of a newer or another build.
    """
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise Invalid(f"{name} is damaged: {found}")
    dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    if dangling is not None:
        raise Invalid(f"{name} is damaged: a row of {dangling[0]} refers to nothing")
    tables = [row["name"] for row in connection.execute(_TABLES)]
    if MIGRATIONS not in tables:
        raise Invalid(f"{name} is no database of authserver")
    applied = connection.execute(f"SELECT version, checksum FROM {MIGRATIONS}").fetchall()
    recorded = {row["version"]: row["checksum"] for row in applied}
    known = {migration.version for migration in embedded_migrations()}
    if newer := sorted(set(recorded) - known):
        raise Invalid(f"{name} is of a newer version: this program does not know migration {newer[0]:04}")
    lacking = pending(embedded_migrations(), recorded)
    rows = {
        table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        for table in tables
        if table != MIGRATIONS
    }
    return Contents(rows=rows, schema=max(recorded, default=0), pending=len(lacking))


def _check_source(path: str) -> None:
    if path == MEMORY:
        raise Invalid("storage.sqlite.path is :memory:, which keeps nothing")
    if not Path(path).is_file():
        raise Invalid(f"there is no database at {path}")


def _copy_into(source: sqlite3.Connection, file: str) -> Contents:
    """Copy in one step: with several, each commit of another process would begin the copy anew."""
    with contextlib.closing(connect(file, wal=False)) as copy:
        source.backup(copy)
        # The copy says of itself that it has a write-ahead log, as its source does. One file is easier to keep.
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()
        return inspect(copy, file)


def _make_way(path: str, *, force: bool) -> None:
    """See that nobody uses the database, and that it may go; a damaged one is removed.

    Raises:
        Conflict: Somebody has it open, or it holds something and ``force`` is not given.
    """
    if not Path(path).exists():
        return
    try:
        with contextlib.closing(connect_readonly(path)) as readable:
            holds_something = _holds_rows(readable)
        is_damaged = False
    except sqlite3.DatabaseError as exc:
        if isinstance(exc, sqlite3.OperationalError):
            raise
        holds_something = is_damaged = True
    if holds_something and not force:
        state = "a damaged database" if is_damaged else "a database that is not empty"
        raise Conflict(f"{path} is {state}; --force replaces it")
    if is_damaged:
        for suffix in ("", "-wal", "-shm", "-journal"):
            _remove(Path(f"{path}{suffix}"))
        return
    with contextlib.closing(connect(path, wal=True, timeout_ms=_IN_USE_MS)) as target:
        _check_unused(target, path)


def _holds_rows(connection: sqlite3.Connection) -> bool:
    tables = [row["name"] for row in connection.execute(_TABLES) if row["name"] != MIGRATIONS]
    return any(connection.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None for table in tables)


def _check_unused(connection: sqlite3.Connection, path: str) -> None:
    """A write-ahead log is given up only when nobody else has the file open: whoever serves has.

    Raises:
        Conflict: Somebody has it open.
    """
    try:
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except sqlite3.OperationalError:
        mode = "locked"
    if mode != "delete":
        raise Conflict(f"{path} is in use: stop the server first")


@contextlib.contextmanager
def _translating(name: str) -> Iterator[None]:
    """Turn what SQLite and the system say about a file into our refusals."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise StorageUnavailable(f"SQLite cannot work with {name}: {exc}") from exc
    except sqlite3.DatabaseError as exc:
        raise Invalid(f"{name} is damaged or no SQLite database: {exc}") from exc
    except OSError as exc:
        raise StorageUnavailable(f"cannot write {name}: {exc.strerror}") from exc


def _flush(path: Path) -> None:
    """Have the system write a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
