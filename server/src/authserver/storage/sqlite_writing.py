"""The writer of a SQLite file: the event loop runs the statements of all who wait, a thread commits and flushes.

What the loop cannot run at once it leaves to the thread, statements and all: another process writes, a unit fails or takes
long. The loop waits for nobody and for no disk.
"""

import asyncio
import contextlib
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from authserver.storage.database import StorageUnavailable, Writer
from authserver.storage.names import Names
from authserver.storage.sqlite_connections import FAULTS, Locked, Transaction, driven, translated
from authserver.telemetry.metrics import DB_OPERATION_DURATION

_QUEUE_UNITS = 4096
# Longer than a disk stalls on a busy machine; what waits longer is refused, so that a queue never grows old.
_QUEUE_SECONDS = 5.0
_BATCH_UNITS = 256
# No further unit is begun on the loop after the first, and a statement that runs past the second is given up there. They are
# seconds of work, not of waiting for a core: a busy machine shall not make more of it.
_LOOP_SECONDS = 0.01
_LOOP_LIMIT_SECONDS = 0.04
_STEPS_BETWEEN_LOOKS = 10_000
_COMMITS = DB_OPERATION_DURATION.child("units_commit", "sqlite")


class Unit:
    """One caller's transaction: waiting, then run, then answered."""

    __slots__ = ("error", "future", "queued_at", "result", "transaction")

    def __init__(self, transaction: Callable[[Writer], Awaitable[Any]], future: asyncio.Future[Any]) -> None:
        self.transaction = transaction
        self.future = future
        self.queued_at = time.monotonic()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Answer the caller. Runs on the event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@dataclass(slots=True)
class _Batch:
    """Units that share a commit.

    Attributes:
        started: When the first was begun, by the clock of durations.
        has_run: Whether their statements have run, in a transaction that is open.
    """

    units: list[Unit]
    started: float
    has_run: bool


