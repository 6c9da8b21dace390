"""Moves a SQLite installation to an empty PostgreSQL database: all tables, in one transaction, compared row for row.

Knows no tables: it takes those that the migrations made, which are the same in both. Every row is read back before the
commit, and a checksum over its canonical spelling must be that of the source.
"""

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from authserver.protocol.operator_errors import Conflict, Invalid
from authserver.storage.database import StorageUnavailable
from authserver.storage.migrate import migrate_postgres
from authserver.storage.sqlite_backup import MIGRATIONS, inspect
from authserver.storage.sqlite_connections import connect

if TYPE_CHECKING:
    import asyncpg

_BATCH_ROWS = 2000
_CONNECT_SECONDS = 10
_MODULUS = 2**256
_TABLES = "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() AND tablename <> $1 ORDER BY 1"
_COLUMNS = """SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attidentity <> '' AS is_identity
    FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname"""
_REFERENCES = """SELECT conrelid::regclass::text AS source, confrelid::regclass::text AS target
    FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema()::regnamespace"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedTable:
    """One table after the copy.

    Attributes:
        checksum: Over all rows, whatever their order; 64 hexadecimal digits.
    """

    name: str
    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str
    is_identity: bool


async def copy_database(path: str, dsn: str, *, wal: bool, now: int) -> list[CopiedTable]:
    """Copy a SQLite database into a PostgreSQL database that holds no rows; return what was copied, table by table.

    What is copied is the state of one moment. If somebody writes to the source before the copy is committed, nothing is.

    Args:
        path: The SQLite file.
        dsn: The PostgreSQL database; migrations are applied to it.
        wal: How the SQLite file is journaled.
        now: The time to record for migrations.

    Raises:
        Conflict: The target holds rows, or the source was written to meanwhile.
        Invalid: There is no source, it is damaged or of another version, or a row cannot be stored.
        MigrationError: The target is of another build.
        StorageUnavailable: Either database does not answer.
    """
    import asyncpg  # noqa: PLC0415  loaded only where PostgreSQL is used

    with _opened_source(path, wal=wal) as source:
        await migrate_postgres(dsn, now=now)
        try:
            target = await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
            try:
                async with target.transaction():
                    copied = await _copy_all(source, target)
                await target.execute("ANALYZE")
            finally:
                await target.close()
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as exc:
            raise Invalid(f"a row of the source cannot be stored in PostgreSQL: {exc}") from exc
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            raise StorageUnavailable(f"PostgreSQL does not answer: {type(exc).__name__}") from exc
    return copied


@contextlib.contextmanager
def _opened_source(path: str, *, wal: bool) -> Iterator[sqlite3.Connection]:
    """Open the source and check it."""
    if not Path(path).is_file():
        raise Invalid(f"there is no database at {path}")
    with contextlib.closing(connect(path, wal=wal)) as source:
        try:
            contents = inspect(source, path)
        except sqlite3.DatabaseError as exc:
            raise Invalid(f"{path} is damaged or no SQLite database: {exc}") from exc
        if contents.pending:
            raise Invalid(f"{path} lacks {contents.pending} migrations: run authserver migrate on it first")
        yield source


async def _copy_all(source: sqlite3.Connection, target: "asyncpg.Connection[Any]") -> list[CopiedTable]:
    seen = _version(source)
    names = [row["name"] for row in await target.fetch(_TABLES, MIGRATIONS)]
    await target.execute(f"SET LOCAL lock_timeout = '{_CONNECT_SECONDS}s'")
    await target.execute(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
    for name in names:
        if await target.fetchval(f"SELECT 1 FROM {name} LIMIT 1"):
            raise Conflict(f"the PostgreSQL database is not empty: {name} has rows")
    source.execute("BEGIN")
    try:
        _check_tables(source, names)
        ordered = in_order(names, [tuple(row) for row in await target.fetch(_REFERENCES)])
        copied = [await _copy_table(source, target, name) for name in ordered]
    finally:
        source.execute("ROLLBACK")
    if _version(source) != seen:
        raise Conflict("somebody wrote to the SQLite database meanwhile: stop the server and copy again")
    return copied


def _version(source: sqlite3.Connection) -> int:
    """Return a number that changes with every commit of somebody else."""
    return int(source.execute("PRAGMA data_version").fetchone()[0])


def _check_tables(source: sqlite3.Connection, names: Sequence[str]) -> None:
    """Check that both databases have the same tables: one that is forgotten would be lost."""
    rows = source.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    differing = {row["name"] for row in rows}.symmetric_difference({*names, MIGRATIONS})
    if differing:
        raise Invalid(f"only one of the two databases has {', '.join(sorted(differing))}")


def in_order(names: Iterable[str], references: Iterable[tuple[str, str]]) -> list[str]:
    """Return tables so that each comes after those that it refers to.

    Raises:
        ValueError: They refer to one another in a ring.
    """
    waiting = {name: {target for source, target in references if source == name and target != name} for name in names}
    ordered: list[str] = []
    while waiting:
        ready = sorted(name for name, needed in waiting.items() if needed <= set(ordered))
        if not ready:
            raise ValueError(f"tables refer to one another: {', '.join(sorted(waiting))}")
        ordered += ready
        waiting = {name: needed for name, needed in waiting.items() if name not in ready}
    return ordered


async def _copy_table(source: sqlite3.Connection, target: "asyncpg.Connection[Any]", name: str) -> CopiedTable:
    """Copy the rows of one table, set what numbers its next ones, and compare both sides."""
    columns = [_Column(**row) for row in await target.fetch(_COLUMNS, name)]
    listed = ", ".join(column.name for column in columns)
    cursor = source.execute(f"SELECT {listed} FROM {name}")
    sent = Checksum()
    # What a trigger would change arrives as it is, too.
    await target.execute(f"ALTER TABLE {name} DISABLE TRIGGER USER")
    while rows := await asyncio.to_thread(lambda: [_converted(row, columns) for row in islice(cursor, _BATCH_ROWS)]):
        sent.add_all(rows)
        await target.copy_records_to_table(name, records=rows, columns=[column.name for column in columns])
    await target.execute(f"ALTER TABLE {name} ENABLE TRIGGER USER")
    for column in columns:
        if column.is_identity:
            await target.execute(
                f"SELECT setval(pg_get_serial_sequence('{name}', '{column.name}'),"
                f" coalesce(max({column.name}), 0) + 1, false) FROM {name}"
            )
    stored = Checksum()
    async for batch in _batches(target, f"SELECT {listed} FROM {name}"):
        stored.add_all(batch)
    if sent != stored:
        raise Invalid(
            f"table {name} is not the same in both: {sent.rows} rows, checksum {sent.spelled},"
            f" became {stored.rows} rows, checksum {stored.spelled}"
        )
    return CopiedTable(name=name, rows=stored.rows, checksum=stored.spelled)


async def _batches(target: "asyncpg.Connection[Any]", sql: str) -> AsyncIterator[list[tuple[object, ...]]]:
    cursor = await target.cursor(sql)
    while rows := await cursor.fetch(_BATCH_ROWS):
        yield [tuple(row) for row in rows]


def _converted(row: Sequence[object], columns: Sequence[_Column]) -> tuple[object, ...]:
    """Return a row of SQLite as PostgreSQL has it: there, a boolean is no number."""
    return tuple(
        bool(value) if column.type == "boolean" and value is not None else value
        for value, column in zip(row, columns, strict=True)
    )


@dataclass(slots=True)
class Checksum:
    """The number of rows, and the sum of their hashes: the order of rows does not matter, how often each is there does."""

    rows: int = 0
    total: int = 0

    def add_all(self, rows: Iterable[Sequence[object]]) -> None:
        """Add rows, the columns of each in the same order."""
        for row in rows:
            digest = hashlib.sha256(b"".join(_spelled(row))).digest()
            self.total = (self.total + int.from_bytes(digest, "big")) % _MODULUS
            self.rows += 1

    @property
    def spelled(self) -> str:
        """The sum in hexadecimal."""
        return f"{self.total:064x}"


def _spelled(row: Sequence[object]) -> Iterator[bytes]:
    """Yield the values of a row so that no two rows are spelled alike: type, length, bytes."""
    for value in row:
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        yield f"{type(value).__name__}:{len(data)}:".encode("ascii")
        yield data
