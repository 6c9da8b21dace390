"""Signing keys as rows of the database that all instances share, sealed (key-management, section 3.2)."""

import asyncio
import time
from dataclasses import replace
from typing import ClassVar

from authserver.encryption.encryptor import EncryptionFailed, Encryptor
from authserver.keys.keystore import TOPIC, KeyInUse, KeyStoreError, NoSigningKey, Record, UnknownKey
from authserver.keys.records import StoredKey, StoredKeys
from authserver.keys.store import (
    SealedKey,
    delete_previous,
    delete_rotated_before,
    has_current_key,
    insert_current,
    list_sealed_keys,
    supersede_current,
)
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.jose import Algorithm, InvalidKey, SigningKey, generate_signing_key, load_signing_key
from authserver.storage.changes import announce
from authserver.storage.database import Database, UniqueViolation, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.spans import span

_log = get_logger("keys")

_CONFLICT_PAUSES = (0.1, 0.2, 0.4)


class DatabaseKeyStore:
    """Keeps each key in a row, its private half sealed under the context ``signing-key:<kid>``.

    A key is opened once and kept, so signing costs what it costs from a file. Changes come one after the other: each first
    raises the version of the topic, whose row all others then wait for.
    """

    name: ClassVar[str] = "postgres_key"

    def __init__(self, db: Database, encryptor: Encryptor, *, algorithm: Algorithm, retention: int) -> None:
        """Describe the store; nothing is touched yet.

        Args:
            db: Holds the rows.
            encryptor: Seals the private keys.
            algorithm: Of new keys. Those that exist keep their own.
            retention: Seconds that a key stays published after its rotation.
        """
        self._db = db
        self._encryptor = encryptor
        self._algorithm = algorithm
        self._retention = retention
        self._opened: dict[str, SigningKey] = {}

    def may_have_changed(self, stored: StoredKeys, *, now: int) -> bool:  # noqa: ARG002  as the protocol has it
        """Return False: every change is announced in its own transaction."""
        return False

    async def prepare(self, *, now: int) -> StoredKeys:
        """Make the first key where there is none; of two instances that start together, one makes it for both."""
        if await list_sealed_keys(self._db):
            return await self.load(now=now)
        signing_key, row = await self._new_key(now=now)

        async def insert_first(tx: Writer) -> bool:
            await announce(tx, TOPIC)
            if await has_current_key(tx):
                return False
            await insert_current(tx, row)
            return True

        try:
            is_new = await self._db.write(insert_first)
        except UniqueViolation:
            is_new = False
        if is_new:
            _log.warning("no signing key found, a new one was made", kid=signing_key.kid, table="signing_keys")
        return await self._read(now=now, is_new=is_new)

    async def load(self, *, now: int) -> StoredKeys:
        """Read all rows; delete those of keys that have retired."""
        rows = await list_sealed_keys(self._db)
        if any(self._has_retired(row, now=now) for row in rows):
            await self._db.write(lambda tx: delete_rotated_before(tx, now - self._retention))
        with span("HAKeyStore.ListActive"):
            return await self._read(now=now)

    async def rotate(self, *, now: int, record: Record) -> StoredKeys:
        """Insert a new current key, after the old one was superseded, in the transaction that records it."""
        asked_at = time.monotonic()
        signing_key, row = await self._new_key(now=now)

        async def change(tx: Writer) -> None:
            # Waiting must not make the key look older than it is, for age decides when it signs.
            created_at = now + round(time.monotonic() - asked_at)
            await supersede_current(tx, now=created_at)
            await insert_current(tx, replace(row, created_at=created_at))

        for pause in (*_CONFLICT_PAUSES, None):
            try:
                with span("HAKeyStore.Save", kid=signing_key.kid, algorithm=signing_key.alg):
                    await record(signing_key.kid, change)
            except UniqueViolation as exc:
                if pause is None:
                    raise KeyStoreError("rotation conflict") from exc
                await asyncio.sleep(pause)
            else:
                break
        return await self._read(now=now)

    async def retire(self, kid: str, *, now: int, record: Record) -> StoredKeys:
        """Delete the row of a previous key in the transaction that records it."""
        rows = await list_sealed_keys(self._db)
        if kid not in {row.kid for row in rows}:
            raise UnknownKey(f"kid={kid} is not a published key")
        if rows[0].kid == kid:
            raise KeyInUse(kid, seconds=None)
        await record(kid, lambda tx: delete_previous(tx, kid))
        return await self._read(now=now)

    async def close(self) -> None:
        """Hold nothing: the database and the encryptor are others'."""

    async def _new_key(self, *, now: int) -> tuple[SigningKey, SealedKey]:
        kid = new_public_id()
        signing_key = await asyncio.to_thread(generate_signing_key, self._algorithm, kid=kid)
        try:
            sealed_pem = await self._encryptor.seal(signing_key.dump_pem(), context=_context(kid))
        except EncryptionFailed as exc:
            raise KeyStoreError(f"the signing key kid={kid} cannot be sealed: {exc}") from exc
        row = SealedKey(kid=kid, alg=signing_key.alg, sealed_pem=sealed_pem, created_at=now, rotated_at=None)
        return signing_key, row

    async def _read(self, *, now: int, is_new: bool = False) -> StoredKeys:
        rows = await list_sealed_keys(self._db)
        if not rows or rows[0].rotated_at is not None:
            kind = KeyStoreError if rows else NoSigningKey
            raise kind("table signing_keys: there is no current key")
        # A row that has retired is not opened: it may be of a master key that is gone.
        opened = {row.kid: await self._open(row) for row in rows if not self._has_retired(row, now=now)}
        self._opened = opened
        keys = tuple(self._stored(row, opened[row.kid]) for row in rows if row.kid in opened)
        return StoredKeys(version=None, keys=keys, is_new=is_new)

    async def _open(self, row: SealedKey) -> SigningKey:
        if (known := self._opened.get(row.kid)) is not None:
            return known
        try:
            pem = await self._encryptor.open(row.sealed_pem, context=_context(row.kid))
            return load_signing_key(pem, kid=row.kid, alg=row.alg)
        except (EncryptionFailed, InvalidKey) as exc:
            raise KeyStoreError(f"table signing_keys: kid={row.kid} cannot be opened: {exc}") from exc

    def _stored(self, row: SealedKey, signing_key: SigningKey) -> StoredKey:
        return StoredKey(
            signing_key=signing_key,
            created_at=row.created_at,
            rotated_at=row.rotated_at,
            retires_at=None if row.rotated_at is None else row.rotated_at + self._retention,
        )

    def _has_retired(self, row: SealedKey, *, now: int) -> bool:
        return row.rotated_at is not None and now >= row.rotated_at + self._retention


def _context(kid: str) -> str:
    return f"signing-key:{kid}"
