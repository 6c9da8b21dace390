"""Identity assertions of enterprise providers: ID-JAG (IETF draft "Identity Assertion JWT Authorization Grant", RFC 7523).

A provider says that this user, through this client, may have a token of this server. Read here, and verified with the
provider's keys; whether the provider is trusted is for others to say (XAA, sections 3 and 5).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

from authserver.protocol.errors import InvalidGrant
from authserver.protocol.jose import LEEWAY_SECONDS, Claims, InvalidToken, UnverifiedJwt, read_unverified_jwt
from authserver.protocol.jwk import SIGNATURE_ALGORITHMS, SignatureAlgorithm, VerificationKey, find_algorithm
from authserver.protocol.times import LAST_SECOND

GRANT_PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
MAX_SUBJECT_BYTES = 1024

_TYPE = "oauth-id-jag+jwt"
_ISSUERS_BEGIN = "https://"
_INVALID = "identity assertion is invalid"
_EXPIRED = "identity assertion has expired"
_AUDIENCE = "identity assertion audience does not match"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedIdJag:
    """An assertion taken apart; nothing of it is believed yet.

    Attributes:
        unverified_issuer: Who it says to come from.
        kid: The name of the key it says to be signed with; None when it names none.
    """

    unverified_issuer: str
    alg: SignatureAlgorithm
    kid: str | None
    _jwt: UnverifiedJwt = field(repr=False)

    @property
    def header(self) -> Claims:
        """The header, which is not verified."""
        return self._jwt.header

    def verified_claims(self, keys: Iterable[VerificationKey]) -> Claims | None:
        """Return what it claims if one of these keys signed it, else None."""
        jwt = self._jwt
        is_signed = any(key.is_signature(jwt.signature, over=jwt.signing_input, alg=self.alg) for key in keys)
        return jwt.claims if is_signed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdJag:
    """What a provider vouches for.

    Attributes:
        subject: The user, by the provider's name for them.
        client_id: The client that may present it.
        expires_at: Its ``exp``.
        scopes: The most that may be granted; None when it does not say.
        resource: What the token is to be for, or None.
        jkt: Thumbprint of the key that whoever presents it must hold, or None.
    """

    issuer: str
    subject: str
    client_id: str
    jti: str
    expires_at: int
    scopes: frozenset[str] | None
    resource: str | None
    jkt: str | None

    @property
    def foreign_subject(self) -> str:
        """The name of the user here when they have no account: ``<iss>:<sub>``."""
        return f"{self.issuer}:{self.subject}"


def is_foreign_subject(subject: str) -> bool:
    """Tell whether a subject is one of a provider who has no account here: no user's id begins like an issuer."""
    return subject[: len(_ISSUERS_BEGIN)].lower() == _ISSUERS_BEGIN


def may_share_subjects(issuer: str, other: str) -> bool:
    """Tell whether two issuers can name one foreign subject: ``https://a:1`` and its ``b``, ``https://a`` and its ``1:b``."""
    return issuer.startswith(f"{other}:") or other.startswith(f"{issuer}:")


def read_id_jag(assertion: str) -> UnverifiedIdJag:
    """Take an assertion apart (step 4).

    Raises:
        InvalidGrant: It is none, is signed with an algorithm that is not served, or does not say by whom.
    """
    try:
        jwt = read_unverified_jwt(assertion)
    except InvalidToken as exc:
        raise InvalidGrant(_INVALID, reason="invalid_assertion") from exc
    alg = find_algorithm(jwt.header.get("alg"), SIGNATURE_ALGORITHMS)
    issuer = jwt.claims.get("iss")
    if alg is None or not isinstance(issuer, str) or not issuer:
        raise InvalidGrant(_INVALID, reason="invalid_assertion")
    kid = jwt.header.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise InvalidGrant(_INVALID, reason="invalid_assertion")
    return UnverifiedIdJag(unverified_issuer=issuer, alg=alg, kid=kid, _jwt=jwt)


