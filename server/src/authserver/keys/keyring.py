"""The keys of this process: one snapshot to sign and publish from, kept up to date with the store."""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from authserver.keys.keystore import KeyInUse, KeyStore, KeyStoreError, Record
from authserver.keys.records import KeyListing, KeyStatus, RemoteKey, StoredKey, StoredKeys
from authserver.keys.snapshot import Snapshot, build_snapshot
from authserver.protocol.jose import SignedToken, SigningKey
from authserver.storage.database import StorageUnavailable
from authserver.telemetry import metrics
from authserver.telemetry.logs import get_logger

_log = get_logger("keys")

# What a store takes longer for goes on beside the poll, which has others to serve within two seconds.
_POLL_WAIT_SECONDS = 0.3


class Keyring:
    """Signs, publishes and rotates. Holds every published key of the store, a handful; changes reach it by ``refresh``."""

    def __init__(self, store: KeyStore, stored: StoredKeys, *, now: int) -> None:
        self._store = store
        self._stored = stored
        self._snapshot = build_snapshot(stored.keys, now=now)
        self._failure = ""
        # How often a change was announced, and up to which announcement the store was read.
        self._wanted = self._served = 0
        self._changing = asyncio.Lock()
        self._reloading: asyncio.Task[bool] | None = None

    @property
    def is_new(self) -> bool:
        """Whether its first key was made when it was opened."""
        return self._stored.is_new

    def current(self, now: int) -> SigningKey | RemoteKey:
        """Return the key to sign with."""
        return self.snapshot(now).signing_key

    async def sign(self, claims: Mapping[str, object], *, now: int) -> SignedToken:
        """Return an access token with these claims. Waits for nothing but a key that is elsewhere.

        Raises:
            SigningUnavailable: Whoever keeps the key does not answer.
        """
        key = self.current(now)
        return key.sign(claims) if isinstance(key, SigningKey) else await key.sign(claims)

    def snapshot(self, now: int) -> Snapshot:
        """Return what is published."""
        if now >= self._snapshot.expires_at:
            self._snapshot = build_snapshot(self._stored.keys, now=now)
        return self._snapshot

    def list_keys(self, now: int) -> list[KeyListing]:
        """Return the published keys as operators see them, in the order of publication."""
        first, *others = self.snapshot(now).keys
        return [
            self._listing(first, KeyStatus.CURRENT),
            *(self._listing(key, KeyStatus.PREVIOUS) for key in others),
        ]

    async def rotate(self, now: int, record: Record) -> KeyListing:
        """Put a new key in front, published before this returns; it signs some seconds later.

        Raises:
            KeyStoreError: The store cannot be written. Everything goes on with the keys there are.
        """
        async with self._changing:
            self._adopt(await self._store.rotate(now=now, record=record), now=now)
        rotated = self._listing(self._stored.keys[0], KeyStatus.CURRENT)
        metrics.KEY_ROTATION.inc()
        _log.info("signing key rotated", kid=rotated.kid, alg=rotated.alg)
        return rotated

    async def retire(self, kid: str, now: int, record: Record) -> None:
        """Publish a previous key no more: what it signed counts for nothing from now on.

        Raises:
            UnknownKey: It is not published.
            KeyInUse: It is the current one, or still signs because its successor is not published everywhere.
            KeyStoreError: The store cannot be written.
        """
        async with self._changing:
            stored = await self._store.load(now=now)
            self._adopt(stored, now=now)
            until = self._snapshot.signs_until(kid, now=now)
            if until is not None:
                raise KeyInUse(kid, seconds=None if stored.keys[0].kid == kid else until - now)
            self._adopt(await self._store.retire(kid, now=now, record=record), now=now)
        _log.warning("signing key retired", kid=kid)

    async def refresh(self, now: int) -> None:
        """Obey what another process did to the store; to be called each second, and cheap when nothing happened."""
        if (
            self._wanted != self._served
            or self._store.may_have_changed(self._stored, now=now)
            or any(key.is_retired(now=now) for key in self._stored.keys)
        ):
            await self._reload_soon(now)

    async def obey(self, now: int) -> None:
        """Obey a change that was announced."""
        self._wanted += 1
        await self._reload_soon(now)

    async def _reload_soon(self, now: int) -> None:
        """Read the store anew, and wait for it a moment only: what takes longer goes on beside the caller."""
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload(now))
        await asyncio.wait({self._reloading}, timeout=_POLL_WAIT_SECONDS)

    async def reload(self, now: int) -> None:
        """Read the store anew, whether or not it looks changed. When it cannot be read the last good keys go on."""
        self._wanted += 1
        if await self._reload(now):
            _log.info("signing keys reloaded", kid=self._stored.keys[0].kid, published=len(self._stored.keys))

    async def _reload(self, now: int) -> bool:
        """Read the store; return whether that succeeded. A failure is logged once, and tried again each second."""
        started = time.perf_counter()
        async with self._changing:
            wanted, before = self._wanted, self._stored.keys
            try:
                stored = await self._store.load(now=now)
            except (KeyStoreError, StorageUnavailable) as exc:
                self._wanted += 1
                if str(exc) != self._failure:
                    self._failure = str(exc)
                    _log.error("signing keys cannot be read, the last ones stay in use", error=self._failure)
                return False
            self._failure = ""
            self._served = wanted
            self._adopt(stored, now=now)
        metrics.KEY_RELOAD_DURATION.observe(time.perf_counter() - started)
        if stored.keys != before:
            _log.info("signing keys changed", kid=stored.keys[0].kid, published=len(stored.keys))
        return True

    async def close(self) -> None:
        """Read no more."""
        if self._reloading is not None:
            self._reloading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reloading
        await self._store.close()

    def _adopt(self, stored: StoredKeys, *, now: int) -> None:
        self._stored = stored
        self._snapshot = build_snapshot(stored.keys, now=now)

    def _listing(self, key: StoredKey, status: KeyStatus) -> KeyListing:
        return KeyListing(
            kid=key.kid,
            alg=key.signing_key.alg,
            status=status,
            created_at=key.created_at,
            rotated_at=key.rotated_at,
            retires_at=key.retires_at,
            store=self._store.name,
        )


async def open_keyring(store: KeyStore, *, now: int, makes_first: bool = True) -> Keyring:
    """Make the store ready, unless it has to be ready, and return its keyring.

    Raises:
        KeyStoreError: There is no key, and none is made.
        StorageUnavailable: The database that keeps them is away.
    """
    try:
        stored = await store.prepare(now=now) if makes_first else await store.load(now=now)
    except BaseException:
        await store.close()
        raise
    return Keyring(store, stored, now=now)
