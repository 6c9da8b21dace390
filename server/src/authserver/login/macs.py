"""Message authentication codes over what a browser keeps for us."""

import hmac

from authserver.encryption.sealing import derive_key
from authserver.protocol.identifiers import base64url


class Mac:
    """Signs and recognises texts for one purpose; no purpose's code is valid for another."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        """Take the configured secret and what the codes are for.

        Raises:
            ValueError: The secret is empty, so that anybody could sign.
        """
        if not secret:
            raise ValueError("the session secret is empty")
        self._key = derive_key(secret, purpose)

    def sign(self, text: str) -> str:
        """Return the code of a text: 43 base64url characters."""
        return base64url(hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256"))

    def is_valid(self, text: str, code: str) -> bool:
        """Whether ``code`` is the text's; takes the same time wherever they differ."""
        return hmac.compare_digest(self.sign(text).encode(), code.encode("utf-8", "surrogatepass"))
