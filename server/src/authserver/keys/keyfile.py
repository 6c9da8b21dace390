"""Signing keys as files of one directory, for one instance and the commands beside it (key-management, section 3.1)."""

import asyncio
import re
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from authserver.keys.directory import KeyDirectory, KeyFiles
from authserver.keys.keystore import KeyInUse, KeyStoreError, NoSigningKey, Record, UnknownKey, unrecorded
from authserver.keys.records import StoredKey, StoredKeys
from authserver.keys.volatile import find_volatile
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.jose import Algorithm, SigningKey, generate_signing_key
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.logs import get_logger

_CURRENT = "current"
_PREVIOUS = "previous"
_ROTATED = re.compile(r"rotated-([0-9]{1,12})-.+")
_READ_ATTEMPTS = 5

_log = get_logger("keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filed:
    """A stored key and the trio of files it stands in."""

    files: KeyFiles
    key: StoredKey

    @property
    def stem(self) -> str:
        return self.files.stem


class KeyfileStore:
    """Keeps keys as ``current``, ``previous`` and ``rotated-<seconds>-<kid>``.

    Every change keeps each key in at least one complete trio at every moment, so that a process killed anywhere loses
    none: the next start, or the next rotation, finds what is there and goes on from it.
    """

    name: ClassVar[str] = "keyfile"

    def __init__(self, path: Path, *, algorithm: Algorithm, retention: int) -> None:
        """Describe the store; nothing is touched yet.

        Args:
            path: The directory.
            algorithm: Of new keys. Those that exist keep their own.
            retention: Seconds that a key stays published after its rotation.
        """
        self._path = path
        self._directory = KeyDirectory(path)
        self._algorithm = algorithm
        self._retention = retention

    def may_have_changed(self, stored: StoredKeys, *, now: int) -> bool:  # noqa: ARG002  as the protocol has it
        """Look at the directory, which takes about 50 microseconds: commands, backups and people write there, too."""
        return self._directory.version() != stored.version

    async def prepare(self, *, now: int) -> StoredKeys:
        """Make the directory and the first key where they are missing. Of two processes, one makes the key."""
        return await asyncio.to_thread(self._prepare, now)

    async def load(self, *, now: int) -> StoredKeys:
        """Read the directory; delete the files of keys that have retired."""
        return await asyncio.to_thread(self._load, now)

    async def rotate(self, *, now: int, record: Record) -> StoredKeys:
        """Write a new current key, after the old one became previous and the previous one a retained one."""
        stored = await asyncio.to_thread(self._rotate, now)
        await _record(record, stored.keys[0].kid, "rotated")
        return stored

    async def retire(self, kid: str, *, now: int, record: Record) -> StoredKeys:
        """Remove the files of a previous key."""
        stored = await asyncio.to_thread(self._retire, kid, now)
        await _record(record, kid, "retired")
        return stored

    async def close(self) -> None:
        """Hold nothing."""

    def _prepare(self, now: int) -> StoredKeys:
        self._directory.create()
        if filesystem := find_volatile(self._path):
            _log.warning(
                "signing keys are ephemeral: they go with the container or at a restart, mount a volume at signing.key_path",
                path=str(self._path),
                filesystem=filesystem,
            )
        with self._directory.locked():
            if _CURRENT not in self._directory.list_stems():
                signing_key = self._new_key()
                self._directory.remove_unfinished()
                self._directory.write(_CURRENT, signing_key, created_at=now)
                # Loud, because it may mean a volume that is not mounted: then this happens at every start.
                _log.warning("no signing key found, a new one was made", kid=signing_key.kid, path=str(self._path))
                return replace(self._settle(now), is_new=True)
            return self._settle(now)

    def _load(self, now: int) -> StoredKeys:
        with self._directory.locked():
            return self._settle(now)

    def _rotate(self, now: int) -> StoredKeys:
        asked_at = time.monotonic()
        signing_key = self._new_key()
        with self._directory.locked():
            self._directory.remove_unfinished()
            _, filed = self._read()
            keys = {entry.stem: entry.files for entry in filed}
            # With no current key a rotation died here before, and its old key stands as the previous one already.
            if current := keys.get(_CURRENT):
                if previous := keys.get(_PREVIOUS):
                    # First a second copy of what the next step overwrites.
                    self._copy(f"rotated-{current.created_at}-{quote(previous.signing_key.kid, safe='')}", previous)
                self._copy(_PREVIOUS, current)
            # Waiting for the lock must not make the key look older than it is, for age decides when it signs.
            waited = round(time.monotonic() - asked_at)
            self._directory.write(_CURRENT, signing_key, created_at=now + waited)
            return self._settle(now)

    def _retire(self, kid: str, now: int) -> StoredKeys:
        with self._directory.locked():
            _, filed = self._read()
            stems = [entry.stem for entry in filed if entry.key.kid == kid]
            if not stems:
                raise UnknownKey(f"kid={kid} is not a published key")
            if _CURRENT in stems:
                raise KeyInUse(kid, seconds=None)
            for stem in stems:
                self._directory.remove(stem)
            return self._settle(now)

    def _new_key(self) -> SigningKey:
        return generate_signing_key(self._algorithm, kid=new_public_id())

    def _copy(self, stem: str, files: KeyFiles) -> None:
        self._directory.write(stem, files.signing_key, created_at=files.created_at)

    def _settle(self, now: int) -> StoredKeys:
        """Return the keys to publish; delete the files of what has retired or is there twice."""
        version, filed = self._read()
        if not filed or filed[0].stem != _CURRENT:
            raise NoSigningKey(f"{self._path / _CURRENT}.pem: missing")
        kept: dict[str, StoredKey] = {}
        dropped: list[str] = []
        for entry in filed:
            if entry.key.kid in kept or entry.key.is_retired(now=now):
                dropped.append(entry.stem)
            else:
                kept[entry.key.kid] = entry.key
        if dropped:
            self._remove(dropped)
            version = self._directory.version()
        return StoredKeys(version=version, keys=tuple(kept.values()))

    def _remove(self, stems: list[str]) -> None:
        try:
            for stem in stems:
                self._directory.remove(stem)
        except KeyStoreError as exc:
            # They are not published whether their files are there or not.
            _log.warning("files of a retired key could not be deleted", error=str(exc))

    def _read(self) -> tuple[Hashable, list[_Filed]]:
        """Return all keys, current first, previous ones newest first, and the version of the directory.

        A reader that may not write holds no lock, so it reads again when something moved meanwhile.
        """
        for _ in range(_READ_ATTEMPTS):
            version = self._directory.version()
            filed = self._read_once()
            if version is not None and version == self._directory.version():
                return version, filed
        raise KeyStoreError(f"{self._path}: changes while it is read")

    def _read_once(self) -> list[_Filed]:
        current = self._directory.read(_CURRENT)
        previous = self._directory.read(_PREVIOUS)
        filed = [] if current is None else [self._filed(current, rotated_at=None)]
        if previous is not None:
            # The previous key was rotated when the current one was made.
            filed.append(self._filed(previous, rotated_at=current.created_at if current else None))
        rotated = [self._filed(files, rotated_at=rotated_at) for files, rotated_at in self._read_rotated()]
        return filed + sorted(rotated, key=lambda entry: entry.key.rotated_at or 0, reverse=True)

    def _read_rotated(self) -> Iterator[tuple[KeyFiles, int]]:
        for stem in self._directory.list_stems():
            named = _ROTATED.fullmatch(stem)
            files = self._directory.read(stem) if named else None
            if named and files:
                yield files, int(named[1])

    def _filed(self, files: KeyFiles, *, rotated_at: int | None) -> _Filed:
        key = StoredKey(
            signing_key=files.signing_key,
            created_at=files.created_at,
            rotated_at=rotated_at,
            retires_at=None if rotated_at is None else rotated_at + self._retention,
        )
        return _Filed(files=files, key=key)


async def _record(record: Record, kid: str, what: str) -> None:
    """Record what the files say already."""
    try:
        await record(kid)
    except StorageUnavailable as exc:
        raise unrecorded(kid, what, exc) from exc
