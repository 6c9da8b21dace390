"""PostgreSQL: one connection of the process writes for all callers, a small pool reads.

Callers that wait share one transaction and one flush. Rows that are only appended go out at its end, one statement per
table. A unit that fails undoes the whole transaction; the units are then run again one by one, so no caller suffers the
failure of another. Nothing here waits for ever: statements, locks and the queue have their limits.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg

from authserver.storage.database import (
    Append,
    Reader,
    ReferenceViolation,
    Row,
    StorageUnavailable,
    UniqueViolation,
    Value,
    Writer,
)
from authserver.telemetry.logs import get_logger

T = TypeVar("T")

_log = get_logger("postgres")

_QUEUE_UNITS = 4096
_BATCH_UNITS = 256
# Longer than a disk stalls on a busy machine; what waits longer is refused, so that a queue never grows old.
_QUEUE_SECONDS = 5.0
_TRIES = 5
MALFORMED_DSN = "the PostgreSQL DSN is malformed: percent-encode special characters in user and password"
_CACHED_STATEMENTS = 256
_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 10
_SERVER_SETTINGS = {
    "application_name": "authserver",
    "timezone": "UTC",
    "statement_timeout": "10000",
    "lock_timeout": "500",
    "idle_in_transaction_session_timeout": "15000",
    # A token is answered after its rows are on disk, whatever the server's own default is.
    "synchronous_commit": "on",
    # Every statement of ours is a point statement; compiling it costs more than running it.
    "jit": "off",
}
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # What asyncpg raises when a connection dies between two messages.
    asyncpg.InternalClientError,
)
_GONE = (
    *_LOST,
    asyncio.TimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections a process keeps; times in seconds. A ceiling of 0 or less is the library's default."""

    max_conns: int = 25
    min_conns: int = 5
    max_conn_lifetime: float = 3600
    max_conn_idle_time: float = 1800


@lru_cache(maxsize=256)
def _unnest(table: str, columns: tuple[tuple[str, str], ...]) -> str:
    names = ", ".join(name for name, _ in columns)
    arrays = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(columns, start=1))
    return f"INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays})"


class _Contended(StorageUnavailable):
    """Somebody else holds a row that one unit needs; its neighbours need not suffer."""


async def _keep(_connection: "asyncpg.Connection[Any]") -> None:
    """Give a connection back to the pool as it is."""


def _translated(exc: BaseException) -> BaseException:
    """Return our exception for one of the driver's, or the same one when it is a fault of ours."""
    match exc:
        case asyncpg.UniqueViolationError():
            return UniqueViolation(exc.constraint_name or "unique")
        case asyncpg.ForeignKeyViolationError() | asyncpg.RestrictViolationError():
            return ReferenceViolation(exc.constraint_name or "foreign key")
        case asyncpg.LockNotAvailableError() | asyncpg.QueryCanceledError():
            return _Contended(f"PostgreSQL makes this wait: {type(exc).__name__}")
        case _ if isinstance(exc, _GONE + _RETRIED):
            return StorageUnavailable(f"PostgreSQL does not answer: {type(exc).__name__}")
        case _:
            return exc


class _Transaction:
    """A ``Writer`` over one connection inside one transaction that many units share."""

    __slots__ = ("_appended", "_connection")

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._appended: dict[str, tuple[Append, list[tuple[Value, ...]]]] = {}

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        row: Row | None = await self._connection.fetchrow(sql, *args)
        return row

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(sql, *args)
        return rows

    async def execute(self, sql: str, *args: Value) -> int:
        statement = await self._connection.execute(sql, *args)
        count = statement.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def append(self, append: Append, *values: Value) -> None:
        entry = self._appended.get(append.table)
        if entry is None:
            self._appended[append.table] = (append, [values])
        else:
            entry[1].append(values)

    async def settle(self, append: Append) -> None:
        if append.table in self._appended:
            # All tables, in their order: rows may refer to one another.
            await self.flush()

    async def flush(self) -> None:
        """Write what was appended: one statement per table, in the order the tables first appeared."""
        for append, rows in self._appended.values():
            sql = _unnest(append.table, tuple(append.columns.items()))
            await self._connection.execute(sql, *(list(column) for column in zip(*rows, strict=True)))
        self._appended.clear()


