"""Assertions by which clients prove themselves: ``private_key_jwt`` (RFC 7523 §2.2 and §3; public API, 3.1)."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from authserver.protocol.jose import LEEWAY_SECONDS, Claims, InvalidToken, UnverifiedJwt, read_unverified_jwt
from authserver.protocol.jwk import CLIENT_ALGORITHMS, ClientAlgorithm, VerificationKey, find_algorithm

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_LIFETIME = 5 * 60
MAX_JTI_CHARACTERS = 256

_TYPES = frozenset({"jwt", "client-authentication+jwt"})


class InvalidAssertion(ValueError):  # noqa: N818  an outcome that callers turn into one of their own
    """An assertion proves nothing.

    Attributes:
        reason: Why, in one ``snake_case`` word for the log; never sent.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedAssertion:
    """An assertion that says the right things; whether the client said them is not checked.

    Attributes:
        client_id: Who it says to come from.
        kid: The name of the key it says to be signed with; None when it names none.
        expires_at: Its ``exp``, rounded up.
    """

    client_id: str
    alg: ClientAlgorithm
    kid: str | None
    jti: str
    expires_at: int
    _jwt: UnverifiedJwt = field(repr=False)

    def is_signed_by(self, keys: Iterable[VerificationKey]) -> bool:
        """Tell whether one of these keys signed it."""
        return any(key.is_signature(self._jwt.signature, over=self._jwt.signing_input, alg=self.alg) for key in keys)


def read_client_assertion(assertion: str, *, audiences: Collection[str], now: int) -> UnverifiedAssertion:
    """Check everything about an assertion that needs neither the client nor its keys.

    Keys that the header carries or refers to (``jwk``, ``jku``, ``x5c``, ``x5u``) are not looked at.

    Args:
        assertion: As sent.
        audiences: What it may be addressed to, byte for byte.
        now: Seconds since the epoch.

    Raises:
        InvalidAssertion: It does not hold.
    """
    try:
        jwt = read_unverified_jwt(assertion)
    except InvalidToken as exc:
        raise InvalidAssertion("assertion_malformed") from exc
    alg, kid = _check_header(jwt.header)
    claims = jwt.claims
    client_id = claims.get("sub")
    if not isinstance(client_id, str) or not client_id or claims.get("iss") != client_id:
        raise InvalidAssertion("assertion_subject")
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or audience not in audiences:
        raise InvalidAssertion("assertion_audience")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_CHARACTERS:
        raise InvalidAssertion("assertion_id")
    expires_at = _check_times(claims, now=now)
    return UnverifiedAssertion(client_id=client_id, alg=alg, kid=kid, jti=jti, expires_at=expires_at, _jwt=jwt)


def _check_header(header: Claims) -> tuple[ClientAlgorithm, str | None]:
    alg = find_algorithm(header.get("alg"), CLIENT_ALGORITHMS)
    if alg is None:
        raise InvalidAssertion("assertion_algorithm")
    if "crit" in header:
        raise InvalidAssertion("assertion_critical")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise InvalidAssertion("assertion_type")
    kid = header.get("kid")
    if not (kid is None or isinstance(kid, str)):
        raise InvalidAssertion("assertion_malformed")
    return alg, kid


def _check_times(claims: Claims, *, now: int) -> int:
    expires_at = _time(claims.get("exp"))
    if now >= expires_at + LEEWAY_SECONDS:
        raise InvalidAssertion("assertion_expired")
    if expires_at > now + MAX_LIFETIME + LEEWAY_SECONDS:
        raise InvalidAssertion("assertion_lifetime")
    for name in ("iat", "nbf"):
        if name in claims and _time(claims[name]) > now + LEEWAY_SECONDS:
            raise InvalidAssertion("assertion_not_yet_valid")
    return math.ceil(expires_at)


def _time(value: object) -> float:
    """Return a NumericDate, which need not be whole (RFC 7519 §2); true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidAssertion("assertion_times")
    return value
