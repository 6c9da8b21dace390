"""Who may register clients: the mode of the configuration, or the one that operators set while the server runs."""

import asyncio
from dataclasses import replace
from enum import StrEnum

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail
from authserver.clients.store import find_setting, put_setting
from authserver.protocol.operator_errors import Invalid
from authserver.storage.changes import announce
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger

SETTINGS_TOPIC = "settings"

_KEY = "dcr_mode"

_log = get_logger("clients")


class DcrMode(StrEnum):
    """Who may register (public API, 11.1); metadata documents included."""

    OPEN = "open"
    APPROVED_REDIRECTS = "approved_redirects"
    ADMIN_ONLY = "admin_only"


class RegistrationMode:
    """The mode in force in this process; register ``refresh`` with the topic ``settings``.

    Args:
        db: Where the mode set at run time is kept.
        trail: Where a change is recorded.
        configured: ``dcr.mode``, in force until operators set another.
    """

    def __init__(self, db: Database, trail: AuditTrail, configured: str) -> None:
        self._db = db
        self._trail = trail
        self._configured = DcrMode(configured)
        self._current = self._configured
        self._reading = asyncio.Lock()

    @property
    def current(self) -> DcrMode:
        """The mode in force."""
        return self._current

    async def refresh(self) -> None:
        """Read the mode that operators set. Call it at boot, whether or not the admin listener is on."""
        # One reading at a time: what is installed last was read last.
        async with self._reading:
            self._current = self._choose(await find_setting(self._db, _KEY))

    async def set(self, mode: str, *, actor_id: str, now: int) -> DcrMode:
        """Put a mode in force here at once, and in every other process within two seconds; return it.

        One that was set before changes nothing.

        Raises:
            Invalid: It is none of the three.
        """
        try:
            wanted = DcrMode(mode)
        except ValueError as exc:
            raise Invalid(f"mode must be one of {', '.join(DcrMode)}") from exc

        # Here and not in the transaction: the event takes its address from the request.
        event = AuditEvent(Action.DCR_MODE_UPDATED, actor_id=actor_id)

        async def store(tx: Writer) -> None:
            # First, because its row is what changes of the mode wait for: one at a time.
            await announce(tx, SETTINGS_TOPIC)
            stored = await find_setting(tx, _KEY)
            if stored == wanted:
                return
            await put_setting(tx, _KEY, wanted, now=now)
            changed = replace(event, detail=f"dcr mode changed from {self._choose(stored)} to {wanted}")
            await self._trail.append(tx, changed, now=now)

        await self._db.write(store)
        # Read, not remembered: of two changes at once, the one that was committed last may be told so first.
        await self.refresh()
        return wanted

    def _choose(self, persisted: str | None) -> DcrMode:
        if persisted is None:
            return self._configured
        try:
            return DcrMode(persisted)
        except ValueError:
            _log.error("ignoring invalid persisted DCR mode")
            return self._configured
