"""Looks into the database of an installation while its server runs, and gets in its way where a test needs that."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import asyncpg

Rows = Sequence[tuple[Any, ...]]

# A writer inside this trigger has run its statements and not committed, for as long as the count lasts: minutes.
_ENDLESS = (
    "CREATE TRIGGER endless BEFORE INSERT ON audit_rows BEGIN SELECT count(*) FROM ("
    "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT x FROM n); END"
)


class Inspection:
    """Asks the database.

    Args:
        environment: Of the installation; it names the database.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.is_sqlite = environment["AUTHPLANE_STORAGE_DRIVER"] == "sqlite"
        self.path = environment.get("AUTHPLANE_STORAGE_SQLITE_PATH", "")
        self.dsn = environment.get("AUTHPLANE_STORAGE_POSTGRES_DSN", "")

    async def rows(self, *statements: str) -> list[Rows]:
        """Return the rows of several queries, all of one moment."""
        if self.is_sqlite:
            with closing(self._open()) as connection:
                connection.execute("BEGIN")
                return [connection.execute(statement).fetchall() for statement in statements]
        connection = await asyncpg.connect(self.dsn)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                return [[tuple(row) for row in await connection.fetch(statement)] for statement in statements]
        finally:
            await connection.close()

    async def damage(self) -> list[str]:
        """Return what the database itself finds wrong with its file."""
        if not self.is_sqlite:
            return []
        found, dangling = await self.rows("PRAGMA integrity_check", "PRAGMA foreign_key_check")
        return [str(row) for row in [*found, *dangling] if row != ("ok",)]

    @asynccontextmanager
    async def holding_commits(self) -> AsyncIterator["Inspection"]:
        """Have every writer stop between its last statement and its commit."""
        if self.is_sqlite:
            with closing(self._open()) as connection:
                connection.execute(_ENDLESS)
            try:
                yield self
            finally:
                with closing(self._open()) as connection:
                    connection.execute("DROP TRIGGER endless")
            return
        connection = await asyncpg.connect(self.dsn)
        try:
            # What a redemption writes last is its audit row; its claims are made by then.
            async with connection.transaction():
                await connection.execute("LOCK TABLE audit_rows IN EXCLUSIVE MODE")
                yield self
        finally:
            await connection.close()

    async def has_open_writer(self) -> bool:
        """Whether a writer is held at the point that ``holding_commits`` names."""
        if self.is_sqlite:
            with closing(self._open(timeout=0)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    return True
                return False
        (waiting,) = await self.rows("SELECT 1 FROM pg_locks WHERE relation = 'audit_rows'::regclass AND NOT granted")
        return bool(waiting)

    def _open(self, *, timeout: float = 5) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=None)
