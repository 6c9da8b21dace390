"""PostgreSQL: one connection of the process writes for all callers, a small pool reads."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from authserver.storage.database import Reader, Row, StorageUnavailable, Value, Writer
from authserver.storage.postgres_connections import (
    CACHED_STATEMENTS,
    CONNECT_SECONDS,
    GONE,
    SERVER_SETTINGS,
    STATEMENT_SECONDS,
)
from authserver.storage.postgres_reading import PointReads, Reads
from authserver.storage.postgres_writing import Unit, WriterTask
from authserver.storage.spans import reading, writing

T = TypeVar("T")

MALFORMED_DSN = "the PostgreSQL DSN is malformed: percent-encode special characters in user and password"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections a process keeps; times in seconds. A ceiling of 0 or less is the library's default."""

    max_conns: int = 25
    min_conns: int = 5
    max_conn_lifetime: float = 3600
    max_conn_idle_time: float = 1800


async def _keep(_connection: "asyncpg.Connection[Any]") -> None:
    """Give a connection back to the pool as it is."""


class PostgresDatabase:
    """The database on a PostgreSQL server, shared by any number of processes."""

    dialect = "postgres"

    def __init__(self, dsn: str, pool: "asyncpg.Pool[Any]", limits: PoolLimits, *, kept: int) -> None:
        self._pool = pool
        self._reads = Reads(pool, lifetime=limits.max_conn_lifetime, idle=limits.max_conn_idle_time, kept=kept)
        self._point_reads = PointReads(self._reads)
        self._writer = WriterTask(dsn, reading=self._point_reads.callers)

    @classmethod
    async def open(cls, dsn: str, limits: PoolLimits) -> "PostgresDatabase":
        """Connect.

        Raises:
            StorageUnavailable: The server does not answer, or refuses us.
        """
        ceiling = limits.max_conns if limits.max_conns > 0 else 10
        kept = max(0, min(limits.min_conns, ceiling))
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=kept,
                max_size=ceiling,
                # Reads leave nothing behind on a connection; the default reset would double their round trips.
                reset=_keep,
                statement_cache_size=CACHED_STATEMENTS,
                max_inactive_connection_lifetime=limits.max_conn_idle_time,
                timeout=CONNECT_SECONDS,
                command_timeout=STATEMENT_SECONDS,
                server_settings=SERVER_SETTINGS,
            )
            async with pool.acquire():
                pass
        except ValueError:
            # The message of the parser quotes pieces of the DSN, of the password too.
            raise StorageUnavailable(MALFORMED_DSN) from None
        except (*GONE, asyncpg.PostgresError) as exc:
            raise StorageUnavailable(f"cannot connect to PostgreSQL: {exc}") from exc
        return cls(dsn, pool, limits, kept=kept)

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None."""
        with reading("postgres"):
            return await self._point_reads.fetch_one(sql, args)

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        """Return all rows."""
        with reading("postgres"):
            return await self._reads.fetch(sql, args)

    async def write(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run ``transaction`` and commit; see ``Database.write``."""
        loop = asyncio.get_running_loop()
        with writing("postgres", transaction):
            future: asyncio.Future[T] = loop.create_future()
            self._writer.submit(Unit(transaction, future, loop.time()))
            return await future

    async def survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        """Run a query that reads much. The server does the work, so a connection of the pool will do."""
        return await query(self)

    async def ping(self) -> None:
        """Return when the database answers."""
        await self._reads.fetch("SELECT 1", ())

    async def close(self) -> None:
        """Commit what is queued and close the connections."""
        await self._writer.stop()
        await self._reads.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._pool.close(), timeout=CONNECT_SECONDS)
