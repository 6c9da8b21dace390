"""Identifiers and opaque secrets: how they are made, hashed and spelled.

An identifier of a row (token id, audit id, authorization id) is 16 bytes in the order of time: the layout of a UUID
version 7 (RFC 9562 §5.7), 48 bits of milliseconds and 74 random bits, so that inserts go to the right edge of every
index. On the wire it is base64url without padding, 22 characters.
"""

import base64
import binascii
import hashlib
import secrets
from typing import NewType

TokenHash = NewType("TokenHash", bytes)
"""SHA-256 of an opaque token, 32 bytes. Stores accept hashes only."""

_ID_BYTES = 16
_ID_CHARACTERS = 22


def new_id(now_ms: int) -> bytes:
    """Return a new identifier, 16 bytes.

    Args:
        now_ms: Milliseconds since the epoch.
    """
    random = int.from_bytes(secrets.token_bytes(10), "big")
    value = (now_ms & 0xFFFF_FFFF_FFFF) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return value.to_bytes(_ID_BYTES, "big")


def spell_id(identifier: bytes) -> str:
    """Return an identifier as it goes on the wire: 22 base64url characters."""
    return base64url(identifier)


def parse_id(text: str) -> bytes | None:
    """Return the identifier that ``text`` spells, or None when it spells none. Each has one spelling."""
    if len(text) != _ID_CHARACTERS or not text.isascii():
        return None
    try:
        identifier = base64.urlsafe_b64decode(text + "==")
    except binascii.Error:
        return None
    return identifier if base64url(identifier) == text else None


def new_public_id() -> str:
    """Return a random identifier of 16 bytes as 22 base64url characters, for clients, users and resources."""
    while True:
        value = base64url(secrets.token_bytes(_ID_BYTES))
        # A leading hyphen reads as an option on a command line.
        if not value.startswith("-"):
            return value


def new_secret() -> str:
    """Return an opaque secret of 32 random bytes: 43 base64url characters."""
    return base64url(secrets.token_bytes(32))


def hash_token(token: str) -> TokenHash:
    """Return SHA-256 of an opaque token; any string may be given."""
    return TokenHash(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())


def token_digest(access_token: str) -> bytes:
    """Return the first 16 bytes of SHA-256 of an access token, by which introspection recognises it."""
    return hashlib.sha256(access_token.encode("utf-8", "surrogatepass")).digest()[:16]


def base64url(value: bytes) -> str:
    """Return base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
