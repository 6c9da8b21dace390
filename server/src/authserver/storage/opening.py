"""Opens the database that the configuration names."""

from authserver.config.model import StorageConfig
from authserver.storage.database import Database
from authserver.storage.migrate import (
    Migration,
    embedded_migrations,
    migrate_connection,
    migrate_postgres,
    migrate_sqlite,
    pending_postgres,
    pending_sqlite,
)
from authserver.storage.sqlite import SqliteDatabase
from authserver.storage.sqlite_connections import MEMORY


async def open_database(config: StorageConfig, *, migrate_at: int | None = None) -> Database:
    """Open the configured database.

    Args:
        config: The section ``storage``.
        migrate_at: The time to record for pending migrations, which are then applied first; None leaves the schema alone.

    Raises:
        MigrationError: A migration does not apply.
        StorageUnavailable: The database cannot be opened.
    """
    if migrate_at is not None and not _is_in_memory(config):
        await migrate(config, now=migrate_at)
    if config.driver == "postgres":
        from authserver.storage.postgres import PoolLimits, PostgresDatabase  # noqa: PLC0415  loaded only where used

        limits = PoolLimits(
            max_conns=config.postgres.max_conns,
            min_conns=config.postgres.min_conns,
            max_conn_lifetime=config.postgres.max_conn_lifetime,
            max_conn_idle_time=config.postgres.max_conn_idle_time,
        )
        return await PostgresDatabase.open(config.postgres.dsn.reveal(), limits)
    db = SqliteDatabase(config.sqlite.path, wal=config.sqlite.wal)
    if _is_in_memory(config):
        migrate_connection(db.connection, now=migrate_at or 0)
    return db


async def migrate(config: StorageConfig, *, now: int) -> list[Migration]:
    """Apply the pending migrations to the configured database; return them.

    Raises:
        MigrationError: One does not apply.
        StorageUnavailable: The database cannot be opened.
    """
    if config.driver == "postgres":
        return await migrate_postgres(config.postgres.dsn.reveal(), now=now)
    return migrate_sqlite(config.sqlite.path, wal=config.sqlite.wal, now=now)


async def pending_migrations(config: StorageConfig) -> list[Migration]:
    """Return what ``migrate`` would apply to the configured database; a SQLite file that is not there is not made.

    Raises:
        MigrationError: One would not apply.
        StorageUnavailable: The database cannot be opened.
    """
    if config.driver == "postgres":
        return await pending_postgres(config.postgres.dsn.reveal())
    if _is_in_memory(config):
        return embedded_migrations()
    return pending_sqlite(config.sqlite.path, wal=config.sqlite.wal)


def _is_in_memory(config: StorageConfig) -> bool:
    return config.driver != "postgres" and config.sqlite.path == MEMORY
