"""Recognising our own access tokens by what was written down about them, without checking a signature.

A token is ours, and unaltered, exactly when the row of its ``jti`` holds its digest: one point read and a compare.
"""

import binascii
import hmac
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from authserver.keys.keyring import Keyring
from authserver.protocol.identifiers import parse_id, token_digest
from authserver.protocol.jose import InvalidToken
from authserver.storage.database import Reader
from authserver.tokens.records import LEEWAY, Issuance, IssuedToken
from authserver.tokens.store import find_issued


class PresentedJwt(NamedTuple):
    """What looks like an access token.

    Attributes:
        jti: The id that it says to have.
    """

    text: str
    jti: bytes
    unverified_header: dict[str, Any]
    unverified_claims: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class RecognisedToken:
    """An access token of ours, not expired, signed by a key that still stands, perhaps revoked.

    Attributes:
        claims: Its claims, as issued.
        client_is_active: Whether the client it was issued to may act; None when there is no client of that id.
        subject_is_active: Whether its user may; None when there is no user of that id, or it is about none.
    """

    claims: dict[str, Any]
    issuance: Issuance
    client_is_active: bool | None
    subject_is_active: bool | None


async def recognise(db: Reader, keyring: Keyring, token: str, *, issuer: str, now: int) -> RecognisedToken | None:
    """Return the token if it is one of ours and in force; None for anything else, whatever it is.

    Raises:
        StorageUnavailable: The database is away: there is no verdict.
    """
    try:
        return await verify_issued(db, keyring, token, issuer=issuer, now=now)
    except InvalidToken:
        return None


async def verify_issued(db: Reader, keyring: Keyring, token: str, *, issuer: str, now: int) -> RecognisedToken:
    """Return what a token says that we issued, revoked or not.

    Raises:
        InvalidToken: It is no such token: ``malformed``, ``unknown_token`` (altered, or not ours), ``unknown_key``,
            ``expired``, or ``wrong_issuer``: ours, from when the server had another name.
        StorageUnavailable: The database is away: there is no verdict.
    """
    presented = read_presented(token)
    issued = await find_issued(db, presented.jti)
    return verify_presented(presented, issued, keyring=keyring, issuer=issuer, now=now)


def read_presented(token: str) -> PresentedJwt:
    """Return what a token says of itself.

    Raises:
        InvalidToken: It is none (``malformed``), or has no id of ours (``unknown_token``).
    """
    unverified = _read(token)
    if unverified is None:
        raise InvalidToken("malformed")
    header, claims = unverified
    jti = claims.get("jti")
    identifier = parse_id(jti) if isinstance(jti, str) else None
    if identifier is None:
        raise InvalidToken("unknown_token")
    return PresentedJwt(text=token, jti=identifier, unverified_header=header, unverified_claims=claims)


def verify_presented(
    presented: PresentedJwt, issued: IssuedToken | None, *, keyring: Keyring, issuer: str, now: int
) -> RecognisedToken:
    """Return what may be believed of a token, given what was written down under its id; see ``verify_issued``."""
    if issued is None:
        raise InvalidToken("unknown_token")
    issuance, claims = issued.issuance, presented.unverified_claims
    if issuance.token_digest is None or not hmac.compare_digest(issuance.token_digest, token_digest(presented.text)):
        raise InvalidToken("unknown_token")
    # A retired key takes every token it signed with it.
    if presented.unverified_header.get("kid") not in keyring.snapshot(now).public_keys:
        raise InvalidToken("unknown_key")
    if now >= issuance.expires_at + LEEWAY:
        raise InvalidToken("expired")
    if claims.get("iss") != issuer:
        raise InvalidToken("wrong_issuer")
    return RecognisedToken(
        claims=claims,
        issuance=issuance,
        client_is_active=issued.client_is_active,
        subject_is_active=issued.subject_is_active,
    )


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return what looks like the header and the claims of a token, or None.

    Neither the spelling is looked at nor whether a member is given twice: whoever goes on compares the whole token with
    the one that was made here.
    """
    try:
        header, claims, _ = token.encode("ascii").split(b".")
        members = orjson.loads(_decode(header)), orjson.loads(_decode(claims))
    except ValueError:
        return None
    return members if isinstance(members[0], dict) and isinstance(members[1], dict) else None


def _decode(segment: bytes) -> bytes:
    return binascii.a2b_base64(segment.replace(b"-", b"+").replace(b"_", b"/") + b"==")
