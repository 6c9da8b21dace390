"""A client that proves itself by a signature (RFC 7523): its keys, what it publishes of them, and its assertions."""

import base64
import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_numbers = count(1)


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def segment(value: object) -> str:
    """Return JSON, or bytes as they are, as one part of a compact serialization."""
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def _number(value: int, length: int | None = None) -> str:
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def public_jwk(key: PrivateKey, **members: object) -> dict[str, Any]:
    """Return what is published of a key."""
    match key:
        case ec.EllipticCurvePrivateKey():
            point, length = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
            curve = {"secp256r1": "P-256", "secp384r1": "P-384", "secp256k1": "secp256k1"}[key.curve.name]
            jwk = {"kty": "EC", "crv": curve, "x": _number(point.x, length), "y": _number(point.y, length)}
        case rsa.RSAPrivateKey():
            numbers = key.public_key().public_numbers()
            jwk = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        case ed25519.Ed25519PrivateKey():
            jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().public_bytes_raw())}
    return jwk | members


def sign(key: PrivateKey, alg: str, over: bytes) -> bytes:
    """Sign as an algorithm has it, whether or not it is one for the key."""
    match key:
        case ec.EllipticCurvePrivateKey():
            r, s = decode_dss_signature(key.sign(over, ec.ECDSA(hashes.SHA256())))
            length = (key.curve.key_size + 7) // 8
            return r.to_bytes(length, "big") + s.to_bytes(length, "big")
        case rsa.RSAPrivateKey():
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
            return key.sign(over, pss if alg == "PS256" else padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey():
            return key.sign(over)


EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, PrivateKey] = {"ES256": EC_KEY, "RS256": RSA_KEY, "PS256": RSA_KEY, "EdDSA": ED_KEY}


@dataclass(kw_only=True)
class SigningClient:
    """A client with one key.

    Attributes:
        audience: Whom it addresses its assertions to.
    """

    client_id: str = "client-1"
    audience: str
    alg: str = "ES256"
    kid: str | None = "key-1"
    key: PrivateKey = field(default=EC_KEY, repr=False)

    @property
    def jwk(self) -> dict[str, Any]:
        return public_jwk(self.key, **({"kid": self.kid} if self.kid else {}))

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.jwk]}

    def claims(self, *, now: int, **changes: object) -> dict[str, Any]:
        """Return the claims of a new assertion; None leaves one out."""
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "exp": now + 60,
            "iat": now,
            "jti": f"assertion {next(_numbers)}",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def sign(self, claims: object, **header: object) -> str:
        """Return an assertion with these claims; None leaves a member of the header out."""
        members = {"typ": "JWT", "alg": self.alg, "kid": self.kid} | header
        kept = {name: value for name, value in members.items() if value is not None}
        signing_input = f"{segment(kept)}.{segment(claims)}"
        return f"{signing_input}.{base64url(sign(self.key, str(self.alg), signing_input.encode()))}"

    def assertion(self, *, now: int, **changes: object) -> str:
        """Return a new assertion that holds, but for what changes."""
        return self.sign(self.claims(now=now, **changes))

    def proof(self, *, now: int, **changes: object) -> dict[str, str]:
        """Return the parameters that carry a new assertion."""
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": self.assertion(now=now, **changes)}
