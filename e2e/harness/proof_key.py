"""A key that a client proves to hold (DPoP, RFC 9449): an ES256 key of its own, and proofs by it."""

import base64
import hashlib
import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text as proofs and thumbprints spell it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class ProofKey:
    """A client's key.

    Attributes:
        jkt: Its thumbprint (RFC 7638).
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._jwk = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        named = {name: self._jwk[name] for name in ("crv", "kty", "x", "y")}
        self.jkt = digest_of(json.dumps(named, separators=(",", ":")))

    def proof(self, url: str, *, token: str | None = None, **changes: Any) -> str:
        """Return a new proof for a POST.

        Args:
            url: Where it is sent.
            token: The access token it goes with.
            changes: Claims to set otherwise; None leaves one out.
        """
        claims: dict[str, Any] = {"jti": uuid.uuid4().hex, "htm": "POST", "htu": url, "iat": int(time.time())}
        if token is not None:
            claims["ath"] = digest_of(token)
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(kept, self._key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": self._jwk})
