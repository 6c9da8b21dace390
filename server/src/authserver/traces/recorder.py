"""Writes refusals down behind the back of the requests: in batches, one at a time, and never more than there is room for.

A refusal waits for nothing: it is put into a buffer, and one task writes what has gathered while the batch before was
written. So a single refusal is in the database a moment later, and a flood of them costs one commit a batch.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from authserver.config.sections.traces import TracesConfig
from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.telemetry.decisions import Refused
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import REFUSAL_TRACES_DROPPED
from authserver.traces.store import (
    TRIM_ROWS,
    append_traces,
    delete_anonymous_surplus,
    delete_expired,
    delete_known_surplus,
)

BATCH_ROWS = 256
BUFFER_ROWS = 2048
RETRY_SECONDS = 1.0
TRIM_SECONDS = 300

_log = get_logger("traces")

Waiting = deque[tuple[Refused, int]]


class TraceRecorder:
    """Keeps the refusals of this process. Any number of processes may share the table."""

    def __init__(self, db: Database, config: TracesConfig, *, clock: Callable[[], int]) -> None:
        """Take the parts.

        Args:
            db: Where traces are kept.
            config: The section ``traces``.
            clock: Seconds since the epoch.
        """
        self._db = db
        self._config = config
        # Nobody who has proved nothing can push out what is here of the others.
        self._most_known = config.max // 4
        self._most_anonymous = config.max - self._most_known
        self._clock = clock
        self._anonymous: Waiting = deque()
        self._known: Waiting = deque()
        self._dropped = 0
        self._trimmed_at = 0
        self._task: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def put(self, refused: Refused) -> None:
        """Take a refusal, to be written a moment later. When there is no room the oldest goes, an anonymous one first."""
        if len(self) >= BUFFER_ROWS:
            (self._anonymous or self._known).popleft()
            self._count_dropped(1)
        (self._anonymous if refused.is_anonymous else self._known).append((refused, self._clock()))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_waiting())

    def __len__(self) -> int:
        """Return how many refusals wait to be written."""
        return len(self._anonymous) + len(self._known)

    async def flushed(self) -> None:
        """Return when nothing waits to be written any more."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def tick(self) -> None:
        """Have what has grown too old deleted, now and then. It is not waited for: whoever calls has more to do."""
        now = self._clock()
        if now - self._trimmed_at < TRIM_SECONDS or (self._trimming is not None and not self._trimming.done()):
            return
        self._trimmed_at = now
        self._trimming = asyncio.get_running_loop().create_task(self._trim(before=now - self._config.max_age))

    async def close(self) -> None:
        """Write what waits. A database that does not answer is not waited for."""
        self._closing.set()
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait({self._trimming})
        await self.flushed()
        if self._dropped:
            _log.warning("refusal traces dropped", count=self._dropped)

    async def _trim(self, *, before: int) -> None:
        try:
            await trim_expired(self._db, before=before)
        except StorageUnavailable as exc:
            _log.warning("old refusal traces not deleted", error=str(exc))

    async def _write_waiting(self) -> None:
        while len(self):
            batch = self._take()
            try:
                await self._write(batch)
            except StorageUnavailable:
                if self._closing.is_set():
                    self._count_dropped(len(batch) + len(self))
                    self._anonymous.clear()
                    self._known.clear()
                    return
                self._put_back(batch)
                await self._pause()
            except Exception:  # noqa: BLE001  a worker loop: what cannot be kept must not stop what can
                self._count_dropped(len(batch))
                _log.exception("refusal traces not written")

    def _take(self) -> list[tuple[Refused, int]]:
        batch: list[tuple[Refused, int]] = []
        while self._known and len(batch) < min(BATCH_ROWS, self._most_known):
            batch.append(self._known.popleft())
        while self._anonymous and len(batch) < min(BATCH_ROWS, self._most_anonymous):
            batch.append(self._anonymous.popleft())
        return batch

    def _put_back(self, batch: list[tuple[Refused, int]]) -> None:
        for entry in reversed(batch):
            if len(self) >= BUFFER_ROWS:
                self._count_dropped(1)
                continue
            (self._anonymous if entry[0].is_anonymous else self._known).appendleft(entry)

    async def _write(self, batch: list[tuple[Refused, int]]) -> None:
        anonymous = sum(refused.is_anonymous for refused, _ in batch)
        known = len(batch) - anonymous

        async def write(tx: Writer) -> None:
            # First, so that there are never more than so many.
            if anonymous:
                await delete_anonymous_surplus(tx, keep=self._most_anonymous - anonymous)
            if known:
                await delete_known_surplus(tx, keep=self._most_known - known)
            await append_traces(tx, batch)

        await self._db.write(write)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await self._closing.wait()
        except TimeoutError:
            return

    def _count_dropped(self, count: int) -> None:
        self._dropped += count
        REFUSAL_TRACES_DROPPED.child().inc(count)


async def trim_expired(db: Database, *, before: int) -> int:
    """Delete all traces older than ``before``, batch by batch; return how many went."""
    deleted = 0
    while True:
        count = await db.write(lambda tx: delete_expired(tx, before=before))
        deleted += count
        if count < TRIM_ROWS:
            return deleted
