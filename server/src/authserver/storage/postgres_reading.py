"""Reading over a small pool of connections. Reads of the same text that wait at the same moment are one statement."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any

import asyncpg

from authserver.storage.database import Row, StorageUnavailable, Value
from authserver.storage.postgres_batches import batch_of, of_batch
from authserver.storage.postgres_connections import CONNECT_SECONDS, GONE, LOST, RETRIED, translated
from authserver.telemetry.metrics import DB_OPERATION_DURATION

_READS = DB_OPERATION_DURATION.child("rows_read", "postgres")
_BATCH_READS = 256
_LANES = 2
"""How many statements of the same text may be under way: one that is slow does not hold up all others."""

_Read = Callable[[Any], Awaitable[Sequence[Any]]]
_Waiting = tuple[tuple[Value, ...], "asyncio.Future[Row | None]"]


@lru_cache(maxsize=256)
def reads_statement(sql: str, types: tuple[str, ...]) -> str:
    """Return the query that answers many callers: their rows, each with ``batch_nth`` at its end, which counts from 1."""
    return (
        f"SELECT found.*, batch.nth AS batch_nth FROM {batch_of(types)} CROSS JOIN LATERAL ({of_batch(sql)}) AS found"
        " ORDER BY batch.nth"
    )


class Reads:
    """Runs queries on the connections of a pool."""

    def __init__(self, pool: "asyncpg.Pool[Any]", *, lifetime: float, idle: float, kept: int) -> None:
        """Take a pool.

        Args:
            pool: Its connections are left as they are: reads leave nothing behind.
            lifetime: Seconds after which connections are replaced.
            idle: Seconds after which one that is not used is closed, as the pool does with its own; 0 for never.
            kept: How many connections stay out of the pool between two reads. To take one out and to put it back is two
                tasks and a timer, which cost the process as much as the read.
        """
        self._pool = pool
        self._lifetime = lifetime
        self._idle = idle
        self._kept = kept
        # Each with the moment when it was used last: the one that was used last is taken first.
        self._at_hand: list[tuple[Any, float]] = []
        self._closing: asyncio.TimerHandle | None = None
        self._acquiring = 0
        self._renewals = 0
        self._renew_at = asyncio.get_running_loop().time() + lifetime
        # Types of the placeholders by statement; statements are constants of modules.
        self._types: dict[str, tuple[str, ...]] = {}

    async def fetch(self, sql: str, args: Sequence[Value]) -> Sequence[Row]:
        """Run a query."""

        async def run(connection: Any) -> Sequence[Row]:
            rows: Sequence[Row] = await connection.fetch(sql, *args)
            return rows

        return await self._run(run)

    async def fetch_together(self, sql: str, wanted: Sequence[tuple[Value, ...]]) -> list[Row | None]:
        """Run a query for each of many sets of arguments; return the first row of each, or None."""

        async def run(connection: Any) -> Sequence[Any]:
            types = self._types.get(sql)
            if types is None:
                parameters = (await connection.prepare(sql)).get_parameters()
                types = self._types[sql] = tuple(parameter.name for parameter in parameters)
            columns = [list(column) for column in zip(*wanted, strict=True)]
            rows: Sequence[Any] = await connection.fetch(reads_statement(sql, types), *columns)
            return rows

        found: list[Row | None] = [None] * len(wanted)
        for row in reversed(await self._run(run)):
            found[row["batch_nth"] - 1] = row
        return found

    async def _run(self, read: _Read) -> Sequence[Any]:
        started = time.perf_counter()
        try:
            return await self._try_twice(read)
        finally:
            _READS.observe(time.perf_counter() - started)

    async def _try_twice(self, read: _Read) -> Sequence[Any]:
        """Run a read; once more on a fresh connection when the one it had was dead, since reading repeats."""
        if asyncio.get_running_loop().time() > self._renew_at:
            self._renew_at += self._lifetime
            await self._renew()
        for last in (False, True):
            try:
                return await self._try_once(read)
            except (*GONE, *RETRIED) as exc:
                if last or not isinstance(exc, LOST):
                    raise translated(exc) from exc
                await self._renew()
        raise AssertionError

    async def _try_once(self, read: _Read) -> Sequence[Any]:
        connection = self._at_hand.pop()[0] if self._at_hand else await self._acquire()
        renewals = self._renewals
        try:
            rows = await read(connection)
        except BaseException as exc:
            if isinstance(exc, TimeoutError | asyncio.CancelledError):
                # The pool would wait for a server that does not answer to take the query back.
                connection.terminate()
            await self._pool.release(connection)
            raise
        if self._acquiring or len(self._at_hand) >= self._kept or renewals != self._renewals:
            await self._pool.release(connection)
        else:
            self._keep_at_hand(connection)
        return rows

    def _keep_at_hand(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        self._at_hand.append((connection, loop.time()))
        if self._closing is None and self._idle > 0:
            self._closing = loop.call_later(self._idle, self._close_idle)

    def _close_idle(self) -> None:
        """Close what was not used for so long: a firewall may have forgotten it, and a read over it would get no answer."""
        loop = asyncio.get_running_loop()
        self._closing = None
        while self._at_hand and self._at_hand[0][1] + self._idle <= loop.time():
            # Its place in the pool is free with that.
            self._at_hand.pop(0)[0].terminate()
        if self._at_hand:
            self._closing = loop.call_at(self._at_hand[0][1] + self._idle, self._close_idle)

    async def _acquire(self) -> Any:
        # Who waits here is served by the pool alone.
        self._acquiring += 1
        try:
            return await self._pool.acquire(timeout=CONNECT_SECONDS)
        finally:
            self._acquiring -= 1

    async def _renew(self) -> None:
        """Have every connection replaced before it is used again: by the pool, to which those that read now go back."""
        self._renewals += 1
        await self._pool.expire_connections()
        await self._let_go()

    async def _let_go(self) -> None:
        connections, self._at_hand = [connection for connection, _ in self._at_hand], []
        await asyncio.gather(*map(self._pool.release, connections), return_exceptions=True)

    async def close(self) -> None:
        """Keep no connection from now on."""
        self._kept = 0
        if self._closing is not None:
            self._closing.cancel()
        await self._let_go()


class PointReads:
    """Gathers reads of single rows: those of the same text that come while others are under way go out together.

    A read begins after it was asked for, so it sees everything that was committed until then.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._waiting: dict[str, list[_Waiting]] = {}
        self._lanes: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers = 0

    def callers(self) -> int:
        """Return how many wait for a row."""
        return self._callers

    async def fetch_one(self, sql: str, args: tuple[Value, ...]) -> Row | None:
        """Return the first row, or None."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.setdefault(sql, []).append((args, future))
        if self._lanes.get(sql, 0) < _LANES and len(self._waiting[sql]) == 1:
            # When the loop has handed out all that arrived with this request, what it asks for goes out as one.
            loop.call_soon(self._start, sql)
        self._callers += 1
        try:
            return await future
        finally:
            self._callers -= 1

    def _start(self, sql: str) -> None:
        if self._waiting.get(sql) and self._lanes.get(sql, 0) < _LANES:
            self._lanes[sql] = self._lanes.get(sql, 0) + 1
            self._keep(self._run(sql))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, sql: str) -> None:
        try:
            while waiting := self._waiting.get(sql):
                self._waiting[sql] = waiting[_BATCH_READS:]
                await self._answer(sql, waiting[:_BATCH_READS])
        finally:
            self._lanes[sql] -= 1

    async def _answer(self, sql: str, waiting: list[_Waiting]) -> None:
        if len(waiting) > 1 and waiting[0][0]:
            try:
                rows = await self._reads.fetch_together(sql, [args for args, _ in waiting])
            except StorageUnavailable as exc:
                # Nobody is to blame, and each alone would wait as long again.
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(StorageUnavailable(str(exc)))
                return
            except Exception:  # noqa: BLE001, S110  one of them may be to blame: each is asked for by itself
                pass
            else:
                for (_, future), row in zip(waiting, rows, strict=True):
                    if not future.done():
                        future.set_result(row)
                return
        for args, future in waiting:
            await self._answer_one(sql, args, future)

    async def _answer_one(self, sql: str, args: tuple[Value, ...], future: "asyncio.Future[Row | None]") -> None:
        try:
            rows = await self._reads.fetch(sql, args)
        except Exception as exc:  # noqa: BLE001  a worker loop: every failure belongs to its caller
            if not future.done():
                future.set_exception(exc)
        else:
            if not future.done():
                future.set_result(rows[0] if rows else None)
