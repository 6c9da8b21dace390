"""The keys of this process: one snapshot to sign and publish from, kept up to date with the store."""

import asyncio
import time

from authserver.keys.keystore import KeyStore, KeyStoreError
from authserver.keys.records import KeyListing, KeyStatus, StoredKey, StoredKeys
from authserver.keys.snapshot import Snapshot, build_snapshot
from authserver.protocol.jose import SigningKey
from authserver.telemetry import metrics
from authserver.telemetry.logs import get_logger

_log = get_logger("keys")


class Keyring:
    """Signs, publishes and rotates. Holds every published key of the store, a handful; changes reach it by ``refresh``."""

    def __init__(self, store: KeyStore, stored: StoredKeys, *, now: int) -> None:
        self._store = store
        self._stored = stored
        self._snapshot = build_snapshot(stored.keys, now=now)
        self._failure = ""
        self._changing = asyncio.Lock()

    def current(self, now: int) -> SigningKey:
        """Return the key to sign with."""
        return self.snapshot(now).signing_key(now=now)

    def snapshot(self, now: int) -> Snapshot:
        """Return what is published."""
        if now >= self._snapshot.expires_at:
            self._snapshot = build_snapshot(self._stored.keys, now=now)
        return self._snapshot

    def list_keys(self, now: int) -> list[KeyListing]:
        """Return the published keys as operators see them, in the order of publication."""
        first, *others = self.snapshot(now).keys
        return [_listing(first, KeyStatus.CURRENT), *(_listing(key, KeyStatus.PREVIOUS) for key in others)]

    async def rotate(self, now: int) -> KeyListing:
        """Put a new key in front, published before this returns; it signs some seconds later.

        Raises:
            KeyStoreError: The store cannot be written. Everything goes on with the keys there are.
        """
        async with self._changing:
            self._adopt(await self._store.rotate(now=now), now=now)
        rotated = _listing(self._stored.keys[0], KeyStatus.CURRENT)
        metrics.KEY_ROTATION.inc()
        _log.info("signing key rotated", kid=rotated.kid, alg=rotated.alg)
        return rotated

    async def refresh(self, now: int) -> None:
        """Obey what another process did to the store; to be called each second, and cheap when nothing happened."""
        if self._store.version() != self._stored.version or any(key.is_retired(now=now) for key in self._stored.keys):
            await self.reload(now)

    async def reload(self, now: int) -> None:
        """Read the store anew. When it cannot be read the last good keys go on, and the log says so once."""
        started = time.perf_counter()
        async with self._changing:
            try:
                stored = await self._store.load(now=now)
            except KeyStoreError as exc:
                if str(exc) != self._failure:
                    self._failure = str(exc)
                    _log.error("signing keys cannot be read, the last ones stay in use", error=self._failure)
                return
            self._failure = ""
            self._adopt(stored, now=now)
        metrics.KEY_RELOAD_DURATION.observe(time.perf_counter() - started)
        _log.info("signing keys reloaded", kid=stored.keys[0].kid, published=len(stored.keys))

    def _adopt(self, stored: StoredKeys, *, now: int) -> None:
        self._stored = stored
        self._snapshot = build_snapshot(stored.keys, now=now)


async def open_keyring(store: KeyStore, *, now: int) -> Keyring:
    """Make the store ready and return its keyring.

    Raises:
        KeyStoreError: There is no key, and none can be made.
    """
    return Keyring(store, await store.prepare(now=now), now=now)


def _listing(key: StoredKey, status: KeyStatus) -> KeyListing:
    return KeyListing(
        kid=key.kid,
        alg=key.signing_key.alg,
        status=status,
        created_at=key.created_at,
        rotated_at=key.rotated_at,
        retires_at=key.retires_at,
    )
