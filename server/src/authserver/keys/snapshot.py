"""What a process signs with and publishes at one moment, built once and used until something changes."""

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from authserver.keys.records import RemoteKey, StoredKey
from authserver.protocol.identifiers import base64url
from authserver.protocol.jose import PublicKey, SigningKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The published keys.

    Attributes:
        keys: The current key first, then the previous ones, newest first.
        public_keys: The public halves of the same by ``kid``.
        jwks: The document of RFC 7517 §5.
        etag: Its entity tag, quotes included.
        signing_key: The newest key that is old enough to be known everywhere; the only one whatever its age.
        expires_at: When the next key retires or begins to sign, and the snapshot with it.
    """

    keys: tuple[StoredKey, ...]
    public_keys: Mapping[str, PublicKey]
    jwks: bytes
    etag: str
    signing_key: SigningKey | RemoteKey
    expires_at: int

    def signs_until(self, kid: str, *, now: int) -> int | None:
        """Return when the newest key takes over from this one; None when this one signs no more already."""
        return max(now + 1, self.keys[0].signs_at) if _signing(self.keys, now=now).kid == kid else None


def _signing(keys: Sequence[StoredKey], *, now: int) -> StoredKey:
    for key in keys:
        if now >= key.signs_at:
            return key
    # All are that young: the oldest of them has been signing, because it was the first.
    return keys[-1]


def build_snapshot(stored: Iterable[StoredKey], *, now: int) -> Snapshot:
    """Return the snapshot of those keys that have not retired."""
    keys = tuple(key for key in stored if not key.is_retired(now=now))
    public_keys = {key.kid: key.signing_key.public for key in keys}
    jwks = orjson.dumps({"keys": [dict(public_key.jwk) for public_key in public_keys.values()]})
    changes = [key.retires_at for key in keys if key.retires_at is not None]
    changes += [key.signs_at for key in keys[:-1] if key.signs_at > now]
    return Snapshot(
        keys=keys,
        public_keys=public_keys,
        jwks=jwks,
        etag=f'"{base64url(hashlib.sha256(jwks).digest()[:16])}"',
        signing_key=_signing(keys, now=now).signing_key,
        expires_at=min(changes, default=sys.maxsize),
    )
