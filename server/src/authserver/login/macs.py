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
        # Copied for each text: that is quicker than to begin with the key again.
        self._keyed = hmac.new(derive_key(secret, purpose), digestmod="sha256")

    def sign(self, text: str) -> str:
        """Return the code of a text: 43 base64url characters."""
        mac = self._keyed.copy()
        mac.update(text.encode("utf-8", "surrogatepass"))
        return base64url(mac.digest())

    def is_valid(self, text: str, code: str) -> bool:
        """Whether ``code`` is the text's; takes the same time wherever they differ."""
        return hmac.compare_digest(self.sign(text).encode(), code.encode("utf-8", "surrogatepass"))
