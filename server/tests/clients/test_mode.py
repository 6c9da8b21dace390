import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from authserver.clients.mode import SETTINGS_TOPIC, DcrMode, RegistrationMode
from authserver.clients.store import find_setting, put_setting
from authserver.protocol.operator_errors import Invalid
from authserver.storage.changes import ChangeWatcher
from authserver.storage.database import Database, Row, Value, Writer
from server.tests.clients.builders import NOW, a_trail, audited

pytestmark = pytest.mark.anyio


async def test_the_configured_mode_is_in_force_until_another_is_set(db: Database) -> None:
    mode = RegistrationMode(db, a_trail(db), "approved_redirects")
    await mode.refresh()
    assert mode.current is DcrMode.APPROVED_REDIRECTS


async def test_a_mode_that_was_set_is_in_force_at_once_and_at_every_later_boot(db: Database) -> None:
    mode = RegistrationMode(db, a_trail(db), "open")
    await mode.set("admin_only", actor_id="admin", now=NOW)
    assert mode.current is DcrMode.ADMIN_ONLY

    later = RegistrationMode(db, a_trail(db), "open")
    await later.refresh()
    assert later.current is DcrMode.ADMIN_ONLY
    assert await audited(db) == [("dcr.mode_updated", "admin", "", "dcr mode changed from open to admin_only")]


async def test_another_process_obeys_after_its_next_poll(db: Database) -> None:
    here, there = (RegistrationMode(db, a_trail(db), "open") for _ in range(2))
    watcher = ChangeWatcher(db)
    watcher.register(SETTINGS_TOPIC, there.refresh)
    await watcher.start()
    await here.set("approved_redirects", actor_id="admin", now=NOW)
    before = there.current
    await watcher.poll()
    assert (before, there.current) == (DcrMode.OPEN, DcrMode.APPROVED_REDIRECTS)


async def test_a_mode_that_is_set_again_changes_nothing(db: Database) -> None:
    mode = RegistrationMode(db, a_trail(db), "open")
    for _ in range(2):
        assert await mode.set("admin_only", actor_id="admin", now=NOW) is DcrMode.ADMIN_ONLY
    assert len(await audited(db)) == 1


async def test_the_configured_mode_can_be_made_to_outlive_the_configuration(db: Database) -> None:
    mode = RegistrationMode(db, a_trail(db), "open")
    await mode.set("open", actor_id="admin", now=NOW)
    later = RegistrationMode(db, a_trail(db), "admin_only")
    await later.refresh()
    assert later.current is DcrMode.OPEN


class Gate:
    """Where an answer of the database waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class Slow:
    """A database whose first answers arrive late, one for each gate: everything else goes on meanwhile."""

    def __init__(self, db: Database, *gates: Gate) -> None:
        self._db = db
        self._gates = list(gates)

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        row = await self._db.fetch_one(sql, *args)
        await self._late()
        return row

    async def write(self, transaction: Callable[[Writer], Awaitable[Any]]) -> Any:
        result = await self._db.write(transaction)
        await self._late()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def _late(self) -> None:
        if self._gates:
            await self._gates.pop(0).pass_through()


async def test_of_two_changes_at_once_the_one_that_was_committed_last_is_in_force(db: Database) -> None:
    written = Gate()
    mode = RegistrationMode(Slow(db, written), a_trail(db), "open")
    first = asyncio.create_task(mode.set("admin_only", actor_id="admin", now=NOW))
    await written.reached.wait()
    assert await mode.set("approved_redirects", actor_id="admin", now=NOW) is DcrMode.APPROVED_REDIRECTS
    written.opened.set()
    assert await first is DcrMode.ADMIN_ONLY
    assert mode.current is DcrMode.APPROVED_REDIRECTS


async def test_a_reading_of_before_a_change_does_not_undo_it(db: Database) -> None:
    read, written = Gate(), Gate()
    mode = RegistrationMode(Slow(db, read, written), a_trail(db), "open")
    reading = asyncio.create_task(mode.refresh())
    await read.reached.wait()
    change = asyncio.create_task(mode.set("admin_only", actor_id="admin", now=NOW))
    await written.reached.wait()
    written.opened.set()
    read.opened.set()
    await asyncio.gather(reading, change)
    assert mode.current is DcrMode.ADMIN_ONLY


@pytest.mark.parametrize("wanted", ["", "disabled", "OPEN", "approved_redirects "])
async def test_a_mode_that_is_none_is_refused_and_changes_nothing(db: Database, wanted: str) -> None:
    mode = RegistrationMode(db, a_trail(db), "open")
    with pytest.raises(Invalid):
        await mode.set(wanted, actor_id="admin", now=NOW)
    assert mode.current is DcrMode.OPEN
    assert await find_setting(db, "dcr_mode") is None


async def test_a_stored_mode_that_is_none_is_ignored_and_logged(
    db: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    await db.write(lambda tx: put_setting(tx, "dcr_mode", "whatever", now=NOW))
    mode = RegistrationMode(db, a_trail(db), "admin_only")
    await mode.refresh()
    assert mode.current is DcrMode.ADMIN_ONLY
    assert "ignoring invalid persisted DCR mode" in capfd.readouterr().err
