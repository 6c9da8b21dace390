"""A key pair of a client that signs its assertions (``private_key_jwt``)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key, as JSON Web Keys.

    Attributes:
        private: What the client signs with.
        jwks: What the server is given.
    """

    private: dict[str, Any]
    jwks: dict[str, list[dict[str, Any]]]


def make_signing_key(algorithm: str) -> SigningKey:
    """Make a key for ES256, RS256, PS256 or Ed25519."""
    key: Any
    to_jwk: Callable[[Any], str]
    if algorithm == "ES256":
        key, to_jwk = ec.generate_private_key(ec.SECP256R1()), ECAlgorithm.to_jwk
    elif algorithm == "Ed25519":
        key, to_jwk = ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm.to_jwk
    else:
        key, to_jwk = rsa.generate_private_key(65_537, RSA_BITS), RSAAlgorithm.to_jwk
    names = {"kid": "first", "alg": algorithm}
    kept = {name: value for name, value in json.loads(to_jwk(key)).items() if name != "key_ops"}
    public = {name: value for name, value in json.loads(to_jwk(key.public_key())).items() if name != "key_ops"}
    return SigningKey({**kept, **names}, {"keys": [{**public, **names, "use": "sig"}]})
