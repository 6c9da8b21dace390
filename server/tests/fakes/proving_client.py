"""A client that proves to hold a key (RFC 9449): its key, its thumbprint, its proofs."""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from server.tests.fakes.signing_client import EC_KEY, PrivateKey, base64url, public_jwk, segment, sign

_numbers = count(1)


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a key (RFC 7638)."""
    members = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"), sort_keys=True)
    return base64url(hashlib.sha256(canonical.encode()).digest())


@dataclass(kw_only=True)
class ProvingClient:
    """A client with one key.

    Attributes:
        url: Where it sends its requests.
    """

    url: str
    alg: str = "ES256"
    key: PrivateKey = field(default=EC_KEY, repr=False)

    @property
    def jwk(self) -> dict[str, Any]:
        return public_jwk(self.key)

    @property
    def jkt(self) -> str:
        return thumbprint(self.jwk)

    def header(self, **changes: object) -> dict[str, Any]:
        """Return the header of a proof; None leaves a member out."""
        members = {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk} | changes
        return {name: value for name, value in members.items() if value is not None}

    def claims(self, *, now: int, **changes: object) -> dict[str, Any]:
        """Return the claims of a new proof; None leaves one out."""
        claims = {"jti": f"proof {next(_numbers)}", "htm": "POST", "htu": self.url, "iat": now} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: object, **header: object) -> str:
        """Return a proof with these claims."""
        return self.sign_as(self.header(**header), claims)

    def sign_as(self, header: object, claims: object) -> str:
        """Return a proof with this header and these claims, signed as the client's algorithm has it."""
        signing_input = f"{segment(header)}.{segment(claims)}"
        return f"{signing_input}.{base64url(sign(self.key, self.alg, signing_input.encode()))}"

    def proof(self, *, now: int, **changes: object) -> str:
        """Return a new proof that holds, but for what changes in its claims."""
        return self.sign(self.claims(now=now, **changes))

    def headers(self, *, now: int, **changes: object) -> dict[str, str]:
        """Return the request header that carries a new proof."""
        return {"DPoP": self.proof(now=now, **changes)}
