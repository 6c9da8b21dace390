"""Recognising our own access tokens by what was written down about them, without checking a signature.

A token is ours, and unaltered, exactly when the row of its ``jti`` holds its digest: one point read and a compare.
"""

import binascii
import hmac
from dataclasses import dataclass
from typing import Any

import orjson

from authserver.keys.keyring import Keyring
from authserver.protocol.identifiers import parse_id, token_digest
from authserver.storage.database import Reader
from authserver.tokens.records import LEEWAY, Issuance
from authserver.tokens.store import find_issued

_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognisedToken:
    """An access token of ours, not expired, signed by a key that still stands, perhaps revoked.

    Attributes:
        claims: Its claims, as issued.
        client_is_active: Whether the client it was issued to may act.
        subject_is_active: Whether its user may; True of a token that is about no user.
    """

    claims: dict[str, Any]
    issuance: Issuance
    client_is_active: bool
    subject_is_active: bool


async def recognise(db: Reader, keyring: Keyring, token: str, *, issuer: str, now: int) -> RecognisedToken | None:
    """Return the token if it is one of ours and in force; None for anything else, whatever it is.

    Raises:
        StorageUnavailable: The database is away: there is no verdict.
    """
    unverified = _read(token)
    if unverified is None:
        return None
    unverified_header, unverified_claims = unverified
    jti = unverified_claims.get("jti")
    identifier = parse_id(jti) if isinstance(jti, str) else None
    if identifier is None:
        return None
    issued = await find_issued(db, identifier)
    if issued is None or unverified_claims.get("iss") != issuer:
        return None
    issuance = issued.issuance
    if issuance.token_digest is None:
        return None
    if not hmac.compare_digest(issuance.token_digest, token_digest(token)):
        return None
    # A retired key takes every token it signed with it.
    if unverified_header.get("kid") not in keyring.snapshot(now).public_keys:
        return None
    if now >= issuance.expires_at + LEEWAY:
        return None
    return RecognisedToken(
        claims=unverified_claims,
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
    return binascii.a2b_base64(segment.translate(_FROM_URL_SAFE) + b"==")
