"""Client secrets: how they are stored and checked (tokens.md §8, ruling R16).

They are 256 random bits, so a fast hash keeps them; a slow one would only help whoever wants to tire the server.
"""

import asyncio
import binascii
import hashlib
import hmac

from authserver.config.secret import Secret

_KEYED = "hs256$"
_PLAIN = "sha256$"
_BCRYPT = ("$2a$", "$2b$", "$2y$")
_BCRYPT_BYTES = 72
_BCRYPT_AT_ONCE = 2


class ClientSecrets:
    """Hashes client secrets in the form the configuration asks for, and checks them in every form there is.

    Args:
        pepper: ``client_secret_pepper``; empty stores plain SHA-256.
    """

    def __init__(self, pepper: Secret) -> None:
        self._pepper = pepper.reveal().encode()
        # The key goes in once: a copy of this takes two thirds of the time.
        self._keyed = hmac.new(self._pepper, digestmod="sha256")
        self._slow_checks = asyncio.Semaphore(_BCRYPT_AT_ONCE)

    def hash(self, secret: str) -> str:
        """Return what is stored of a secret."""
        return self._hash_keyed(secret) if self._pepper else _hash_plain(secret)

    async def is_right(self, secret: str, secret_hash: str) -> bool:
        """Tell whether a secret is the stored one, in a time that says nothing about either."""
        if secret_hash.startswith(_BCRYPT):
            async with self._slow_checks:
                return await asyncio.to_thread(_is_right_bcrypt, secret, secret_hash)
        if secret_hash.startswith(_KEYED):
            expected = self._hash_keyed(secret)
            return bool(self._pepper) and hmac.compare_digest(expected.encode(), secret_hash.encode())
        return hmac.compare_digest(_hash_plain(secret).encode(), secret_hash.encode())

    def is_current(self, secret: str, secret_hash: str) -> bool:
        """Tell the same, at once, of a hash that is not outdated.

        An empty hash stands for a client that is not there: it is never right and costs the same.
        """
        return hmac.compare_digest(self.hash(secret).encode(), secret_hash.encode())

    def is_outdated(self, secret_hash: str) -> bool:
        """Tell whether a hash should be replaced by the form that is asked for now."""
        if self._pepper:
            return not secret_hash.startswith(_KEYED)
        return secret_hash.startswith(_BCRYPT)

    def _hash_keyed(self, secret: str) -> str:
        keyed = self._keyed.copy()
        keyed.update(_bytes(secret))
        return _KEYED + _base64(keyed.digest())


def _hash_plain(secret: str) -> str:
    return _PLAIN + _base64(hashlib.sha256(_bytes(secret)).digest())


def _is_right_bcrypt(secret: str, secret_hash: str) -> bool:
    import bcrypt  # noqa: PLC0415  only databases of the reference hold such hashes

    given = _bytes(secret)
    if len(given) > _BCRYPT_BYTES:
        return False
    try:
        return bcrypt.checkpw(given, secret_hash.encode())
    except ValueError:
        return False


def _bytes(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogatepass")


def _base64(digest: bytes) -> str:
    return binascii.b2a_base64(digest, newline=False).rstrip(b"=").decode("ascii")
