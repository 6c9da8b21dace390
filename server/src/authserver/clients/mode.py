"""Who may register clients: the mode of the configuration, or the one that operators set while the server runs."""

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

    @property
    def current(self) -> DcrMode:
        """The mode in force."""
        return self._current

    async def refresh(self) -> None:
        """Read the mode that operators set. Call it at boot, whether or not the admin listener is on."""
        self._current = self._choose(await find_setting(self._db, _KEY))

    async def set(self, mode: str, *, actor_id: str, now: int) -> None:
        """Put a mode in force here at once, and in every other process within two seconds.

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
            old = self._choose(await find_setting(tx, _KEY))
            await put_setting(tx, _KEY, wanted, now=now)
            await announce(tx, SETTINGS_TOPIC)
            changed = replace(event, detail=f"dcr mode changed from {old} to {wanted}")
            await self._trail.append(tx, changed, now=now)

        await self._db.write(store)
        self._current = wanted

    def _choose(self, persisted: str | None) -> DcrMode:
        if persisted is None:
            return self._configured
        try:
            return DcrMode(persisted)
        except ValueError:
            _log.error("ignoring invalid persisted DCR mode")
            return self._configured
