"""Identifiers and opaque secrets: how they are made, hashed and spelled.

An identifier of a row (token id, audit id, authorization id) is 16 bytes in the order of time: the layout of a UUID
version 7 (RFC 9562 §5.7), 48 bits of milliseconds and 74 random bits, so that inserts go to the right edge of every
index. On the wire it is base64url without padding, 22 characters.
"""

import binascii
import hashlib
import os
import secrets
from typing import NewType

TokenHash = NewType("TokenHash", bytes)
"""SHA-256 of an opaque token, 32 bytes. Stores accept hashes only."""

TOKEN_DIGEST_BYTES = 16
"""How much of its SHA-256 an access token is recognised by."""

_ID_BYTES = 16
_ID_CHARACTERS = 22
_LATEST_MS = (1 << 48) - 1
_TAIL_BYTES = 10
_CHUNKS = 256
# Of what follows the time: the version and the variant, and where the random bits are.
_LAYOUT = int.from_bytes(b"\x70\x00\x80\x00\x00\x00\x00\x00\x00\x00" * _CHUNKS, "big")
_RANDOM_BITS = int.from_bytes(b"\x0f\xff\x3f\xff\xff\xff\xff\xff\xff\xff" * _CHUNKS, "big")

# Random bytes of the system that were not given out yet. Asking for each would be a system call, during which another
# thread takes the interpreter. A process that is forked must not give out what its parent does.
_chunks: list[bytes] = []
_tails: list[bytes] = []
os.register_at_fork(after_in_child=_chunks.clear)
os.register_at_fork(after_in_child=_tails.clear)


def random_bytes() -> bytes:
    """Return 16 bytes of the system's randomness; any thread may ask."""
    while True:
        try:
            return _chunks.pop()
        except IndexError:
            _chunks.extend(_cut(secrets.token_bytes(_ID_BYTES * _CHUNKS), _ID_BYTES))


def new_id(now_ms: int) -> bytes:
    """Return a new identifier, 16 bytes.

    Args:
        now_ms: Milliseconds since the epoch.
    """
    while True:
        try:
            return (now_ms & _LATEST_MS).to_bytes(6, "big") + _tails.pop()
        except IndexError:
            block = secrets.token_bytes(_TAIL_BYTES * _CHUNKS)
            tails = int.from_bytes(block, "big") & _RANDOM_BITS | _LAYOUT
            _tails.extend(_cut(tails.to_bytes(len(block), "big"), _TAIL_BYTES))


def _cut(block: bytes, length: int) -> list[bytes]:
    return [block[start : start + length] for start in range(0, len(block), length)]


LAST_ID = b"\xff" * _ID_BYTES
"""No identifier is behind it."""


def first_id(now_ms: int) -> bytes:
    """Return the least identifier that a moment can have; of one beyond all identifiers, of the last."""
    return (min(max(now_ms, 0), _LATEST_MS) << 80).to_bytes(_ID_BYTES, "big")


def second_of(identifier: bytes) -> int:
    """Return when an identifier was made, in seconds since the epoch."""
    return int.from_bytes(identifier[:6], "big") // 1000


def spell_id(identifier: bytes) -> str:
    """Return an identifier as it goes on the wire: 22 base64url characters."""
    return base64url(identifier)


def parse_id(text: str) -> bytes | None:
    """Return the identifier that ``text`` spells, or None when it spells none. Each has one spelling."""
    if len(text) != _ID_CHARACTERS or not text.isascii():
        return None
    try:
        identifier = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "==")
    except binascii.Error:
        return None
    return identifier if base64url(identifier) == text else None


def new_public_id() -> str:
    """Return a random identifier of 16 bytes as 22 base64url characters, for clients, users and resources."""
    while True:
        value = base64url(random_bytes())
        # A leading hyphen reads as an option on a command line.
        if not value.startswith("-"):
            return value


def new_secret() -> str:
    """Return an opaque secret of 32 random bytes: 43 base64url characters."""
    return base64url(random_bytes() + random_bytes())


def hash_token(token: str) -> TokenHash:
    """Return SHA-256 of an opaque token; any string may be given."""
    return TokenHash(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())


def hash_device_code(device_code: str) -> TokenHash:
    """Return SHA-256 of a device code, set apart from the codes of redirects: neither is known where the other belongs."""
    return hash_token(f"device_code:{device_code}")


def token_digest(access_token: str) -> bytes:
    """Return the first 16 bytes of SHA-256 of an access token, by which introspection recognises it."""
    return hashlib.sha256(access_token.encode("utf-8", "surrogatepass")).digest()[:TOKEN_DIGEST_BYTES]


def base64url(value: bytes) -> str:
    """Return base64url without padding (RFC 7515 §2)."""
    # Not `translate`, which goes through Python's slowest loop over bytes.
    return binascii.b2a_base64(value, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_").decode()
