"""Memory that the workers of one server share: rows of a fixed size, each with a lock of its own.

Made before the workers part. It is a file that has no name, mapped by all. A row is locked with a record lock of the system,
which is given back when its holder dies: a worker killed in the middle of a change stops nobody. One that is stopped in the
middle keeps its row, and the others use it without the lock: what is counted in it is then counted approximately, which is
better than a server that stands still. Either may leave a mix of old and new, so whoever reads a row must be able to live
with that.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import secrets
import time
import weakref
from collections.abc import Iterator

# Longer than a holder runs that has its core; within it the event loop of who waits does nothing else.
PATIENCE = 0.005

_NAME_BYTES = 8
_SECONDS_BETWEEN_TRIES = 0.000_05
# A row that was not to be had is not waited for again until then: its holder is likely to be stopped.
_IMPATIENT_SECONDS = 1.0


class SharedRows:
    """A table of rows, all zero at first. A key belongs to one row, which nobody outside can predict."""

    def __init__(self, *, rows: int, row_bytes: int) -> None:
        """Take the memory.

        Args:
            rows: How many, at least.
            row_bytes: The size of one.
        """
        self._rows = 1 << max(0, rows - 1).bit_length()
        self._row_bytes = row_bytes
        self._secret = secrets.token_bytes(16)
        self._file = os.memfd_create("authserver-limits")
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, self._rows * row_bytes)
        self.memory = mmap.mmap(self._file, self._rows * row_bytes)
        # The rows that this process did not get, and until when it does not wait for them.
        self._impatient_until: dict[int, float] = {}

    def place(self, key: bytes) -> tuple[int, int]:
        """Return the row of a key, and its name there: 64 bits, never 0."""
        digest = hashlib.blake2b(key, key=self._secret, digest_size=_NAME_BYTES + 4).digest()
        row = int.from_bytes(digest[_NAME_BYTES:], "big") & (self._rows - 1)
        return row, int.from_bytes(digest[:_NAME_BYTES], "big") or 1

    def offset(self, row: int) -> int:
        """Return where a row begins in ``memory``."""
        return row * self._row_bytes

    @contextlib.contextmanager
    def locked(self, row: int) -> Iterator[None]:
        """Keep every other process from the row, unless one holds it that does not go on.

        One thread of a process uses it, and nothing is awaited within.
        """
        held = self._try(row) or self._wait_for(row)
        try:
            yield
        finally:
            if held:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)

    def _try(self, row: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
        except (BlockingIOError, PermissionError):
            return False
        self._impatient_until.pop(row, None)
        return True

    def _wait_for(self, row: int) -> bool:
        """Try for a few milliseconds; False when the row was not to be had."""
        now = time.monotonic()
        if self._impatient_until.get(row, now) > now:
            return False
        end = now + PATIENCE
        while time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_TRIES)
            if self._try(row):
                return True
        self._impatient_until[row] = end + _IMPATIENT_SECONDS
        return False
