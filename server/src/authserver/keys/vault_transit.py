"""Signing keys that never leave Vault: the versions of a Transit key (key-management, section 3.3)."""

import time
from collections.abc import Mapping
from typing import ClassVar

from authserver.encryption.vault import VaultClient, VaultError, VaultNotFound, segment
from authserver.keys.keystore import TOPIC, KeyInUse, KeyStoreError, NoSigningKey, Record, UnknownKey, unrecorded
from authserver.keys.records import SIGNS_AFTER_SECONDS, RemoteKey, StoredKey, StoredKeys
from authserver.keys.store import VaultVersion, list_vault_versions, save_vault_version
from authserver.keys.vault_signing import VaultSigner
from authserver.keys.vault_versions import TransitVersion, read_versions
from authserver.protocol.jose import Algorithm
from authserver.storage.changes import announce
from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.spans import call_span, span

_log = get_logger("vault-transit")

_TYPES: dict[Algorithm, str] = {"ES256": "ecdsa-p256", "RS256": "rsa-2048"}
_FOREIGN_PUBLISH_SECONDS = 61
"""A version that others made is published by every process within a minute, and signs after that."""

_READ_EVERY_SECONDS = 20
_KEY_NAME = "vault.key_name"


class VaultTransitStore:
    """Has Vault keep the keys and sign with them; what Vault does not know of them is in the database.

    The algorithm of a Transit key is fixed. After a change of ``signing.algorithm`` a rotation makes a second Transit key
    beside the first, ``<key_name>-rs256`` or ``<key_name>-es256``; the newest version of all is the current key.
    """

    name: ClassVar[str] = "vault_transit"

    def __init__(
        self, db: Database, client: VaultClient, *, mount: str, key_name: str, algorithm: Algorithm, retention: int
    ) -> None:
        """Describe the store; nothing is asked yet.

        Args:
            db: Knows which versions this server made, and which were retired.
            client: Signed in; closed with the store.
            mount: Where the transit engine is mounted.
            key_name: The Transit key.
            algorithm: Of new keys. Those that exist keep their own.
            retention: Seconds that a key stays published after its rotation.
        """
        self._db = db
        self._client = client
        self._mount = segment(mount)
        self._key_name = key_name
        self._algorithm = algorithm
        self._retention = retention
        self._names = (key_name, *(f"{key_name}-{alg.lower()}" for alg in _TYPES))
        self._signer = VaultSigner(client, self._mount)

    def may_have_changed(self, stored: StoredKeys, *, now: int) -> bool:
        """Look again after a while: whoever rotates in Vault itself announces nothing."""
        return not isinstance(stored.version, int) or not 0 <= now - stored.version < _READ_EVERY_SECONDS

    async def prepare(self, *, now: int) -> StoredKeys:
        """Make the Transit key where there is none; of instances that start together, Vault makes one for all."""
        try:
            await self._read(self._key_name)
        except VaultNotFound:
            is_new = await self._make_first(now=now)
        except VaultError as exc:
            raise _error(exc) from exc
        else:
            is_new = False
        return await self._load(now=now, is_new=is_new)

    async def load(self, *, now: int) -> StoredKeys:
        """Read the versions from Vault, and what is known of them from the database."""
        with span("VaultTransit.ListActive", **{_KEY_NAME: self._key_name}):
            return await self._load(now=now)

    async def rotate(self, *, now: int, record: Record) -> StoredKeys:
        """Have Vault make a version, read it back, and record when.

        Where somebody else rotates at the same time OpenBao may make one more, which counts as made by somebody else.
        """
        asked_at = time.monotonic()
        try:
            with span("VaultTransit.Save", **{_KEY_NAME: self._key_name}):
                made = await self._make(_choose(await self._list(), self._key_name, self._algorithm))
        except VaultError as exc:
            raise _error(exc) from exc

        async def change(tx: Writer) -> None:
            # Waiting must not make the key look older than it is, for age decides when it signs.
            created_at = now + round(time.monotonic() - asked_at)
            await save_vault_version(tx, _known(made, created_at=created_at))

        try:
            await record(made.kid, change)
        except StorageUnavailable as exc:
            raise unrecorded(made.kid, "rotated", exc) from exc
        return await self._load(now=now)

    async def retire(self, kid: str, *, now: int, record: Record) -> StoredKeys:
        """Mark a version as one that nobody publishes. Vault keeps it until its operator raises the least version."""
        stored = await self._load(now=now)
        if kid not in {key.kid for key in stored.keys}:
            raise UnknownKey(f"kid={kid} is not a published key")
        if stored.keys[0].kid == kid:
            raise KeyInUse(kid, seconds=None)
        try:
            version = next(version for version in await self._list() if version.kid == kid)
        except VaultError as exc:
            raise _error(exc) from exc
        await record(kid, lambda tx: save_vault_version(tx, _known(version, retired_at=now)))
        return await self._load(now=now)

    async def close(self) -> None:
        """End the renewal of the token."""
        await self._client.close()

    async def _load(self, *, now: int, is_new: bool = False) -> StoredKeys:
        try:
            versions = await self._list()
        except VaultNotFound as exc:
            raise NoSigningKey(f"signing keys in vault: {exc}") from exc
        except VaultError as exc:
            raise _error(exc) from exc
        rows = await list_vault_versions(self._db, self._names)
        known = {(row.kid, row.vault_created_at): row for row in rows}
        keys: list[StoredKey] = []
        rotated_at: int | None = None
        for version in versions:
            row = known.get((version.kid, version.created_at))
            key = self._stored(version, row, rotated_at=rotated_at)
            rotated_at = key.created_at
            # The current key is never left out: what was retired before a key of its name was made again is another.
            if not keys or not (key.is_retired(now=now) or (row and row.retired_at is not None)):
                keys.append(key)
        return StoredKeys(version=now, keys=tuple(keys), is_new=is_new)

    def _stored(self, version: TransitVersion, row: VaultVersion | None, *, rotated_at: int | None) -> StoredKey:
        is_ours = row is not None and row.created_at is not None
        return StoredKey(
            signing_key=self._remote(version),
            created_at=row.created_at if row is not None and row.created_at is not None else version.created_at,
            rotated_at=rotated_at,
            retires_at=None if rotated_at is None else rotated_at + self._retention,
            publish_seconds=SIGNS_AFTER_SECONDS if is_ours else _FOREIGN_PUBLISH_SECONDS,
        )

    def _remote(self, version: TransitVersion) -> RemoteKey:
        sign = self._signer.signing_with(version.key_name, version.number, version.public)
        return RemoteKey(kid=version.kid, alg=version.public.alg, public=version.public, _sign=sign)

    async def _list(self) -> list[TransitVersion]:
        """Return the versions of all Transit keys of ours, newest first.

        Raises:
            VaultError: The first one cannot be read.
        """
        versions = await self._read(self._key_name)
        for name in {row.key_name for row in await list_vault_versions(self._db, self._names[1:])}:
            try:
                versions += await self._read(name)
            except VaultNotFound:
                _log.warning("a signing key is gone from vault", key_name=name)
        return sorted(versions, key=lambda version: (version.made_at, version.number), reverse=True)

    async def _read(self, key_name: str) -> list[TransitVersion]:
        with call_span("VaultClient.ReadKey", **{_KEY_NAME: key_name}):
            return read_versions(key_name, await self._client.read(f"{self._mount}/keys/{segment(key_name)}"))

    async def _make_first(self, *, now: int) -> bool:
        """Make the first key; tell whether this instance was the first to see it."""
        try:
            # Making a key that is there already does nothing.
            await self._create(self._key_name)
            made = (await self._read(self._key_name))[-1]
        except VaultError as exc:
            raise _error(exc) from exc

        async def save(tx: Writer) -> bool:
            await announce(tx, TOPIC)
            if any(row.kid == made.kid for row in await list_vault_versions(tx, (self._key_name,))):
                return False
            await save_vault_version(tx, _known(made, created_at=now))
            return True

        is_new = await self._db.write(save)
        if is_new:
            _log.warning("no signing key found, a new one was made", kid=made.kid, key_name=self._key_name)
        return is_new

    async def _create(self, key_name: str) -> None:
        kind = _TYPES[self._algorithm]
        with call_span("VaultClient.CreateKey", **{_KEY_NAME: key_name, "vault.key_type": kind}):
            await self._client.write(f"{self._mount}/keys/{segment(key_name)}", {"type": kind})

    async def _make(self, key_name: str) -> TransitVersion:
        """Make a version of a key, or the key; return it as Vault has it."""
        try:
            before = await self._read(key_name)
        except VaultNotFound:
            await self._create(key_name)
            return (await self._read(key_name))[0]
        with call_span("VaultClient.RotateKey", **{_KEY_NAME: key_name}):
            await self._client.write(f"{self._mount}/keys/{segment(key_name)}/rotate", {}, is_repeatable=False)
        # Of two rotations at once both may see the later version; the other one counts as made by somebody else.
        after = (await self._read(key_name))[0]
        if after.number <= before[0].number:
            raise VaultError(f"vault made no new version of the key {key_name}")
        return after


def _choose(versions: list[TransitVersion], key_name: str, algorithm: Algorithm) -> str:
    """Return the Transit key of which the next version is made."""
    algorithms: Mapping[str, Algorithm] = {version.key_name: version.public.alg for version in reversed(versions)}
    for name in (versions[0].key_name, key_name):
        if algorithms.get(name) == algorithm:
            return name
    return f"{key_name}-{algorithm.lower()}"


def _known(version: TransitVersion, *, created_at: int | None = None, retired_at: int | None = None) -> VaultVersion:
    return VaultVersion(
        kid=version.kid,
        vault_created_at=version.created_at,
        key_name=version.key_name,
        created_at=created_at,
        retired_at=retired_at,
    )


def _error(exc: VaultError) -> KeyStoreError:
    return KeyStoreError(f"signing keys in vault: {exc}")
