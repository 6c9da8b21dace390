"""What operators do with signing keys: list, rotate, retire (admin API, 12; command line, 6)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from authserver.keys.keyring import Keyring
from authserver.keys.keystore import TOPIC, Change
from authserver.keys.records import KeyListing
from authserver.storage.changes import announce
from authserver.storage.database import Database, Writer


class KeyEvent(StrEnum):
    """What becomes a row of the audit trail."""

    ROTATED = "key.rotated"
    RETIRED = "key.retired"


Prepare = Callable[[KeyEvent, str, str, int], Callable[[Writer], Awaitable[None]]]
"""Takes what happened, who did it, the detail, and now; returns what writes the audit row in a transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAdministration:
    """The signing keys, as operators see them. Every change is announced and audited in one transaction.

    Attributes:
        prepare: Makes the audit rows; the trail stands beside this package, not below it.
    """

    db: Database
    keyring: Keyring
    prepare: Prepare

    def list_keys(self, *, now: int) -> list[KeyListing]:
        """Return the published keys, the current one first, the others newest first."""
        return self.keyring.list_keys(now)

    async def rotate(self, *, now: int, operator: str = "admin") -> KeyListing:
        """Put a new key in front; it signs as soon as every process publishes it.

        Args:
            now: Seconds since the epoch.
            operator: Who asks for it, for the audit trail.

        Raises:
            KeyStoreError: The store cannot be written. Everything goes on with the keys there are.
            StorageUnavailable: The database is away.
        """

        async def record(kid: str, change: Change | None = None) -> None:
            detail = f"admin rotated signing key: kid={kid}"
            await self._record(KeyEvent.ROTATED, operator, detail, change, now=now)

        return await self.keyring.rotate(now, record)

    async def retire(self, kid: str, *, now: int, operator: str = "admin") -> None:
        """Stop publishing a previous key before its time: every token that it signed counts for nothing.

        Raises:
            UnknownKey: It is not published.
            KeyInUse: It signs; ``seconds`` tells for how long.
            KeyStoreError: The store cannot be written.
            StorageUnavailable: The database is away.
        """

        async def record(kid: str, change: Change | None = None) -> None:
            await self._record(KeyEvent.RETIRED, operator, f"kid={kid}", change, now=now)

        await self.keyring.retire(kid, now, record)

    async def _record(self, event: KeyEvent, operator: str, detail: str, change: Change | None, *, now: int) -> None:
        # Here and not in the transaction: the row takes its address from the request.
        append = self.prepare(event, operator, detail, now)

        async def write(tx: Writer) -> None:
            # First, because its row is what changes of keys wait for: one at a time.
            await announce(tx, TOPIC)
            if change is not None:
                await change(tx)
            await append(tx)

        await self.db.write(write)
