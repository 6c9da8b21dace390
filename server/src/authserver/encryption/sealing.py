"""Seal bytes under a secret that only their future reader has (AES-256-GCM under HKDF-SHA-256, RFC 5869)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from authserver.protocol.identifiers import random_bytes

_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_BYTES = 32


def seal(secret: str, context: bytes, plaintext: bytes) -> bytes:
    """Encrypt ``plaintext`` so that only ``open_sealed`` with the same secret and context reads it.

    Args:
        secret: At least 128 random bits, such as a refresh token: a guessable secret could be searched for.
        context: What the ciphertext belongs to, such as its row's id; it opens nowhere else.
        plaintext: Any bytes.

    Returns:
        A version byte, a random nonce of 96 bits, the ciphertext and its tag: 29 bytes more than the plaintext.
    """
    nonce = random_bytes()[:_NONCE_BYTES]
    return _VERSION + nonce + _cipher(secret, context).encrypt(nonce, plaintext, _VERSION)


def open_sealed(secret: str, context: bytes, sealed: bytes) -> bytes | None:
    """Return what was sealed, or None when the secret or context is another, or the bytes were altered."""
    version, nonce, ciphertext = sealed[:1], sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    if version != _VERSION or len(ciphertext) < _TAG_BYTES:
        return None
    try:
        return _cipher(secret, context).decrypt(nonce, ciphertext, version)
    except InvalidTag:
        return None


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Return the key of 32 bytes that ``secret`` gives for one purpose; no purpose's key tells another's.

    Args:
        secret: A configured secret of high entropy.
        purpose: The one use of the key, such as ``csrf``; part of what makes it.
    """
    return _hkdf(secret, b"authplane key v1:" + purpose.encode("utf-8"))


def _cipher(secret: str, context: bytes) -> AESGCM:
    return AESGCM(_hkdf(secret.encode("utf-8", "surrogatepass"), b"authplane seal v1:" + context))


def _hkdf(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(secret)
