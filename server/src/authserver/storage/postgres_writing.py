"""The one connection of a process that writes: all callers that wait share one transaction and one flush.

A unit that fails undoes the whole transaction; the units are then run again one by one, so no caller suffers the failure
of another. Nothing here waits for ever: statements, locks and the queue have their limits.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from authserver.storage.database import StorageUnavailable
from authserver.storage.names import Names
from authserver.storage.postgres_batches import Transaction, run_together
from authserver.storage.postgres_connections import (
    CACHED_STATEMENTS,
    CONNECT_SECONDS,
    GONE,
    LOST,
    RETRIED,
    SERVER_SETTINGS,
    STATEMENT_SECONDS,
    Contended,
    translated,
)
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import DB_OPERATION_DURATION

_log = get_logger("postgres")

_COMMITS = DB_OPERATION_DURATION.child("units_commit", "postgres")
_QUEUE_UNITS = 4096
_BATCH_UNITS = 256
# Longer than a disk stalls on a busy machine; what waits longer is refused, so that a queue never grows old.
_QUEUE_SECONDS = 5.0
# How long a commit waits for others at most, and how many it must be about.
_GATHER_SECONDS = 0.01
_LOOK_AGAIN_SECONDS = 0.001
_MANY_UNITS = 8
_TRIES = 5
# Between two tries: who goes on at once takes the row again before the other, who waited for it, has woken up.
_BACK_OFF_SECONDS = 0.01
_ASK_AGAIN_SECONDS = 0.1


@dataclass(slots=True)
class Unit:
    """One caller's transaction: waiting, then run, then answered."""

    transaction: Transaction
    future: "asyncio.Future[Any]"
    queued_at: float
    result: Any = field(default=None)

    def succeed(self) -> None:
        """Answer the caller."""
        if not self.future.done():
            self.future.set_result(self.result)

    def fail(self, exc: BaseException) -> None:
        """Tell the caller that nothing was kept."""
        if not self.future.done():
            self.future.set_exception(exc)


class WriterTask:
    """Takes all units that wait, runs them in one transaction on its own connection, and answers their callers."""

    def __init__(self, dsn: str, *, reading: Callable[[], int]) -> None:
        """Begin. Needs a running event loop.

        Args:
            dsn: Where it connects to.
            reading: Tells how many callers wait for a row: what they write, if they do, comes after it.
        """
        self._dsn = dsn
        self._reading = reading
        self._took = 0.0
        self._connection: asyncpg.Connection[Any] | None = None
        self._names = Names()
        self._units: deque[Unit] = deque()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name="postgres-writer")

    def submit(self, unit: Unit) -> None:
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
            await self._gather()
            started = time.perf_counter()
            await self._commit_together(self._take())
            self._took = time.perf_counter() - started

    async def _gather(self) -> None:
        """Let those join the next commit who are still reading, if they are many, for no longer than the last commit took.

        A statement for many costs hardly more than one for few, and the requests under way are gone on with meanwhile.
        """
        until = time.perf_counter() + min(self._took, _GATHER_SECONDS)
        while time.perf_counter() < until and self._more_come():  # noqa: ASYNC110  they come and go too often for an event
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _more_come(self) -> bool:
        reading = self._reading()
        return reading > 0 and _MANY_UNITS <= reading + len(self._units) <= _BATCH_UNITS

    def _take(self) -> list[Unit]:
        """Return the units of the next commit."""
        self._refuse_late()
        units: list[Unit] = []
        while self._units and len(units) < _BATCH_UNITS:
            unit = self._units.popleft()
            if not unit.future.done():
                units.append(unit)
        return units

    def _refuse_late(self) -> None:
        """Refuse the units that waited too long instead of serving them late."""
        oldest = asyncio.get_running_loop().time() - _QUEUE_SECONDS
        while self._units and self._units[0].queued_at < oldest:
            self._units.popleft().fail(StorageUnavailable("the write queue is slow"))

    async def _commit_together(self, units: list[Unit]) -> None:
        if not units:
            return
        exc = await self._commit(units)
        if exc is None:
            for unit in units:
                unit.succeed()
        elif len(units) == 1 or (isinstance(exc, StorageUnavailable) and not isinstance(exc, Contended)):
            for unit in units:
                unit.fail(exc if len(units) == 1 else StorageUnavailable(str(exc)))
        else:
            for unit in units:
                alone = await self._commit([unit])
                if alone is None:
                    unit.succeed()
                else:
                    unit.fail(alone)

    async def _commit(self, units: list[Unit]) -> BaseException | None:
        started = time.perf_counter()
        error = await self._try_commit(units)
        _COMMITS.observe(time.perf_counter() - started)
        return error

    async def _try_commit(self, units: list[Unit]) -> BaseException | None:
        """Run units in one transaction; return why nothing of it was kept, or None.

        A conflict with another process is tried again. A connection that was lost is replaced, and what is tried again is
        only what was not committed: a transaction lost during its commit is asked for by its id. Callers hear nothing
        until the outcome is known: a failure tells them that nothing was spent.
        """
        for tries in range(1, _TRIES + 1):
            transaction_id: str | None = None
            try:
                connection = await self._connected()
                await connection.execute("BEGIN")
                results, transaction_id = await run_together(
                    connection, [unit.transaction for unit in units], self._names
                )
                for unit, result in zip(units, results, strict=True):
                    unit.result = result
                await connection.execute("COMMIT")
            except Exception as exc:  # noqa: BLE001  a worker loop: every failure belongs to its callers
                retriable = await self._give_up(exc)
                # The answer to COMMIT was lost with the connection, not its outcome.
                if transaction_id is not None and self._connection is None:
                    committed = await self._was_committed(transaction_id)
                    if committed:
                        return None
                    retriable = retriable and committed is False
                if not retriable:
                    return translated(exc)
                if isinstance(exc, RETRIED):
                    await asyncio.sleep(_BACK_OFF_SECONDS * tries)
            else:
                self._names.commit()
                return None
        return StorageUnavailable("PostgreSQL keeps refusing the transaction")

    async def _was_committed(self, transaction_id: str) -> bool | None:
        """Ask what became of a transaction whose connection was lost while it committed, until the server knows.

        Nothing else can be written as long as it does not answer, and a request that waits too long loses its connection.
        None: this process ends first, after its last request.
        """
        while not self._stopping:
            try:
                connection = await self._connected()
                status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", transaction_id)
            except asyncpg.InvalidParameterValueError:
                # This server has not come as far: it took the place of the one that failed, and never heard of it.
                return False
            except (*GONE, asyncpg.PostgresError) as exc:
                await self._give_up(exc)
            else:
                # In progress: the server has not noticed yet that the connection is lost.
                if status != "in progress":
                    return {"committed": True, "aborted": False}.get(status)
            self._refuse_late()
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        return None

    async def _give_up(self, exc: Exception) -> bool:
        """Undo the open transaction; return whether the same units may be run again."""
        self._names.roll_back()
        connection, lost = self._connection, isinstance(exc, LOST)
        if connection is None:
            return False
        if lost or isinstance(exc, asyncio.TimeoutError):
            self._connection = None
            connection.terminate()
            return lost
        with contextlib.suppress(*GONE):
            await connection.execute("ROLLBACK")
        return isinstance(exc, RETRIED)

    async def _connected(self) -> "asyncpg.Connection[Any]":
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            self._names.forget()
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_SECONDS,
                statement_cache_size=CACHED_STATEMENTS,
                command_timeout=STATEMENT_SECONDS,
                server_settings=SERVER_SETTINGS,
            )
            _log.debug("writer connected")
        return self._connection
