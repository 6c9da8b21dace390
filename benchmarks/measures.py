"""What is asked of a server: the whole flow, and each endpoint by itself."""

import base64
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from load import (
    WARM_UP_SECONDS,
    Answer,
    Requests,
    Sample,
    UnexpectedAnswerError,
    measure,
    measure_all,
    measure_with_wrk,
    run_all,
)

VERIFIER = "benchmark-" * 5
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CODES_PER_SECOND = 750
"""How many codes are redeemed for each second that a sample shall take: they are fetched beforehand."""
SIGNED_PER_SECOND = 4000
"""How many proofs or assertions can be sent in each second of a sample: more than a core serves, made beforehand."""
PLAIN, BOUND = "client_credentials, plain", "client_credentials, DPoP"
EXCHANGE, BOUND_EXCHANGE, ASSERTION = "exchange", "exchange, DPoP", "jwt-bearer"
_CODE = re.compile(rb"[?&]code=([^&\s]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An identity provider that is only a key."""

    issuer: str = "https://idp.example"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=partial(ec.generate_private_key, ec.SECP256R1()), repr=False
    )

    def key_set(self) -> bytes:
        """Return what it publishes."""
        return orjson.dumps({"keys": [_public_jwk(self.key)]})

    def assertion(self, *, audience: str, client_id: str) -> str:
        """Return a new identity assertion."""
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "alice", "aud": audience, "client_id": client_id, "iat": now}
        claims |= {"exp": now + 120, "jti": secrets.token_hex(16)}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"typ": "oauth-id-jag+jwt"})