def verify_id_jag(
    assertion: UnverifiedIdJag, keys: Iterable[VerificationKey], *, audience: str, max_age: int, now: int
) -> IdJag:
    """Return what a provider vouches for (step 7, in its inner order).

    Args:
        assertion: As it was read.
        keys: The provider's, of those that may have signed it.
        audience: Our issuer, byte for byte.
        max_age: Seconds since ``iat``, at most.
        now: Seconds since the epoch.

    Raises:
        InvalidGrant: It is of another type, not signed by the provider, malformed, out of time, or for somebody else.
    """
    if assertion.header.get("typ") != _TYPE:
        raise InvalidGrant("identity assertion type header is invalid", reason="id_jag_type")
    if "crit" in assertion.header:
        _refuse_claims()
    keys = tuple(keys)
    if not keys:
        raise InvalidGrant(_INVALID, reason="id_jag_key_unknown")
    claims = assertion.verified_claims(keys)
    if claims is None:
        raise InvalidGrant(_INVALID, reason="id_jag_signature")
    _check_types(claims)
    expires_at = _check_times(claims, max_age=max_age, now=now)
    if _one(claims.get("aud")) != audience:
        raise InvalidGrant(_AUDIENCE, reason="id_jag_audience")
    issuer, subject, client_id, jti = (_text(claims.get(name)) for name in ("iss", "sub", "client_id", "jti"))
    if len(subject.encode()) > MAX_SUBJECT_BYTES:
        _refuse_claims()
    scope, resource, confirmation = claims.get("scope"), _one(claims.get("resource")), claims.get("cnf")
    return IdJag(
        issuer=issuer,
        subject=subject,
        client_id=client_id,
        jti=jti,
        expires_at=expires_at,
        scopes=frozenset(scope.split()) if isinstance(scope, str) else None,
        resource=resource if isinstance(resource, str) and resource else None,
        jkt=_find_jkt(confirmation),
    )


def _check_types(claims: Claims) -> None:
    """Refuse claims of a wrong type: one makes the whole assertion invalid."""
    confirmation, audience = claims.get("cnf"), claims.get("aud")
    if not (confirmation is None or isinstance(confirmation, dict)):
        _refuse_claims()
    texts = [claims.get(name) for name in ("iss", "sub", "client_id", "jti", "scope")]
    texts += [_one(claims.get("resource")), confirmation.get("jkt") if confirmation else None]
    texts += audience if isinstance(audience, list) else [audience]
    if not all(value is None or isinstance(value, str) for value in texts):
        _refuse_claims()
    # `type`, not `isinstance`: true and false are no times.
    if not all(type(claims[name]) is int for name in ("exp", "iat", "nbf") if claims.get(name) is not None):
        _refuse_claims()


def _check_times(claims: Claims, *, max_age: int, now: int) -> int:
    expires_at, issued_at, not_before = (claims.get(name) for name in ("exp", "iat", "nbf"))
    if not isinstance(expires_at, int) or expires_at > LAST_SECOND:
        _refuse_claims()
    if now > expires_at + LEEWAY_SECONDS:
        raise InvalidGrant(_EXPIRED, reason="id_jag_expired")
    if not isinstance(issued_at, int):
        _refuse_claims()
    # RFC 7523 §3 has `nbf` obeyed by whoever takes an assertion.
    if max(issued_at, not_before if isinstance(not_before, int) else issued_at) > now + LEEWAY_SECONDS:
        raise InvalidGrant(_INVALID, reason="id_jag_not_yet_valid")
    if now - issued_at > max_age:
        raise InvalidGrant(_EXPIRED, reason="id_jag_too_old")
    return expires_at


def _one(value: object) -> object:
    """Return the element of an array of one; a longer or an empty one is not what may stand there."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else value
    return value


def _text(value: object) -> str:
    # No database takes U+0000 in a text.
    if not isinstance(value, str) or not value or "\x00" in value:
        _refuse_claims()
    return value


def _find_jkt(confirmation: object) -> str | None:
    jkt = confirmation.get("jkt") if isinstance(confirmation, dict) else None
    return jkt if isinstance(jkt, str) else None


def _refuse_claims() -> NoReturn:
    raise InvalidGrant(_INVALID, reason="id_jag_claims")
