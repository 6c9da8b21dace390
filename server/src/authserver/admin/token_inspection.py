"""What an access token says, whether we made it, and whether it still counts: for an operator who was sent one."""

from dataclasses import dataclass
from typing import Any

import orjson

from authserver.keys.keyring import Keyring
from authserver.protocol.identifiers import parse_id, token_digest
from authserver.protocol.jose import InvalidToken, read_unverified_jwt
from authserver.protocol.operator_errors import Invalid
from authserver.storage.database import Database
from authserver.tokens.recognition import read_presented, verify_presented
from authserver.tokens.records import Issuance
from authserver.tokens.store import find_issued

MAX_TOKEN_CHARACTERS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found out.

    Attributes:
        header: As the token says, whoever made it.
        claims: Likewise.
        is_ours: Whether it is, byte for byte, one that this server made.
        is_active: Whether a resource server that asks would be told that it is.
        reasons: Why it does not count, each in one ``snake_case`` word.
        issuance: The record that is kept of the id that it names.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    is_ours: bool
    is_active: bool
    reasons: list[str]
    issuance: Issuance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInspector:
    """Takes access tokens apart."""

    db: Database
    keyring: Keyring
    issuer: str

    async def inspect(self, token: str, *, now: int) -> Inspection:
        """Take a token apart; it is not kept, and nobody is told of it.

        Raises:
            Invalid: It is no JWT: refresh tokens and codes say nothing to anybody.
        """
        if not token or len(token) > MAX_TOKEN_CHARACTERS:
            raise Invalid(f"token must be 1 to {MAX_TOKEN_CHARACTERS} characters")
        try:
            unverified = read_unverified_jwt(token)
            # More deeply nested than it can be shown, it is none of ours either.
            orjson.dumps((unverified.header, unverified.claims))
        except (InvalidToken, orjson.JSONEncodeError) as exc:
            raise Invalid("token is no JWT: only access tokens can be inspected") from exc
        claims = dict(unverified.claims)
        identifier = parse_id(str(claims.get("jti", "")))
        issued = None if identifier is None else await find_issued(self.db, identifier)
        issuance = None if issued is None else issued.issuance
        reasons: list[str] = []
        try:
            found = verify_presented(read_presented(token), issued, keyring=self.keyring, issuer=self.issuer, now=now)
        except InvalidToken as exc:
            reasons.append(str(exc))
        else:
            if found.issuance.revoked_at is not None:
                reasons.append("revoked")
            if found.client_is_active is False:
                reasons.append("client_not_active")
            if found.subject_is_active is False:
                reasons.append("subject_inactive")
        return Inspection(
            header=dict(unverified.header),
            claims=claims,
            is_ours=issuance is not None and issuance.token_digest == token_digest(token),
            is_active=not reasons,
            reasons=reasons,
            issuance=issuance,
        )
