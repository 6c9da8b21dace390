"""The claims of the access tokens we issue (RFC 9068; tokens, section 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_REQUIRED = ("iss", "sub", "aud", "client_id", "jti", "iat", "exp")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """When and how a user proved who they are; it stays that of the login, however often a token is refreshed.

    Attributes:
        at: Seconds since the epoch.
        methods: As RFC 8176 names them.
    """

    at: int
    methods: tuple[str, ...]


def build_access_token_claims(
    *,
    issuer: str,
    subject: str,
    audience: str,
    client_id: str,
    scope: str,
    jti: str,
    issued_at: int,
    expires_at: int,
    jkt: str | None = None,
    act: Mapping[str, object] | None = None,
    agent_id: str | None = None,
    agent_chain: Sequence[str] | None = None,
    sign_in: SignIn | None = None,
) -> dict[str, object]:
    """Return the claims of one token, always in the same order.

    Args:
        issuer: As configured, byte for byte.
        subject: A user, or a client that acts for itself.
        audience: The Resource's URI as registered, or the issuer.
        client_id: The client that the token is issued to.
        scope: Separated by spaces; empty leaves the claim out.
        jti: The token's own id.
        issued_at: Seconds since the epoch; also when it begins to be valid.
        expires_at: Seconds since the epoch.
        jkt: Thumbprint of the key the token is bound to (RFC 9449 §6).
        act: Who acts for the subject, newest outermost (RFC 8693 §4.1).
        agent_id: The issuing client's id, when it is registered as an agent.
        agent_chain: Who acted, oldest first.
        sign_in: How the user signed in who allowed it (RFC 9068 §2.2.1), if one did and it is known.

    Raises:
        ValueError: A claim that every token has is empty: such a token must not be signed.
    """
    if not (issuer and subject and audience and client_id and jti and issued_at and expires_at):
        required = (issuer, subject, audience, client_id, jti, issued_at, expires_at)
        empty = [name for name, value in zip(_REQUIRED, required, strict=True) if not value]
        raise ValueError(f"a token must not be signed without {', '.join(empty)}")
    claims: dict[str, object] = {"iss": issuer, "sub": subject, "aud": [audience], "client_id": client_id}
    if scope:
        claims["scope"] = scope
    claims |= {"jti": jti, "iat": issued_at, "nbf": issued_at, "exp": expires_at}
    if jkt:
        claims["cnf"] = {"jkt": jkt}
    if act:
        claims["act"] = act
    if agent_id:
        claims["agent_id"] = agent_id
    if agent_chain:
        claims["agent_chain"] = agent_chain
    if sign_in:
        claims |= {"auth_time": sign_in.at, "amr": list(sign_in.methods)}
    return claims