class Prover:
    """A client that proves to hold a key (RFC 9449)."""

    def __init__(self, url: str) -> None:
        """Make a key.

        Args:
            url: Where its requests go.
        """
        self._url = url
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._header = {"typ": "dpop+jwt", "jwk": _public_jwk(self._key)}

    def proof(self) -> str:
        """Return a new proof."""
        claims = {"jti": secrets.token_hex(16), "htm": "POST", "htu": self._url, "iat": int(time.time())}
        return jwt.encode(claims, self._key, algorithm="ES256", headers=self._header)


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    members: dict[str, Any] = orjson.loads(jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key()))
    return members


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a server offers what, and as whom to ask.

    Attributes:
        paths: ``authorize``, ``token``, ``jwks``; ``introspect`` and ``metadata`` where it has them.
        cookie: What the browser of a signed-in user who has consented before sends.
        pids: The processes whose CPU time counts.
        inspector: Id and secret of a client that may introspect, or None.
        machine: Id and secret of a client that may have a token for itself, or None.
    """

    port: int
    paths: dict[str, str]
    client_id: str
    redirect_uri: str
    scope: str
    resource: str | None
    cookie: str
    pids: tuple[int, ...]
    inspector: tuple[str, str] | None = None
    machine: tuple[str, str] | None = None

    def authorize_query(self) -> str:
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": "af0ifjsldkj",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **({"resource": self.resource} if self.resource else {}),
        }
        return urlencode(query)


def _get(target: Target, path: str, cookie: str = "") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: localhost:{target.port}", *([f"Cookie: {cookie}"] if cookie else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def _post(target: Target, path: str, body: bytes, authorization: str = "", proof: str = "") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost:{target.port}\r\n"
        f"{f'Authorization: {authorization}{chr(13)}{chr(10)}' if authorization else ''}"
        f"{f'DPoP: {proof}{chr(13)}{chr(10)}' if proof else ''}"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _authorize(target: Target) -> bytes:
    return _get(target, f"{target.paths['authorize']}?{target.authorize_query()}", target.cookie)


def _redeem(target: Target, code: bytes) -> bytes:
    body = (
        f"grant_type=authorization_code&redirect_uri={quote(target.redirect_uri, safe='')}"
        f"&code_verifier={VERIFIER}&client_id={quote(target.client_id)}&code="
    )
    return _post(target, target.paths["token"], body.encode() + code)


def _refresh(target: Target, refresh_token: bytes) -> bytes:
    body = f"grant_type=refresh_token&client_id={quote(target.client_id)}&refresh_token="
    return _post(target, target.paths["token"], body.encode() + refresh_token)


def _code(answer: Answer) -> bytes:
    found = _CODE.search(answer[0])
    if found is None:
        raise UnexpectedAnswerError(f"no code: {answer[0].decode()}")
    return found[1]


def _members(answer: Answer) -> dict[str, Any]:
    head, body = answer
    if head[9:12] != b"200":
        raise UnexpectedAnswerError(f"not 200: {head.decode()} {body.decode()}")
    members: dict[str, Any] = orjson.loads(body)
    return members


def whole_flow(target: Target) -> Requests:
    """A code for a user who is signed in and has consented, its redemption, one refresh."""
    authorize = _authorize(target)
    while True:
        code = _code((yield authorize))
        refresh_token = _members((yield _redeem(target, code)))["refresh_token"].encode()
        if _members((yield _refresh(target, refresh_token)))["refresh_token"].encode() == refresh_token:
            raise UnexpectedAnswerError("the refresh token was not rotated")


def authorizations(target: Target) -> Requests:
    """A code for a user who is signed in and has consented, again and again."""
    authorize = _authorize(target)
    while True:
        _code((yield authorize))


def _collect_codes(target: Target, codes: list[bytes], number: int) -> Requests:
    authorize = _authorize(target)
    while len(codes) < number:
        codes.append(_code((yield authorize)))


def _redeem_codes(target: Target, codes: list[bytes]) -> Requests:
    while codes:
        _members((yield _redeem(target, codes.pop())))


def refreshes(target: Target) -> Requests:
    """Sign in once, then refresh and refresh; the warm-up takes the first two requests."""
    code = _code((yield _authorize(target)))
    members = _members((yield _redeem(target, code)))
    while True:
        members = _members((yield _refresh(target, members["refresh_token"].encode())))


def introspections(target: Target) -> Requests:
    """Get one token and ask whether it is in force, again and again."""
    assert target.inspector is not None
    authorization = _basic(target.inspector)
    code = _code((yield _authorize(target)))
    token = _members((yield _redeem(target, code)))["access_token"].encode()
    request = _post(target, target.paths["introspect"], b"token=" + token, authorization)
    while True:
        if _members((yield request))["active"] is not True:
            raise UnexpectedAnswerError("the token is not active")


def machine_tokens(target: Target, proofs: Iterator[str] | None = None) -> Requests:
    """Get a token about oneself, again and again."""
    assert target.machine is not None
    asked = {"grant_type": "client_credentials", "scope": target.scope}
    body = urlencode(asked | ({"resource": target.resource} if target.resource else {})).encode()
    yield from _tokens(target, body, target.machine, proofs)


def exchanged_tokens(target: Target, proofs: Iterator[str] | None = None) -> Requests:
    """Exchange one token of a user, as the server that it is for, again and again."""
    assert target.inspector is not None
    code = _code((yield _authorize(target)))
    subject = _members((yield _redeem(target, code)))["access_token"]
    asked = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "resource": target.resource or ""}
    subject_type = "urn:ietf:params:oauth:token-type:access_token"
    body = urlencode(asked | {"subject_token": subject, "subject_token_type": subject_type}).encode()
    yield from _tokens(target, body, target.inspector, proofs)


def _tokens(target: Target, body: bytes, client: tuple[str, str], proofs: Iterator[str] | None) -> Requests:
    """Ask for the same again and again, each time with another proof if there are any."""
    path, authorization = target.paths["token"], _basic(client)
    plain = _post(target, path, body, authorization)
    expected = "Bearer" if proofs is None else "DPoP"
    while True:
        request = plain if proofs is None else _post(target, path, body, authorization, _another(proofs))
        if _members((yield request))["token_type"] != expected:
            raise UnexpectedAnswerError(f"no {expected} token")


def asserted_tokens(target: Target, client: tuple[str, str], assertions: Iterator[str]) -> Requests:
    """Get a token for another identity assertion, again and again."""
    asked = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "resource": target.resource or ""}
    body, authorization = f"{urlencode(asked)}&assertion=", _basic(client)
    while True:
        request = _post(target, target.paths["token"], (body + _another(assertions)).encode(), authorization)
        if not _members((yield request))["access_token"]:
            raise UnexpectedAnswerError("no token")


def _another(signed: Iterator[str]) -> str:
    """Take one that nobody has sent."""
    for one in signed:
        return one
    raise UnexpectedAnswerError("everything that was signed beforehand is sent: SIGNED_PER_SECOND is too low")


def _basic(credentials: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(credentials).encode()).decode()


def _document(request: bytes) -> Requests:
    while True:
        head, _ = yield request
        if head[9:12] != b"200":
            raise UnexpectedAnswerError(head.decode())


def measure_flow(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure the whole flow."""
    flow = partial(whole_flow, target)
    return measure(target.port, target.pids, flow, requests_per_round=3, connections=connections, seconds=seconds)


