"""Signed things with whatever header and claims an input holds: proofs, client assertions, identity assertions."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from authserver.outbound.client import OutboundClient, OutboundResponse

JWKS_URI = "https://idp.example/jwks"
_P256_BYTES = 32


def base64url(value: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Signer:
    """Signs bytes as they are with ES256."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        point = self._key.public_key().public_numbers()
        self.jwk = {
            "kty": "EC",
            "crv": "P-256",
            "x": base64url(point.x.to_bytes(_P256_BYTES, "big")),
            "y": base64url(point.y.to_bytes(_P256_BYTES, "big")),
        }
        canonical = json.dumps({name: self.jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        self.jkt = base64url(hashlib.sha256(canonical.encode()).digest())

    def sign(self, header: bytes, claims: bytes) -> str:
        """Return a compact serialization whose signature is right."""
        signing_input = f"{base64url(header)}.{base64url(claims)}"
        r, s = decode_dss_signature(self._key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signing_input}.{base64url(r.to_bytes(_P256_BYTES, 'big') + s.to_bytes(_P256_BYTES, 'big'))}"

    def read(self, token: str, *, now: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return header and claims as another library reads them, its own checks of times and algorithm included."""
        complete = jwt.decode_complete(
            token,
            jwt.PyJWK(self.jwk, algorithm="ES256"),
            algorithms=["ES256"],
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
        )
        claims = complete["payload"]
        assert claims.get("exp", now) + 30 > now - 60
        return complete["header"], claims


class PublishedKeys(OutboundClient):
    """Fetches the provider's keys from memory, and everything else as it is fetched."""

    def __init__(self, keys: Signer) -> None:
        super().__init__()
        self._body = json.dumps({"keys": [keys.jwk | {"kid": "key-1"}]}).encode()

    async def get(self, url: str, **given: Any) -> OutboundResponse:
        """Return the keys, or what the other side answers."""
        if url == JWKS_URI:
            return OutboundResponse(status=200, headers={"content-type": "application/json"}, body=self._body)
        return await super().get(url, **given)
