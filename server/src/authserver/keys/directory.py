"""A directory of key files: each key is a trio ``<stem>.pem``, ``<stem>.kid`` and ``<stem>.alg``.

A trio exists when its PEM does. The PEM is removed first and written last, with the disk flushed in between, so that
whoever looks, after whatever crash, never finds a PEM beside the name of another key.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

from authserver.keys.keystore import KeyStoreError
from authserver.protocol.jose import InvalidKey, SigningKey, load_signing_key
from authserver.telemetry.logs import get_logger

LOCK_FILE = ".lock"

_LOCK_TIMEOUT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.01
_TEMPORARY = ".tmp"
_KID = re.compile(r"[!-~]{1,200}")
_READABLE_BY_OTHERS = 0o077

_log = get_logger("keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """One trio that was read.

    Attributes:
        created_at: Seconds since the epoch: when the PEM was last modified.
    """

    stem: str
    signing_key: SigningKey
    created_at: int


class KeyDirectory:
    """Reads and writes key files. Every method blocks; all but ``version`` raise KeyStoreError with the path in it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Make the directory, for its owner only, unless it is there."""
        with _named_errors(self._path):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def version(self) -> Hashable:
        """Return what changes with any key file, or None when the directory cannot be looked at."""
        try:
            with os.scandir(self._path) as entries:
                return tuple(sorted(_fingerprint(entry) for entry in entries if not entry.name.startswith(".")))
        except OSError:
            return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory alone among all processes.

        A directory that this process may not write to is used without the lock: reading is all it can do there.
        """
        try:
            lock = os.open(self._path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            if exc.errno not in {errno.EROFS, errno.EACCES, errno.ENOENT} or os.access(self._path, os.W_OK):
                raise _error(self._path / LOCK_FILE, exc) from exc
            yield
            return
        try:
            # A link set by whoever owns the directory must not have root hand another file to them.
            status = os.fstat(lock)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise KeyStoreError(f"{self._path / LOCK_FILE}: not a plain file")
            self._give_to_owner(lock)
            self._wait_for(lock)
            yield
        finally:
            # Closing releases the lock, and so does the death of the process.
            os.close(lock)

    def list_stems(self) -> list[str]:
        """Return the stems of all trios."""
        with _named_errors(self._path):
            return sorted(path.stem for path in self._path.iterdir() if path.suffix == ".pem" and path.name[0] != ".")

    def read(self, stem: str) -> KeyFiles | None:
        """Return a trio, or None when there is none of this stem."""
        pem_path, kid_path, alg_path = self._paths(stem)
        pem = _read(pem_path)
        if pem is None:
            return None
        kid = _read_line(kid_path)
        if kid is None:
            raise KeyStoreError(f"{kid_path}: missing; {pem_path.name} cannot be used without its key id")
        if not _KID.fullmatch(kid):
            raise KeyStoreError(f"{kid_path}: not a key id")
        with _named_errors(pem_path):
            status = pem_path.stat()
        if status.st_mode & _READABLE_BY_OTHERS:
            _log.warning("private key file is open to others than its owner", file=str(pem_path))
        try:
            signing_key = load_signing_key(pem, kid=kid, alg=_read_line(alg_path))
        except InvalidKey as exc:
            raise KeyStoreError(f"{pem_path}: {exc}") from exc
        return KeyFiles(stem=stem, signing_key=signing_key, created_at=int(status.st_mtime))

    def write(self, stem: str, signing_key: SigningKey, *, created_at: int) -> None:
        """Write a trio in place of the one of the same stem, whose key must be in another trio by now."""
        pem_path, kid_path, alg_path = self._paths(stem)
        self._unlink(pem_path)
        self._flush()
        self._write_file(kid_path, f"{signing_key.kid}\n".encode("ascii"))
        self._write_file(alg_path, f"{signing_key.alg}\n".encode("ascii"))
        self._flush()
        self._write_file(pem_path, signing_key.dump_pem(), modified_at=created_at)
        self._flush()

    def remove(self, stem: str) -> None:
        """Remove a trio."""
        for path in self._paths(stem):
            self._unlink(path)

    def remove_unfinished(self) -> None:
        """Remove the temporary files of writers that died. Only the holder of the lock may ask."""
        with _named_errors(self._path):
            unfinished = [path for path in self._path.iterdir() if path.suffix == _TEMPORARY]
        for path in unfinished:
            self._unlink(path)

    def _paths(self, stem: str) -> tuple[Path, Path, Path]:
        # `with_suffix` would take a dot in the stem for a suffix.
        return self._path / f"{stem}.pem", self._path / f"{stem}.kid", self._path / f"{stem}.alg"

    def _write_file(self, path: Path, content: bytes, *, modified_at: int | None = None) -> None:
        """Replace a file as a whole. What it holds is on disk before its name is."""
        temporary = path.with_name(f".{path.name}{_TEMPORARY}")
        with _named_errors(path):
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                self._give_to_owner(descriptor)
                if modified_at is not None:
                    os.utime(descriptor, (modified_at, modified_at))
                os.fsync(descriptor)
            temporary.replace(path)

    def _give_to_owner(self, descriptor: int) -> None:
        """Give a file that root makes to the directory's owner, or the server could not read it after ``sudo``."""
        if os.geteuid() == 0:
            owner = self._path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)

    def _unlink(self, path: Path) -> None:
        with _named_errors(path):
            path.unlink(missing_ok=True)

    def _flush(self) -> None:
        with _named_errors(self._path):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _wait_for(self, lock: int) -> None:
        deadline = time.monotonic() + _LOCK_TIMEOUT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if time.monotonic() > deadline:
                    raise KeyStoreError(f"{self._path / LOCK_FILE}: held by another process") from exc
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return


def _fingerprint(entry: os.DirEntry[str]) -> tuple[str, int, int, int]:
    """Return what tells one state of a file from another; its change time cannot be set by anybody."""
    status = entry.stat()
    return entry.name, status.st_ino, status.st_size, status.st_ctime_ns


def _read(path: Path) -> bytes | None:
    with _named_errors(path), contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _read_line(path: Path) -> str | None:
    content = _read(path)
    return None if content is None else content.decode("utf-8", "replace").strip()


def _error(path: Path, exc: OSError) -> KeyStoreError:
    return KeyStoreError(f"{path}: {exc.strerror or type(exc).__name__}")


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _error(path, exc) from exc
