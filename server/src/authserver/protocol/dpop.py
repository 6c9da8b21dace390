"""Proofs of possession (RFC 9449 §4): what one must say and how it must be signed. Whether it is new is asked elsewhere."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from authserver.protocol.jose import (
    LEEWAY_SECONDS,
    Claims,
    InvalidKey,
    InvalidToken,
    OpenedJwt,
    open_jwt,
    read_object,
)
from authserver.protocol.jwk import ClientAlgorithm, VerificationKey, read_carried_key
from authserver.protocol.uris import parse_uri

PROOF_ALGORITHMS: tuple[ClientAlgorithm, ...] = ("ES256", "RS256", "PS256")
PROOF_TYPE = "dpop+jwt"
MAX_PROOF_CHARACTERS = 8 * 1024
"""Room for an RSA key of 8192 bits and a signature of it."""
MAX_JTI_CHARACTERS = 256

_KEPT_HEADERS = 1024
_LONGEST_KEPT = 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


class InvalidProof(ValueError):  # noqa: N818  an outcome that callers turn into one of their own
    """A proof proves nothing.

    Attributes:
        reason: Why, in one ``snake_case`` word for traces; never sent.
        named: The method or URL that it is for, or the type or algorithm that it has, when that is what is wrong.
        age: Seconds since it was made, when its time is what is wrong; negative when that is to come.
    """

    def __init__(self, reason: str, *, named: object = None, age: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.named = named if isinstance(named, str) else None
        self.age = age


@dataclass(slots=True, kw_only=True)
class Proof:
    """A proof that holds, for all that it says itself.

    Attributes:
        jkt: Thumbprint of the key that signed it (RFC 7638, SHA-256).
        jti: Its id, which may be used once with this key.
        nonce: The server's nonce that it carries; empty when it carries none that could be one.
    """

    jkt: str
    jti: str = field(repr=False)
    nonce: str = field(repr=False)


def read_proof(values: Sequence[str], *, method: str, urls: Collection[str], lifetime: int, now: int) -> Proof:
    """Check everything about a proof but nonce and replay, in the order of the contract (tokens.md §6.3).

    Args:
        values: The values of all ``DPoP`` headers of the request.
        method: The request's.
        urls: What the request was sent to, each as ``fold_url`` returns it.
        lifetime: Seconds by which the proof's time may be off, either way.
        now: Seconds since the epoch.

    Raises:
        InvalidProof: It does not hold.
    """
    jwt = _take_apart(values)  # 1, 2
    alg, key, jkt = _read_signer(jwt.header)  # 2 to 4
    if not key.is_signature(jwt.signature, over=jwt.signing_input, alg=alg):  # 5
        raise InvalidProof("dpop_signature")
    try:
        claims = jwt.read_claims()
    except InvalidToken as exc:
        raise InvalidProof("dpop_malformed") from exc
    jti = claims.get("jti")  # 6
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_CHARACTERS:
        raise InvalidProof("dpop_jti")
    htm = claims.get("htm")  # 7
    if not isinstance(htm, str) or not htm.isascii() or htm.upper() != method:
        raise InvalidProof("dpop_method", named=htm)
    htu = claims.get("htu")  # 8
    if not isinstance(htu, str) or (htu not in urls and fold_url(htu) not in urls):
        raise InvalidProof("dpop_url", named=htu)
    _check_times(claims, lifetime=lifetime, now=now)  # 9
    nonce = claims.get("nonce")
    return Proof(jkt=jkt, jti=jti, nonce=nonce if isinstance(nonce, str) else "")


def fold_url(url: str) -> str | None:
    """Return a URL as those are compared that proofs name, or None when it is none (RFC 9449 §4.3, step 9).

    Without query and fragment, scheme and host in lower case, without a default port. Paths are compared as they are.
    """
    uri = parse_uri(url)
    if uri is None or not uri.is_web or uri.userinfo is not None:
        return None
    port = int(uri.port) if uri.port is not None else _DEFAULT_PORTS[uri.scheme]
    explicit = "" if port == _DEFAULT_PORTS[uri.scheme] else f":{port}"
    return f"{uri.scheme}://{uri.host}{explicit}{uri.path}"


def _take_apart(values: Sequence[str]) -> OpenedJwt:
    """Return the one proof of a request, taken apart; the length is looked at before anything else is."""
    # A proxy may have joined two headers to one; no proof has a comma.
    if len(values) != 1 or "," in values[0]:
        raise InvalidProof("dpop_repeated")
    if len(values[0]) > MAX_PROOF_CHARACTERS:
        raise InvalidProof("dpop_malformed")
    try:
        return open_jwt(values[0])
    except InvalidToken as exc:
        raise InvalidProof("dpop_malformed") from exc


def _read_signer(segment: str) -> tuple[ClientAlgorithm, VerificationKey, str]:
    """Return the algorithm of a proof, the key that it carries, and the key's thumbprint."""
    return _kept_signer(segment) if len(segment) <= _LONGEST_KEPT else _signer(segment)


def _signer(segment: str) -> tuple[ClientAlgorithm, VerificationKey, str]:
    try:
        header = read_object(segment)
    except InvalidToken as exc:
        raise InvalidProof("dpop_malformed") from exc
    alg = _check_header(header)  # 2, 3
    try:
        key, jkt = read_carried_key(header.get("jwk"), alg)  # 4
    except InvalidKey as exc:
        raise InvalidProof("dpop_key") from exc
    return alg, key, jkt


_kept_signer = lru_cache(maxsize=_KEPT_HEADERS)(_signer)
"""The same for the same text: a client has one header for all its proofs, and to load its key costs half as much as to use it."""


def _check_header(header: Claims) -> ClientAlgorithm:
    alg = header.get("alg")
    if alg not in PROOF_ALGORITHMS:
        raise InvalidProof("dpop_algorithm", named=alg)
    if "crit" in header:
        raise InvalidProof("dpop_critical")
    kind = header.get("typ")
    if not isinstance(kind, str) or kind.lower() != PROOF_TYPE:
        raise InvalidProof("dpop_type", named=kind)
    return alg


def _check_times(claims: Claims, *, lifetime: int, now: int) -> None:
    issued_at = claims.get("iat")
    # `type`, not `isinstance`: true and false are no times.
    if type(issued_at) is not int or issued_at == 0:
        raise InvalidProof("dpop_time_missing")
    if abs(now - issued_at) > lifetime:
        raise InvalidProof("dpop_time", age=now - issued_at)
    if "exp" in claims and now >= _time(claims["exp"]) + LEEWAY_SECONDS:
        raise InvalidProof("dpop_expired")
    if "nbf" in claims and now < _time(claims["nbf"]) - LEEWAY_SECONDS:
        raise InvalidProof("dpop_not_yet_valid")


def _time(value: object) -> float:
    """Return a NumericDate, which need not be whole (RFC 7519 §2)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidProof("dpop_time_missing")
    return value
