"""What a key store keeps, and what operators see of it."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from authserver.protocol.jose import Algorithm, SigningKey


class KeyStatus(StrEnum):
    """What a published key is to operators; a new key is current from its rotation on, before it signs."""

    CURRENT = "current"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A signing key and its history.

    Attributes:
        created_at: Seconds since the epoch.
        rotated_at: When its successor came; None for the current key.
        retires_at: When it is published no longer; None for the current key.
    """

    signing_key: SigningKey
    created_at: int
    rotated_at: int | None = None
    retires_at: int | None = None

    @property
    def kid(self) -> str:
        """The key's public name."""
        return self.signing_key.kid

    def is_retired(self, *, now: int) -> bool:
        """Tell whether the last token it signed has expired."""
        return self.retires_at is not None and now >= self.retires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """Everything a key store holds at one moment.

    Attributes:
        version: The store's ``version()`` when it held just this.
        keys: The current key first, then the previous ones, newest first; never empty.
    """

    version: Hashable
    keys: tuple[StoredKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyListing:
    """A key as operators see it."""

    kid: str
    alg: Algorithm
    status: KeyStatus
    created_at: int
    rotated_at: int | None
    retires_at: int | None
