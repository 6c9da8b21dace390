"""The watch over the ``changes`` table."""

import pytest

from authserver.storage.changes import ChangeWatcher, announce
from authserver.storage.database import Database

pytestmark = pytest.mark.anyio


async def test_a_refresh_is_called_once_for_each_change_of_its_topic(db: Database) -> None:
    seen: list[str] = []

    async def settings() -> None:
        seen.append("settings")

    async def tick() -> None:
        seen.append("tick")

    watcher = ChangeWatcher(db)
    watcher.register("settings", settings)
    watcher.register_tick(tick)
    await watcher.start()
    await watcher.poll()
    assert seen == ["tick"]
    await db.write(lambda tx: announce(tx, "settings"))
    await db.write(lambda tx: announce(tx, "resources"))
    await watcher.poll()
    await watcher.poll()
    assert seen == ["tick", "tick", "settings", "tick"]


async def test_a_refresh_that_failed_is_called_again(db: Database) -> None:
    calls = 0

    async def refresh() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("away")

    watcher = ChangeWatcher(db)
    watcher.register("settings", refresh)
    await watcher.start()
    await db.write(lambda tx: announce(tx, "settings"))
    with pytest.raises(OSError, match="away"):
        await watcher.poll()
    await watcher.poll()
    await watcher.poll()
    assert calls == 2