@dataclass(slots=True)
class _Unit:
    """One caller's transaction: waiting, then run, then answered."""

    transaction: Callable[[Writer], Awaitable[Any]]
    future: "asyncio.Future[Any]"
    queued_at: float
    result: Any = field(default=None)

    def succeed(self) -> None:
        if not self.future.done():
            self.future.set_result(self.result)

    def fail(self, exc: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(exc)


class _WriterTask:
    """Takes all units that wait, runs them in one transaction on its own connection, and answers their callers."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection[Any] | None = None
        self._units: deque[_Unit] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="postgres-writer")

    def submit(self, unit: _Unit) -> None:
        """Queue a unit.

        Raises:
            StorageUnavailable: The queue is full.
        """
        if len(self._units) >= _QUEUE_UNITS or self._stopping:
            raise StorageUnavailable("the write queue is full")
        self._units.append(unit)
        self._wake.set()

    async def stop(self) -> None:
        """Commit what is queued and close the connection."""
        self._stopping = True
        self._wake.set()
        await self._task
        if self._connection is not None:
            await self._connection.close()

    async def _run(self) -> None:
        while True:
            if not self._units:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._commit_together(self._take())

    def _take(self) -> list[_Unit]:
        """Return the units of the next commit; one that waited too long is refused instead of served late."""
        oldest = asyncio.get_running_loop().time() - _QUEUE_SECONDS
        units: list[_Unit] = []
        while self._units and len(units) < _BATCH_UNITS:
            unit = self._units.popleft()
            if unit.future.done():
                continue
            if unit.queued_at < oldest:
                unit.fail(StorageUnavailable("the write queue is slow"))
                continue
            units.append(unit)
        return units

    async def _commit_together(self, units: list[_Unit]) -> None:
        if not units:
            return
        exc = await self._commit(units)
        if exc is None:
            for unit in units:
                unit.succeed()
        elif len(units) == 1 or (isinstance(exc, StorageUnavailable) and not isinstance(exc, _Contended)):
            for unit in units:
                unit.fail(exc if len(units) == 1 else StorageUnavailable(str(exc)))
        else:
            for unit in units:
                alone = await self._commit([unit])
                if alone is None:
                    unit.succeed()
                else:
                    unit.fail(alone)

    async def _commit(self, units: list[_Unit]) -> BaseException | None:
        """Run units in one transaction; return why nothing of it was kept, or None.

        A conflict with another process is tried again. A connection that was lost is replaced, and what is tried again is
        only what was not committed: a transaction lost during its commit is asked for by its id.
        """
        for _ in range(_TRIES):
            transaction_id: str | None = None
            try:
                connection = await self._connected()
                await connection.execute("BEGIN")
                tx = _Transaction(connection)
                for unit in units:
                    unit.result = await unit.transaction(tx)
                await tx.flush()
                transaction_id = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
                await connection.execute("COMMIT")
            except Exception as exc:  # noqa: BLE001  a worker loop: every failure belongs to its callers
                retriable = await self._give_up(exc)
                if retriable and transaction_id is not None:
                    # The answer to COMMIT was lost, not its outcome.
                    committed = await self._was_committed(transaction_id)
                    if committed:
                        return None
                    retriable = committed is False
                if not retriable:
                    return _translated(exc)
            else:
                return None
        return StorageUnavailable("PostgreSQL keeps refusing the transaction")

    async def _was_committed(self, transaction_id: str) -> bool | None:
        """Ask what became of a transaction whose connection was lost while it committed; None when nobody knows."""
        try:
            connection = await self._connected()
            status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", transaction_id)
        except (*_GONE, asyncpg.PostgresError):
            return None
        return {"committed": True, "aborted": False}.get(status)

    async def _give_up(self, exc: Exception) -> bool:
        """Undo the open transaction; return whether the same units may be run again."""
        connection, lost = self._connection, isinstance(exc, _LOST)
        if connection is None:
            return False
        if lost or isinstance(exc, asyncio.TimeoutError):
            self._connection = None
            connection.terminate()
            return lost
        with contextlib.suppress(*_GONE):
            await connection.execute("ROLLBACK")
        return isinstance(exc, _RETRIED)

    async def _connected(self) -> "asyncpg.Connection[Any]":
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_SECONDS,
                command_timeout=_STATEMENT_SECONDS,
                server_settings=_SERVER_SETTINGS,
            )
            _log.debug("writer connected")
        return self._connection


class PostgresDatabase:
    """The database on a PostgreSQL server, shared by any number of processes."""

    dialect = "postgres"

    def __init__(self, pool: "asyncpg.Pool[Any]", writer: _WriterTask, *, lifetime: float) -> None:
        self._pool = pool
        self._writer = writer
        self._lifetime = lifetime
        self._renew_at = asyncio.get_running_loop().time() + lifetime

    @classmethod
    async def open(cls, dsn: str, limits: PoolLimits) -> "PostgresDatabase":
        """Connect.

        Raises:
            StorageUnavailable: The server does not answer, or refuses us.
        """
        ceiling = limits.max_conns if limits.max_conns > 0 else 10
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=max(0, min(limits.min_conns, ceiling)),
                max_size=ceiling,
                # Reads leave nothing behind on a connection; the default reset would double their round trips.
                reset=_keep,
                statement_cache_size=_CACHED_STATEMENTS,
                max_inactive_connection_lifetime=limits.max_conn_idle_time,
                timeout=_CONNECT_SECONDS,
                command_timeout=_STATEMENT_SECONDS,
                server_settings=_SERVER_SETTINGS,
            )
            async with pool.acquire():
                pass
        except ValueError:
            # The message of the parser quotes pieces of the DSN, of the password too.
            raise StorageUnavailable(MALFORMED_DSN) from None
        except (*_GONE, asyncpg.PostgresError) as exc:
            raise StorageUnavailable(f"cannot connect to PostgreSQL: {exc}") from exc
        return cls(pool, _WriterTask(dsn), lifetime=limits.max_conn_lifetime)

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None."""
        rows = await self._read(sql, args)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        """Return all rows."""
        return await self._read(sql, args)

    async def write(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run ``transaction`` and commit; see ``Database.write``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._writer.submit(_Unit(transaction, future, loop.time()))
        return await future

    async def survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        """Run a query that reads much. The server does the work, so a connection of the pool will do."""
        return await query(self)

    async def ping(self) -> None:
        """Return when the database answers."""
        await self._read("SELECT 1", ())

    async def close(self) -> None:
        """Commit what is queued and close the connections."""
        await self._writer.stop()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._pool.close(), timeout=_CONNECT_SECONDS)

    async def _read(self, sql: str, args: tuple[Value, ...]) -> Sequence[Row]:
        """Run a query; once more on a fresh connection when the one from the pool had died, since reading repeats."""
        if asyncio.get_running_loop().time() > self._renew_at:
            self._renew_at += self._lifetime
            await self._pool.expire_connections()
        for last in (False, True):
            try:
                async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                    rows: Sequence[Row] = await connection.fetch(sql, *args)
            except (*_GONE, *_RETRIED) as exc:
                if last or not isinstance(exc, _LOST):
                    raise _translated(exc) from exc
                await self._pool.expire_connections()
            else:
                return rows
        raise AssertionError
