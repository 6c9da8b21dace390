"""The watch over the ``changes`` table."""

import pytest

from authserver.storage.changes import ChangeWatcher, announce
from authserver.storage.database import Database, Writer

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


async def test_what_fails_keeps_no_other_topic_waiting(db: Database) -> None:
    obeyed: list[str] = []

    async def fail() -> None:
        raise OSError("broken")

    async def obey() -> None:
        obeyed.append("obeyed")

    watcher = ChangeWatcher(db)
    watcher.register_tick(fail)
    for topic in ("a", "b", "c"):
        watcher.register(topic, fail if topic == "b" else obey)
    watcher.register("b", obey)
    await watcher.start()

    async def announce_all(tx: Writer) -> None:
        for topic in ("a", "b", "c"):
            await announce(tx, topic)

    await db.write(announce_all)
    with pytest.raises(OSError, match="broken"):
        await watcher.poll()
    assert len(obeyed) == 3
    with pytest.raises(OSError, match="broken"):
        await watcher.poll()
    assert len(obeyed) == 4
