"""A token, held against what the documents say (RFC 9068 §4)."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from authserver.doctor.challenge import is_served, parse_challenges
from authserver.doctor.codes import Severity
from authserver.doctor.documents import texts
from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Answer
from authserver.protocol.identifiers import base64url
from authserver.protocol.jose import ACCESS_TOKEN_TYPE, LEEWAY_SECONDS, InvalidToken, UnverifiedJwt, read_unverified_jwt
from authserver.protocol.jwk import SIGNATURE_ALGORITHMS, KeySet, find_algorithm

_FORBIDDEN, _UNAUTHORIZED = 403, 401
_TIMES = ("exp", "nbf", "iat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a token must be for this resource; None and empty where nobody says.

    Attributes:
        issuers: As the metadata of the servers spells them.
        audience: The resource.
        scopes: What the challenge asks for.
        keys: With which it can be verified.
        times: Possible values of now: this machine's clock, and the servers'.
    """

    issuers: frozenset[str]
    audience: str | None
    scopes: frozenset[str]
    keys: KeySet | None
    times: tuple[int, ...]


def read_token(token: str) -> UnverifiedJwt | None:
    """Take a token apart, one without a signature too; None when it is opaque."""
    try:
        return read_unverified_jwt(f"{token}AA" if token.endswith(".") else token)
    except InvalidToken:
        return None


def check_token(token: str, demands: Demands) -> Iterator[Finding]:
    """Find what is wrong with a token before anybody is shown it."""
    jwt = read_token(token)
    if jwt is None:
        yield finding("token-opaque", url="", seen=f"{token.count('.') + 1} parts, {len(token)} characters")
        return
    yield from check_header(jwt.header, demands.keys)
    yield from check_claims(jwt.claims, demands)
    yield from check_times(jwt.claims, demands.times)
    if demands.keys is not None:
        yield from check_signature(jwt, demands.keys)


def check_header(header: Mapping[str, object], keys: KeySet | None) -> Iterator[Finding]:
    """Find what is wrong with type, algorithm and name of the key."""
    kind = str(header.get("typ", "no typ"))
    if kind.lower().removeprefix("application/") != ACCESS_TOKEN_TYPE:
        yield finding("token-type", url="", seen=kind, expected=ACCESS_TOKEN_TYPE)
    if find_algorithm(header.get("alg"), SIGNATURE_ALGORITHMS) is None:
        yield finding("token-algorithm", url="", seen=str(header.get("alg")), expected="ES256 or RS256")
    if "kid" not in header and keys is not None and len(keys.keys) > 1:
        yield finding("token-kid-missing", url="", seen="no kid")


def check_claims(claims: Mapping[str, object], demands: Demands) -> Iterator[Finding]:
    """Find that the token is of another issuer, for somebody else, or allows too little."""
    missing = [name for name in ("iss", "sub", "aud", "exp") if not claims.get(name)]
    missing += [name for name in _TIMES if name in claims and _time(claims[name]) is None]
    if missing:
        yield finding("token-claims", url="", seen=f"missing or of the wrong type: {', '.join(missing)}")
    issuer = claims.get("iss")
    if issuer and demands.issuers and all(issuer != known for known in demands.issuers):
        yield finding("token-issuer", url="", seen=str(issuer), expected=" or ".join(sorted(demands.issuers)))
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if audience and demands.audience is not None and demands.audience not in audiences:
        yield finding("token-audience", url="", seen=" ".join(map(str, audiences)), expected=demands.audience)
    lacking = demands.scopes - scopes_of(claims)
    if lacking:
        yield finding("token-scope", url="", seen=f"lacks {' '.join(sorted(lacking))}")


def scopes_of(claims: Mapping[str, object]) -> frozenset[str]:
    """Return the scopes of a token, however its server spells them."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        found.update(value.split() if isinstance(value, str) else texts(value))
    return frozenset(found)


def check_times(claims: Mapping[str, object], times: Sequence[int]) -> Iterator[Finding]:
    """Find that the token is out of time by every clock: where clocks differ, that is what is wrong."""
    exp, nbf, iat = (_time(claims.get(name)) for name in _TIMES)
    if exp is not None and all(now >= exp + LEEWAY_SECONDS for now in times):
        yield finding("token-expired", url="", seen=f"it expired {min(times) - exp:.0f} s ago")
    begins = max((value for value in (nbf, iat) if value is not None), default=None)
    if begins is not None and all(begins > now + LEEWAY_SECONDS for now in times):
        yield finding("token-not-yet-valid", url="", seen=f"it begins in {begins - max(times):.0f} s")


def _time(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def check_signature(jwt: UnverifiedJwt, keys: KeySet) -> Iterator[Finding]:
    """Find that no published key made the signature."""
    alg = find_algorithm(jwt.header.get("alg"), SIGNATURE_ALGORITHMS)
    kid = jwt.header.get("kid")
    if alg is None:
        return
    fitting = keys.fitting(alg, kid if isinstance(kid, str) else None)
    if not fitting:
        published = ", ".join(f"{key.kid} ({'/'.join(sorted(key.algorithms))})" for key in keys.keys)
        yield finding("token-kid-unknown", url="", seen=f"kid {kid!r} with {alg}", expected=f"one of {published}")
    elif not any(key.is_signature(jwt.signature, over=jwt.signing_input, alg=alg) for key in fitting):
        yield finding("token-signature", url="", seen=f"not signed with {kid!r}")


def check_reception(answer: Answer, found: Sequence[Finding]) -> Iterator[Finding]:
    """Find that the MCP server thinks of the token otherwise than this examination.

    Args:
        answer: To a call with the token.
        found: What is wrong with the token.
    """
    faults = [fault for fault in found if fault.code.severity is Severity.FAULT]
    if is_served(answer) and faults:
        names = ", ".join(fault.code.name for fault in faults)
        yield finding("token-unchecked", url=answer.url, seen=f"status {answer.status} in spite of {names}")
    if found:
        return
    parameters = [named for _, named in parse_challenges(answer.header("www-authenticate"))]
    said = next((f"{p.get('error')}: {p.get('error_description', '')}" for p in parameters if "error" in p), "no error")
    if answer.status == _FORBIDDEN and said.startswith("insufficient_scope"):
        wanted = next((p["scope"] for p in parameters if "scope" in p), "it does not say which")
        yield finding("token-scope", url=answer.url, seen=f"the server wants {wanted}")
    elif answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
        yield finding("token-refused", url=answer.url, seen=f"status {answer.status}, {said}")


def is_bound(token: str) -> bool:
    """Tell whether a token can be used with its key only, which nobody has here."""
    jwt = read_token(token)
    return jwt is not None and "cnf" in jwt.claims


def forge_token(demands: Demands, *, alg: str) -> str:
    """Return a token that looks right in everything but its signature, which is none or made up."""
    now = max(demands.times)
    kid = next((key.kid for key in demands.keys.keys if key.kid), None) if demands.keys else None
    header = {"typ": ACCESS_TOKEN_TYPE, "alg": alg, "kid": kid or "doctor"}
    claims = {
        "iss": min(demands.issuers, default="https://doctor.invalid"),
        "sub": "doctor",
        "aud": [demands.audience or "https://doctor.invalid"],
        "client_id": "doctor",
        "scope": " ".join(sorted(demands.scopes)),
        "jti": "doctor",
        "iat": now,
        "exp": now + 60,
    }
    signature = b"" if alg == "none" else secrets.token_bytes(64)
    return ".".join(base64url(part) for part in (orjson.dumps(header), orjson.dumps(claims), signature))
