"""What a key store keeps, and what operators see of it."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from authserver.protocol.identifiers import token_digest
from authserver.protocol.jose import (
    ACCESS_TOKEN_TYPE,
    Algorithm,
    PublicKey,
    SignedToken,
    SigningKey,
    attach_signature,
    build_signing_input,
)

SIGNS_AFTER_SECONDS = 3
"""A key signs when every process has had it for a poll: the bound of 2 s, and 1 s because times are whole seconds."""


class KeyStatus(StrEnum):
    """What a published key is to operators; a new key is current from its rotation on, before it signs."""

    CURRENT = "current"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteKey:
    """A key whose private half is elsewhere: it signs by asking there.

    Attributes:
        public: The half that is published.
    """

    kid: str
    alg: Algorithm
    public: PublicKey
    _sign: Callable[[bytes], Awaitable[bytes]] = field(repr=False, compare=False)

    async def sign(self, claims: Mapping[str, object]) -> SignedToken:
        """Return an access token with these claims.

        Raises:
            SigningUnavailable: There is no signature to be had now.
        """
        token = await self.sign_payload(orjson.dumps(claims), typ=ACCESS_TOKEN_TYPE)
        return SignedToken(token, token_digest(token))

    async def sign_payload(self, payload: bytes, *, typ: str) -> str:
        """Return a compact JWS of any bytes.

        Raises:
            SigningUnavailable: There is no signature to be had now.
        """
        signing_input = build_signing_input(self.alg, self.kid, payload, typ=typ)
        return attach_signature(signing_input, await self._sign(signing_input.encode("ascii")))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A signing key and its history.

    Attributes:
        created_at: Seconds since the epoch.
        rotated_at: When its successor came; None for the current key.
        retires_at: When it is published no longer; None for the current key.
        publish_seconds: How long it is published before it signs.
    """

    signing_key: SigningKey | RemoteKey
    created_at: int
    rotated_at: int | None = None
    retires_at: int | None = None
    publish_seconds: int = SIGNS_AFTER_SECONDS

    @property
    def kid(self) -> str:
        """The key's public name."""
        return self.signing_key.kid

    @property
    def signs_at(self) -> int:
        """When every process publishes it."""
        return self.created_at + self.publish_seconds

    def is_retired(self, *, now: int) -> bool:
        """Tell whether the last token it signed has expired."""
        return self.retires_at is not None and now >= self.retires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """Everything a key store holds at one moment.

    Attributes:
        version: By which the store tells whether it may have changed since.
        keys: The current key first, then the previous ones, newest first; never empty.
        is_new: Whether the store was empty, and this is its first key.
    """

    version: Hashable
    keys: tuple[StoredKey, ...]
    is_new: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyListing:
    """A key as operators see it.

    Attributes:
        store: Where it is kept, as ``signing.key_store`` spells it.
    """

    kid: str
    alg: Algorithm
    status: KeyStatus
    created_at: int
    rotated_at: int | None
    retires_at: int | None
    store: str
