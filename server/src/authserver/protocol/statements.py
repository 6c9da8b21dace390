"""Statements signed with a token-signing key that are no tokens: compact JWS (RFC 7515) of a type of their own.

The type stands in the header, so that neither is ever taken for the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from authserver.protocol.jose import InvalidKey, InvalidToken, open_jwt, read_object
from authserver.protocol.jwk import CLIENT_ALGORITHMS, VerificationKey, find_algorithm, read_carried_key

_MOST_KEYS = 64


class InvalidStatement(ValueError):  # noqa: N818  an outcome that callers turn into one of their own
    """It is no statement of the type asked for; the text says why."""


class Signer(Protocol):
    """Signs statements with the keys of the installation."""

    def current_key(self, now: int) -> Mapping[str, str]:
        """Return the public half (JWK) of the key that signs at present."""
        ...

    def holds(self, thumbprint: str, now: int) -> bool:
        """Tell whether this key can still be signed with."""
        ...

    async def sign(self, payload: bytes, *, typ: str, thumbprint: str, now: int) -> str:
        """Return the statement as compact JWS, signed with the key of this thumbprint, which is held."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStatement:
    """A statement whose signature nobody has checked yet.

    Attributes:
        payload: What it says.
        signing_input: What the signature is over.
    """

    kid: str
    alg: str
    payload: bytes
    signing_input: bytes
    signature: bytes

    def is_signed_by(self, key: "StatementKey") -> bool:
        """Tell whether this key made the signature."""
        alg = find_algorithm(self.alg, CLIENT_ALGORITHMS)
        return (
            alg is not None
            and alg == key.alg
            and key.verifies.is_signature(self.signature, over=self.signing_input, alg=alg)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementKey:
    """A public key that signed statements, known by its thumbprint (RFC 7638)."""

    thumbprint: str
    alg: str
    verifies: VerificationKey


def open_statement(jws: str, *, typ: str) -> OpenedStatement:
    """Take a statement apart.

    Raises:
        InvalidStatement: It is no compact JWS of this type.
    """
    try:
        opened = open_jwt(jws)
        header, payload = read_object(opened.header), opened.payload
    except InvalidToken as exc:
        raise InvalidStatement("not a compact JWS") from exc
    if set(header) != {"typ", "alg", "kid"} or header["typ"] != typ:
        raise InvalidStatement(f"not of type {typ}")
    return OpenedStatement(
        kid=str(header["kid"]),
        alg=str(header["alg"]),
        payload=payload,
        signing_input=opened.signing_input,
        signature=opened.signature,
    )


def thumbprint_of(jwk: Mapping[str, str]) -> str:
    """Return the thumbprint of one of our own keys, which sign again and again."""
    return _thumbprint_of(tuple(jwk.items()))


@lru_cache(maxsize=_MOST_KEYS)
def _thumbprint_of(members: tuple[tuple[str, str], ...]) -> str:
    return read_statement_key(dict(members)).thumbprint


def read_statement_key(jwk: object) -> StatementKey:
    """Return the key of a JWK that states its algorithm.

    Raises:
        InvalidKey: It is no public key of an algorithm that is served.
    """
    alg = find_algorithm(jwk.get("alg"), CLIENT_ALGORITHMS) if isinstance(jwk, Mapping) else None
    if alg is None:
        raise InvalidKey("no algorithm that is served")
    key, thumbprint = read_carried_key(jwk, alg)
    return StatementKey(thumbprint=thumbprint, alg=alg, verifies=key)
