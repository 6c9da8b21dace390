import pytest

from authserver.clients.mode import SETTINGS_TOPIC, DcrMode, RegistrationMode
from authserver.clients.store import find_setting, put_setting
from authserver.protocol.operator_errors import Invalid
from authserver.storage.changes import ChangeWatcher
from authserver.storage.database import Database
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
