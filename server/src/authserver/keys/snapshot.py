"""What a process signs with and publishes at one moment, built once and used until something changes."""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from authserver.keys.records import StoredKey
from authserver.protocol.identifiers import base64url
from authserver.protocol.jose import PublicKey, SigningKey

SIGNS_AFTER_SECONDS = 3
"""A key signs when every process has had it for a poll: the bound of 2 s, and 1 s because times are whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The published keys.

    Attributes:
        keys: The current key first, then the previous ones, newest first.
        public_keys: The public halves of the same by ``kid``.
        jwks: The document of RFC 7517 §5.
        etag: Its entity tag, quotes included.
        expires_at: When the next key retires, and the snapshot with it.
    """

    keys: tuple[StoredKey, ...]
    public_keys: Mapping[str, PublicKey]
    jwks: bytes
    etag: str
    expires_at: int

    def signing_key(self, *, now: int) -> SigningKey:
        """Return the newest key that is old enough to be known everywhere; the only one whatever its age."""
        for key in self.keys:
            if now >= key.created_at + SIGNS_AFTER_SECONDS:
                return key.signing_key
        # All are that young: the oldest of them has been signing, because it was the first.
        return self.keys[-1].signing_key


def build_snapshot(stored: Iterable[StoredKey], *, now: int) -> Snapshot:
    """Return the snapshot of those keys that have not retired."""
    keys = tuple(key for key in stored if not key.is_retired(now=now))
    public_keys = {key.kid: key.signing_key.public for key in keys}
    jwks = orjson.dumps({"keys": [dict(public_key.jwk) for public_key in public_keys.values()]})
    return Snapshot(
        keys=keys,
        public_keys=public_keys,
        jwks=jwks,
        etag=f'"{base64url(hashlib.sha256(jwks).digest()[:16])}"',
        expires_at=min((key.retires_at for key in keys if key.retires_at is not None), default=sys.maxsize),
    )
