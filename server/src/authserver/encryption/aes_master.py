"""Encryption under a master key of the environment: AES-256-GCM, one key per context (token vault, section 4.1)."""

import secrets
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from authserver.encryption.encryptor import EncryptionFailed, measured
from authserver.telemetry.spans import current_span

_KEY_BYTES = 32
_NONCE_BYTES = 12
_SHORTEST_BYTES = 1 + _NONCE_BYTES + 16
_V1, _V2 = b"\x01", b"\x02"
_V2_SALT = b"authserver-aes-master-v2"


class AesMaster:
    """Encrypts with the current key; decrypts with it, else with the one before it."""

    driver: ClassVar[str] = "aes_master"

    def __init__(self, key: bytes, old_key: bytes | None = None) -> None:
        """Take the keys.

        Args:
            key: 32 bytes.
            old_key: 32 bytes that nothing is encrypted with any more.

        Raises:
            ValueError: A key has another length.
        """
        self._keys = (key,) if old_key is None else (key, old_key)
        if any(len(each) != _KEY_BYTES for each in self._keys):
            raise ValueError(f"a master key has {_KEY_BYTES} bytes")

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return a version byte, a nonce and the ciphertext with its tag: 29 bytes more than the plaintext."""
        with measured(self.driver, "encrypt"):
            nonce, owner = secrets.token_bytes(_NONCE_BYTES), context.encode("utf-8")
            return _V2 + nonce + _cipher(self._keys[0], owner, salt=_V2_SALT).encrypt(nonce, plaintext, owner)

    async def open(self, sealed: bytes, *, context: str) -> bytes:
        """Return the plaintext; also that of the version before, which is no longer written."""
        with measured(self.driver, "decrypt"):
            if len(sealed) < _SHORTEST_BYTES:
                raise _failed("invalid_format")
            owner = context.encode("utf-8")
            if sealed[:1] not in {_V1, _V2}:
                raise _failed("unsupported_version")
            is_v2 = sealed[:1] == _V2
            salt, bound = (_V2_SALT, owner) if is_v2 else (None, None)
            nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
            for key in self._keys:
                try:
                    plaintext = _cipher(key, owner, salt=salt).decrypt(nonce, ciphertext, bound)
                except InvalidTag:
                    continue
                if key is not self._keys[0] and (decrypting := current_span()) is not None:
                    decrypting.note("decrypted_with_old_key")
                return plaintext
            raise _failed("auth_failed")

    async def close(self) -> None:
        """Hold nothing."""


def _cipher(key: bytes, owner: bytes, *, salt: bytes | None) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=owner).derive(key))


def _failed(error_type: str) -> EncryptionFailed:
    # One sentence for all: which check refused is nothing to tell.
    return EncryptionFailed("aes_master: decryption failed", error_type=error_type)
