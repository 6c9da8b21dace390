"""Server nonces for proofs of possession (RFC 9449 §8): recognised by their code, so that nothing is stored of them."""

import base64
import binascii
import hmac

from authserver.encryption.sealing import derive_key
from authserver.protocol.identifiers import base64url, random_bytes
from authserver.protocol.jose import LEEWAY_SECONDS

_CHARACTERS = 43
_TIME_BYTES = 6
_SEED_BYTES = 16
_CODE_BYTES = 16


class DpopNonces:
    """Makes nonces and recognises those of every process that has the same secret."""

    def __init__(self, secret: bytes, *, lifetime: int) -> None:
        """Take what makes them.

        Args:
            secret: ``session.secret``, which all instances share.
            lifetime: Seconds for which one may be used, in as many proofs as somebody likes.

        Raises:
            ValueError: The secret is empty, so that anybody could make them.
        """
        if not secret:
            raise ValueError("the session secret is empty")
        # To take the key in costs more than to use it.
        self._mac = hmac.new(derive_key(secret, "dpop_nonce"), digestmod="sha256")
        self._lifetime = lifetime

    def new(self, now: int) -> str:
        """Return a nonce: 43 base64url characters, of which no two are the same."""
        text = now.to_bytes(_TIME_BYTES, "big") + random_bytes()[: _SEED_BYTES - _TIME_BYTES]
        return base64url(text + self._code(text))

    def is_live(self, nonce: str, now: int) -> bool:
        """Whether it is one of ours and its time has not passed."""
        if len(nonce) != _CHARACTERS or not nonce.isascii():
            return False
        try:
            value = base64.urlsafe_b64decode(nonce + "=")
        except binascii.Error:
            return False
        text, code = value[:-_CODE_BYTES], value[-_CODE_BYTES:]
        if len(text) != _SEED_BYTES or not hmac.compare_digest(code, self._code(text)):
            return False
        age = now - int.from_bytes(text[:_TIME_BYTES], "big")
        # The clock of the instance that made it may be ahead of this one's.
        return -LEEWAY_SECONDS <= age < self._lifetime

    def _code(self, text: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(text)
        return mac.digest()[:_CODE_BYTES]
