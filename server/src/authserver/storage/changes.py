"""How every process learns of a change within two seconds: a version per topic, read every second.

A change raises its topic's version in the transaction that makes it, so nobody can see the one without the other. A poll
needs no connection of its own, misses nothing after a reconnect, and costs one small query a second (storage.md §8).
"""

import asyncio
from collections.abc import Awaitable, Callable

from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.telemetry.logs import get_logger

POLL_SECONDS = 1.0

_log = get_logger("changes")

Refresh = Callable[[], Awaitable[None]]


async def announce(tx: Writer, topic: str) -> None:
    """Raise the version of a topic: ``signing_keys``, ``settings``, ``clients`` or ``resources``."""
    await tx.execute(
        "INSERT INTO changes (topic, version) VALUES ($1, 1)"
        " ON CONFLICT (topic) DO UPDATE SET version = changes.version + 1",
        topic,
    )


class ChangeWatcher:
    """Calls the refreshes of a topic when its version has moved, whoever moved it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._versions: dict[str, int] = {}
        self._refreshes: dict[str, list[Refresh]] = {}
        self._every_second: list[Refresh] = []

    def register(self, topic: str, refresh: Refresh) -> None:
        """Have ``refresh`` called after each change of ``topic``. It reads the new state; it may be called in vain."""
        self._refreshes.setdefault(topic, []).append(refresh)

    def register_tick(self, refresh: Refresh) -> None:
        """Have ``refresh`` called at every poll, for what changes outside the database (key files)."""
        self._every_second.append(refresh)

    async def start(self) -> None:
        """Remember the present versions, before the first refresh is due."""
        self._versions = await self._read()

    async def poll(self) -> None:
        """Compare versions once and refresh what moved. What fails keeps nothing else waiting.

        Raises:
            StorageUnavailable: The versions cannot be read; the next poll catches up.
            Exception: Whatever the first refresh raised that failed, after all others were called.
        """
        failures: list[Exception] = []
        for refresh in self._every_second:
            await _attempt(refresh, failures)
        versions = await self._read()
        for topic, version in versions.items():
            if self._versions.get(topic) == version:
                continue
            succeeded = [await _attempt(refresh, failures) for refresh in self._refreshes.get(topic, ())]
            # Only a topic whose refreshes all succeeded counts as seen.
            if all(succeeded):
                self._versions[topic] = version
        for exc in failures[1:]:
            _log.warning("change refresh failed", error=repr(exc))
        if failures:
            raise failures[0]

    async def run(self) -> None:
        """Poll until cancelled. A failure is logged and tried again a second later."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.poll()
            except StorageUnavailable as exc:
                _log.warning("change poll failed", error=str(exc))
            except Exception:  # noqa: BLE001  a worker loop
                # A refresh that fails must not end the watch: the others would go stale for ever.
                _log.exception("change refresh failed")

    async def _read(self) -> dict[str, int]:
        rows = await self._db.fetch_all("SELECT topic, version FROM changes")
        return {row["topic"]: row["version"] for row in rows}


async def _attempt(refresh: Refresh, failures: list[Exception]) -> bool:
    """Call a refresh; keep what it raises, and return whether it raised nothing."""
    try:
        await refresh()
    except Exception as exc:  # noqa: BLE001  raised when the others were called
        failures.append(exc)
        return False
    return True
