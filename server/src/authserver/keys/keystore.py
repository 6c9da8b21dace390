"""What every store of signing keys can do, and how long it keeps what signs no longer."""

from collections.abc import Hashable
from typing import Protocol

from authserver.keys.records import StoredKeys

JWKS_MAX_AGE_SECONDS = 300
"""How long verifiers may keep the published keys (ruling R9)."""

_SKEW_SECONDS = 300


class KeyStoreError(Exception):
    """The keys cannot be read or written. The message names the file and never holds what is in it."""


class KeyStore(Protocol):
    """Keeps signing keys. Of all processes that share a store, one at a time changes it."""

    def version(self) -> Hashable:
        """Return what changes when the stored keys do; cheap enough to be asked each second, never raises."""
        ...

    async def prepare(self, *, now: int) -> StoredKeys:
        """Make the store ready at boot and return its keys, after making the first one if there is none.

        Raises:
            KeyStoreError: The store cannot be read, or holds no key and cannot be written.
        """
        ...

    async def load(self, *, now: int) -> StoredKeys:
        """Return the keys that are to be published; those that have retired are deleted.

        Raises:
            KeyStoreError: The store cannot be read, or has lost its current key.
        """
        ...

    async def rotate(self, *, now: int) -> StoredKeys:
        """Put a new key in front and return all of them. When this returns, the change is durable.

        Raises:
            KeyStoreError: The store cannot be read or written. What was published before is still there.
        """
        ...


def retention_seconds(*token_lifetimes: int) -> int:
    """Return how long a key stays published after its rotation (key-management, section 4).

    Args:
        token_lifetimes: Seconds, one for each grant.
    """
    return max(token_lifetimes) + JWKS_MAX_AGE_SECONDS + _SKEW_SECONDS
