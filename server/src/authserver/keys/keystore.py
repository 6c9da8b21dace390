"""What every store of signing keys can do, and how long it keeps what signs no longer."""

from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol

from authserver.keys.records import StoredKeys
from authserver.storage.database import StorageUnavailable, Writer

JWKS_MAX_AGE_SECONDS = 300
"""How long verifiers may keep the published keys (ruling R9)."""

TOPIC = "signing_keys"
"""The topic of ``changes`` that every change of a key raises."""

_SKEW_SECONDS = 300

Change = Callable[[Writer], Awaitable[None]]
"""Statements of a store, to be run in the transaction that announces them."""


class KeyStoreError(Exception):
    """The keys cannot be read or written. The message names the place and never holds what is in it."""


class NoSigningKey(KeyStoreError):  # noqa: N818  an outcome that callers turn into one of their own
    """The store is in order and empty: a server that starts makes the first key."""


class UnknownKey(KeyStoreError):  # noqa: N818  an outcome that callers turn into one of their own
    """No published key has this name."""


class KeyInUse(KeyStoreError):  # noqa: N818  an outcome that callers turn into one of their own
    """The key signs, so it cannot be retired.

    Attributes:
        seconds: How long it will go on; None: until there is a new key.
    """

    def __init__(self, kid: str, *, seconds: int | None) -> None:
        super().__init__(
            f"kid={kid} is the current key: rotate first"
            if seconds is None
            else f"kid={kid} signs for {seconds} more seconds, until every server publishes its successor; try again then"
        )
        self.seconds = seconds


class Record(Protocol):
    """Makes a change known: announces it to every process, with its audit row, in one transaction."""

    async def __call__(self, kid: str, change: Change | None = None) -> None:
        """Record a change.

        Args:
            kid: The key that was made or retired.
            change: What of it stands in the database, committed with the rest or not at all.

        Raises:
            StorageUnavailable: The database is away.
        """
        ...


class KeyStore(Protocol):
    """Keeps signing keys. Of all processes that share a store, one at a time changes it."""

    name: ClassVar[str]
    """As ``signing.key_store`` spells it."""

    def may_have_changed(self, stored: StoredKeys, *, now: int) -> bool:
        """Tell whether another look is due, beside those after an announcement; asked each second, never raises."""
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
            NoSigningKey: There is none to sign with yet.
            KeyStoreError: The store cannot be read, or has lost its current key.
        """
        ...

    async def rotate(self, *, now: int, record: Record) -> StoredKeys:
        """Put a new key in front and return all of them. When this returns, the change is durable and recorded.

        Raises:
            KeyStoreError: The store cannot be read or written. What was published before is still there.
        """
        ...

    async def retire(self, kid: str, *, now: int, record: Record) -> StoredKeys:
        """Take a previous key out at once and return the others. What it signed is verified by nobody any more.

        Raises:
            UnknownKey: It is not there.
            KeyInUse: It is the current one.
            KeyStoreError: The store cannot be read or written.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


def retention_seconds(*token_lifetimes: int) -> int:
    """Return how long a key stays published after its rotation (key-management, section 4).

    Args:
        token_lifetimes: Seconds, one for each grant.
    """
    return max(token_lifetimes) + JWKS_MAX_AGE_SECONDS + _SKEW_SECONDS


def unrecorded(kid: str, what: str, exc: StorageUnavailable) -> KeyStoreError:
    """Return what an operator is told when a key outside the database was changed, and the database went away."""
    return KeyStoreError(f"the key kid={kid} was {what}, but that could not be recorded: {exc}")