def measure_redemption(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure the redemption of codes that were fetched before."""
    codes: list[bytes] = []
    number = int(CODES_PER_SECOND * seconds)
    run_all(target.port, partial(_collect_codes, target, codes, number), connections=connections)
    return measure_all(target.port, target.pids, partial(_redeem_codes, target, codes), connections=connections)


def measure_refresh(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure refreshes, each with the token that the last one gave."""
    refresh = partial(refreshes, target)
    return measure(target.port, target.pids, refresh, connections=connections, seconds=seconds)


def measure_machine_tokens(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure client credentials, by a secret in the header."""
    tokens = partial(machine_tokens, target)
    return measure(target.port, target.pids, tokens, connections=connections, seconds=seconds)


def measure_grants(
    target: Target, provider: Provider, client: tuple[str, str], *, connections: int, seconds: float
) -> dict[str, Sample]:
    """Measure what one client at a time gets, by a secret in the header, from each grant that needs no browser.

    Args:
        target: The server.
        provider: Vouches for a user of the client.
        client: Id and secret.
        connections: How many at once.
        seconds: How long, each.
    """
    prover = Prover(f"http://localhost:{target.port}{target.paths['token']}")
    issuer = f"http://localhost:{target.port}"

    def in_stock(sign: Callable[[], str]) -> Iterator[str]:
        """Sign before the clock starts: what the load computes on its core slows the server's down."""
        return iter([sign() for _ in range(int(SIGNED_PER_SECOND * (WARM_UP_SECONDS + seconds)))])

    grants: dict[str, Callable[[], Callable[[], Requests]]] = {
        PLAIN: lambda: partial(machine_tokens, target),
        BOUND: lambda: partial(machine_tokens, target, in_stock(prover.proof)),
        EXCHANGE: lambda: partial(exchanged_tokens, target),
        BOUND_EXCHANGE: lambda: partial(exchanged_tokens, target, in_stock(prover.proof)),
        ASSERTION: lambda: partial(
            asserted_tokens,
            target,
            client,
            in_stock(partial(provider.assertion, audience=issuer, client_id=client[0])),
        ),
    }
    return {
        name: measure(target.port, target.pids, make(), connections=connections, seconds=seconds)
        for name, make in grants.items()
    }


def measure_introspection(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure the introspection of an active token by a confidential client."""
    introspect = partial(introspections, target)
    return measure(target.port, target.pids, introspect, connections=connections, seconds=seconds)


def measure_document(document: str, target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure a document, with wrk where it is installed: Python cannot ask as fast as a server answers this."""
    path = target.paths[document]
    by_wrk = measure_with_wrk(target.port, target.pids, path, connections=connections, seconds=seconds)
    requests = partial(_document, _get(target, path))
    return by_wrk or measure(target.port, target.pids, requests, connections=connections, seconds=seconds)


def measure_page(port: int, pids: tuple[int, ...], path: str, key: str, *, connections: int, seconds: float) -> Sample:
    """Measure a page that operators read, at the admin listener with its key."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    return measure(port, pids, partial(_document, request), connections=connections, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that is measured.

    Attributes:
        take: Takes a sample.
        needs: The path that a target must have.
    """

    take: Callable[..., Sample]
    connections: int
    needs: str = "token"


MEASURES: dict[str, Measure] = {
    "flow, 1 connection": Measure(take=measure_flow, connections=1),
    "flow, 16 connections": Measure(take=measure_flow, connections=16),
    "flow, 64 connections": Measure(take=measure_flow, connections=64),
    "redemption, 16 connections": Measure(take=measure_redemption, connections=16),
    "refresh, 16 connections": Measure(take=measure_refresh, connections=16),
    "client_credentials, 16 connections": Measure(take=measure_machine_tokens, connections=16),
    "introspection, 16 connections": Measure(take=measure_introspection, connections=16, needs="introspect"),
    "jwks, 16 connections": Measure(take=partial(measure_document, "jwks"), connections=16, needs="jwks"),
    "metadata, 16 connections": Measure(take=partial(measure_document, "metadata"), connections=16, needs="metadata"),
}
