"""Memory that the workers of one server share: rows of a fixed size, each with a lock of its own.

Made before the workers part. It is a file that has no name, mapped by all. A row is locked with a record lock of the system,
which is given back when its holder dies: a worker killed in the middle of a change stops nobody. What it leaves behind may
mix the old with the new, so whoever reads a row must be able to live with that.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import secrets
import weakref
from collections.abc import Iterator

_NAME_BYTES = 8


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
        """Keep every other process from the row. One thread of a process uses it, and nothing is awaited within."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, row)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, row)
