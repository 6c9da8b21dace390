"""Schema migrations: numbered files inside the package, each applied once, under a lock, and verified ever after."""

import hashlib
import importlib.resources
import os
import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authserver.storage.database import StorageUnavailable
from authserver.storage.places import may_make
from authserver.storage.sqlite_connections import connect
from authserver.telemetry.logs import get_logger

if TYPE_CHECKING:
    import asyncpg

_log = get_logger("storage")

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK = 0x41555448504C414E  # "AUTHPLAN": the advisory lock that all instances of ours agree on
_LOCK_SECONDS = 60
_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version    BIGINT NOT NULL PRIMARY KEY,
    file       TEXT   NOT NULL,
    checksum   TEXT   NOT NULL,
    applied_at BIGINT NOT NULL
)"""
_IS_NEW_POSTGRES = "SELECT to_regclass('schema_migrations') IS NULL"
_HAS_TABLE_SQLITE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'"
_RECORDED = "SELECT version, file, checksum FROM schema_migrations"


class MigrationError(Exception):
    """The schema cannot be brought to this program's state; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file.

    Attributes:
        version: Its number.
        checksum: SHA-256 of the file, hexadecimal.
    """

    version: int
    file: str
    text: str
    checksum: str


def embedded_migrations() -> list[Migration]:
    """Return the migrations of this program in the order of their numbers."""
    found = []
    for entry in importlib.resources.files("authserver.storage").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match is None:
            continue
        text = entry.read_text(encoding="utf-8")
        checksum = hashlib.sha256(text.encode("utf-8")).hexdigest()
        found.append(Migration(version=int(match[1]), file=entry.name, text=text, checksum=checksum))
    return sorted(found, key=lambda migration: migration.version)


def pending(migrations: list[Migration], recorded: dict[int, str]) -> list[Migration]:
    """Return what is not yet applied, gaps below the highest number included.

    Args:
        migrations: Those of this program.
        recorded: Version to checksum, as the database has them.

    Raises:
        MigrationError: An applied file is not the one that this program carries.
    """
    for migration in migrations:
        if recorded.get(migration.version, migration.checksum) != migration.checksum:
            raise MigrationError(
                f"migration {migration.file} was applied with other contents; the database belongs to another build"
            )
    return [migration for migration in migrations if migration.version not in recorded]


def pending_sqlite(path: str, *, wal: bool) -> list[Migration]:
    """Return what ``migrate_sqlite`` would apply, and apply nothing; a file that is not there is not made.

    Raises:
        MigrationError: A file differs from the one that was applied.
        StorageUnavailable: The file cannot be opened, or made where it is to be.
    """
    if not os.access(path, os.F_OK) and may_make(path):
        return embedded_migrations()
    # Where it could not be made, the attempt says why.
    connection = connect(path, wal=wal)
    try:
        is_new = connection.execute(_HAS_TABLE_SQLITE).fetchone() is None
        rows = [] if is_new else connection.execute(_RECORDED).fetchall()
    except sqlite3.Error as exc:
        raise StorageUnavailable(f"cannot open the SQLite database: {exc}") from exc
    finally:
        connection.close()
    return pending(embedded_migrations(), {row["version"]: row["checksum"] for row in rows})


async def pending_postgres(dsn: str) -> list[Migration]:
    """Return what ``migrate_postgres`` would apply, and apply nothing.

    Raises:
        MigrationError: A file differs from the one that was applied, or pending ones could not be.
        StorageUnavailable: The server does not answer, or refuses us.
    """
    import asyncpg  # noqa: PLC0415  as above

    connection = await _connect_postgres(dsn)
    try:
        is_new = await connection.fetchval(_IS_NEW_POSTGRES)
        rows = [] if is_new else await connection.fetch(_RECORDED)
        todo = pending(embedded_migrations(), {row["version"]: row["checksum"] for row in rows})
        if todo and not await connection.fetchval("SELECT has_schema_privilege(current_schema(), 'CREATE')"):
            schema = await connection.fetchval("SELECT current_schema()")
            raise MigrationError(f"migration failed: permission denied for schema {schema}")
    except asyncpg.PostgresError as exc:
        raise MigrationError(f"migration failed: {exc}") from exc
    finally:
        await connection.close()
    return todo


def in_dialect(text: str, dialect: str) -> str:
    """Return a migration as one dialect reads it: a comment that starts with its name becomes part of the text."""
    return re.sub(rf"/\*{dialect}\s(.*?)\*/", r"\1", text, flags=re.DOTALL)


def migrate_sqlite(path: str, *, wal: bool, now: int, migrations: list[Migration] | None = None) -> list[Migration]:
    """Apply what is pending to a SQLite file; return what was applied.

    Of several processes at once one applies and the others wait. A migration is applied whole or not at all.

    Raises:
        MigrationError: A file does not apply, or differs from the one that was applied.
        StorageUnavailable: The file cannot be opened, or stays locked.
    """
    connection = connect(path, wal=wal, timeout_ms=_LOCK_SECONDS * 1000)
    try:
        return migrate_connection(connection, now=now, migrations=migrations)
    finally:
        connection.close()


def migrate_connection(
    connection: sqlite3.Connection, *, now: int, migrations: list[Migration] | None = None
) -> list[Migration]:
    """Apply what is pending over an open connection; see ``migrate_sqlite``."""
    try:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TABLE)
        recorded = {row["version"]: row["checksum"] for row in connection.execute(_RECORDED)}
        todo = pending(embedded_migrations() if migrations is None else migrations, recorded)
        for migration in todo:
            for statement in _statements(in_dialect(migration.text, "sqlite")):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                (migration.version, migration.file, migration.checksum, now),
            )
        if todo and connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise MigrationError("a migration left rows that refer to nothing")
        connection.execute("COMMIT")
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise StorageUnavailable("another process keeps the database locked") from exc
        raise MigrationError(f"migration failed: {exc}") from exc
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA foreign_keys = ON")
    _report(todo)
    return todo


async def migrate_postgres(dsn: str, *, now: int, migrations: list[Migration] | None = None) -> list[Migration]:
    """Apply what is pending to a PostgreSQL database; return what was applied. As ``migrate_sqlite``."""
    import asyncpg  # noqa: PLC0415  loaded only where PostgreSQL is used

    connection = await _connect_postgres(dsn)
    try:
        await connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            return await _apply_postgres(connection, now=now, migrations=migrations)
    except asyncpg.LockNotAvailableError as exc:
        raise StorageUnavailable("another process keeps the migration lock") from exc
    except asyncpg.PostgresError as exc:
        raise MigrationError(f"migration failed: {exc}") from exc
    finally:
        await connection.close()


async def _connect_postgres(dsn: str) -> "asyncpg.Connection":
    import asyncpg  # noqa: PLC0415  as above

    try:
        return await asyncpg.connect(dsn, timeout=10)
    except ValueError:
        raise StorageUnavailable(
            "the PostgreSQL DSN is malformed: percent-encode special characters in user and password"
        ) from None
    except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
        raise StorageUnavailable(f"cannot connect to PostgreSQL: {exc}") from exc


async def _apply_postgres(
    connection: "asyncpg.Connection", *, now: int, migrations: list[Migration] | None
) -> list[Migration]:
    # A role that may not create anything serves a database that another one has migrated.
    if await connection.fetchval(_IS_NEW_POSTGRES):
        await connection.execute(_TABLE)
    recorded = {row["version"]: row["checksum"] for row in await connection.fetch(_RECORDED)}
    todo = pending(embedded_migrations() if migrations is None else migrations, recorded)
    for migration in todo:
        await connection.execute(in_dialect(migration.text, "postgres"))
        await connection.execute(
            "INSERT INTO schema_migrations VALUES ($1, $2, $3, $4)",
            migration.version,
            migration.file,
            migration.checksum,
            now,
        )
    _report(todo)
    return todo


def _report(applied: list[Migration]) -> None:
    for migration in applied:
        _log.info("applied migration", version=migration.version, file=migration.file)


def _statements(text: str) -> list[str]:
    """Split a file at the semicolons that end a statement: not at those inside a trigger, or inside a comment."""
    statements = [""]
    for part in re.sub(r"--[^\n]*", "", text).split(";"):
        statements[-1] += f"{part};"
        if sqlite3.complete_statement(statements[-1]):
            statements.append("")
    return [statement for statement in statements if statement.strip(" \n;")]