class SqliteWriter:
    """Runs transactions: all that wait share one commit; one that fails is undone alone.

    Attributes:
        is_lent: Whether the thread has the connection; else it is the loop's, and between transactions.
    """

    def __init__(self, connection: sqlite3.Connection, *, patience_ms: int) -> None:
        """Begin. Needs a running event loop.

        Args:
            connection: Nobody else writes over it.
            patience_ms: How long the thread waits for another process that writes.
        """
        self.is_lent = False
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._patience_ms = patience_ms
        # Without a write-ahead log a commit waits for readers, which the loop is.
        self._runs_on_loop = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        self._give_up_at = math.inf
        connection.set_progress_handler(self._takes_long, _STEPS_BETWEEN_LOOKS)
        self._set_patience(0)
        self._names = Names()
        self._tx = Transaction(connection, self._names)
        self._waiting: deque[Unit] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit) -> None:
        """Queue a unit.

        Raises:
            StorageUnavailable: The queue is full, or the database was closed.
        """
        if self._stopped or len(self._waiting) >= _QUEUE_UNITS:
            raise StorageUnavailable("the write queue is full or closed")
        self._waiting.append(unit)
        if self._idle.is_set():
            self._idle.clear()
            # After the callers that the loop knows to be next: they share the commit.
            self._loop.call_soon(self._start)

    async def stop(self) -> None:
        """Commit what is queued and end the thread."""
        self._stopped = True
        await self._idle.wait()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _start(self) -> None:
        """Run what waits, as far as that is quick, and hand it to the thread. Runs on the loop."""
        units = self._take()
        if not units:
            # All waited too long. A transaction for nobody would keep the file locked.
            self._idle.set()
            return
        started = time.perf_counter()
        has_run = self._runs_on_loop and self._run_at_once(units)
        self.is_lent = True
        self._queue.put(_Batch(units, started, has_run))

    def _take(self) -> list[Unit]:
        """Return the units that are next; one that waited too long is refused instead of served late."""
        oldest = time.monotonic() - _QUEUE_SECONDS
        units: list[Unit] = []
        while self._waiting and len(units) < _BATCH_UNITS:
            unit = self._waiting.popleft()
            if unit.queued_at < oldest:
                unit.error = StorageUnavailable("the write queue is slow")
                unit.settle()
            else:
                units.append(unit)
        return units

    def _run_at_once(self, units: list[Unit]) -> bool:
        """Begin a transaction and run units, without waiting for anybody; False when they must run in the thread.

        Those for which there is no time wait on.
        """
        self._give_up_at = time.thread_time() + _LOOP_LIMIT_SECONDS
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            run = driven(self._run_in_turn(units, seconds=_LOOP_SECONDS))
        except Exception:  # noqa: BLE001  it is looked at when it comes again in the thread
            self._roll_back()
            return False
        finally:
            self._give_up_at = math.inf
        self._waiting.extendleft(reversed(units[run:]))
        del units[run:]
        return True

    async def _run_in_turn(self, units: Sequence[Unit], *, seconds: float = math.inf) -> int:
        """Run units one after the other, for the results that their callers get, and write what they appended; return how many.

        Args:
            units: What waits.
            seconds: No further one is begun after so much work.
        """
        started, work = time.perf_counter(), time.thread_time()
        run = 0
        for unit in units:
            unit.error = None
            unit.result = await unit.transaction(self._tx)
            run += 1
            # The clock is cheap to ask, the processor's time a system call: it can have run out only if the clock has.
            if time.perf_counter() > started + seconds and time.thread_time() > work + seconds:
                break
        self._tx.flush()
        return run

    def _takes_long(self) -> bool:
        return time.thread_time() > self._give_up_at

    def _settle(self, units: list[Unit]) -> None:
        """Answer the callers and go on. Runs on the loop."""
        self.is_lent = False
        for unit in units:
            unit.settle()
        if self._waiting:
            self._start()
        else:
            self._idle.set()

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            self._finish(batch)
            # The loop is gone when a caller was cut off by a shutdown: nobody waits for the answer then.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, batch.units)

    def _finish(self, batch: _Batch) -> None:
        """Commit a batch, whose statements have run or not."""
        units = batch.units
        error: Exception | None = None
        if batch.has_run:
            error = self._commit(batch.started)
            if error is None:
                return
        self._set_patience(self._patience_ms)
        if not batch.has_run:
            error = self._run_and_commit(units)
        if error is not None:
            self._blame(units, error)
        self._set_patience(0)

    def _set_patience(self, milliseconds: int) -> None:
        with contextlib.suppress(*FAULTS):
            self._connection.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def _blame(self, units: list[Unit], error: Exception) -> None:
        """Tell the callers of units that were undone together, or commit each alone."""
        if len(units) == 1 or isinstance(error, Locked):
            # Another process holds the file: each alone would wait as long again.
            for unit in units:
                unit.result, unit.error = None, error
            return
        # One of them may be to blame (a full disk, a too large row): each gets a commit of its own.
        for unit in units:
            error_alone = self._run_and_commit([unit])
            if error_alone is not None:
                unit.error = error_alone

    def _commit(self, started: float) -> Exception | None:
        """Commit the open transaction; return why nothing of it was kept, or None."""
        try:
            self._connection.execute("COMMIT")
        except FAULTS as exc:
            self._roll_back()
            return translated(exc)
        finally:
            _COMMITS.observe(time.perf_counter() - started)
        self._names.commit()
        return None

    def _run_and_commit(self, units: list[Unit]) -> Exception | None:
        """Run units in one transaction; return why nothing of it was kept, or None."""
        started = time.perf_counter()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if not self._run_plainly(units):
                self._roll_back()
                self._connection.execute("BEGIN IMMEDIATE")
                for unit in units:
                    self._run_apart(unit)
        except FAULTS as exc:
            self._roll_back()
            _COMMITS.observe(time.perf_counter() - started)
            return translated(exc)
        return self._commit(started)

    def _run_plainly(self, units: list[Unit]) -> bool:
        """Run units one after the other; False when one failed: then all must be undone, and run apart.

        Failing is rare, and a savepoint around every unit costs as much as two more rows.
        """
        try:
            driven(self._run_in_turn(units))
        except Exception:  # noqa: BLE001  it is looked at when the unit fails again
            return False
        return True

    def _run_apart(self, unit: Unit) -> None:
        """Run one unit so that its failure leaves its neighbours' work alone."""
        self._connection.execute("SAVEPOINT unit")
        try:
            driven(self._run_in_turn([unit]))
        except Exception as exc:
            unit.error = translated(exc)
            if not self._connection.in_transaction:
                # SQLite itself gave the whole transaction up (disk full, I/O error).
                raise exc if isinstance(exc, FAULTS) else sqlite3.OperationalError(str(exc)) from exc
            self._connection.execute("ROLLBACK TO unit")
            self._forget()
        self._connection.execute("RELEASE unit")

    def _forget(self) -> None:
        """Forget what the transaction saw and appended, which is undone."""
        self._names.roll_back()
        self._tx.forget()

    def _roll_back(self) -> None:
        self._forget()
        if self._connection.in_transaction:
            with contextlib.suppress(*FAULTS):
                self._connection.execute("ROLLBACK")
