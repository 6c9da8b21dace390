import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.clients.client_keys import ClientKeys
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.client_assertions import InvalidAssertion, read_client_assertion
from authserver.protocol.jwk import VerificationKey
from server.tests.clients.builders import NOW, a_client
from server.tests.fakes.certificates import tls_contexts
from server.tests.fakes.document_server import Answer, DocumentServer, document_server
from server.tests.fakes.signing_client import ED_KEY, SigningClient

pytestmark = pytest.mark.anyio

ISSUER = "https://as.example"
JSON = {"Content-Type": "application/json"}


def a_signer(kid: str | None = "key-1") -> SigningClient:
    return SigningClient(audience=ISSUER, kid=kid, key=ec.generate_private_key(ec.SECP256R1()))


FIRST, SECOND = a_signer("first"), a_signer("second")


@dataclass
class Bench:
    """A client that publishes its keys, and a server that fetches them."""

    server: DocumentServer
    tls: ssl.SSLContext
    keys: ClientKeys = field(init=False)

    def __post_init__(self) -> None:
        self.configure()

    def configure(self, **config: Any) -> None:
        section: dict[str, Any] = {"allow_private_addresses": True, "fetch_timeout": 5}
        self.keys = ClientKeys(OutboundClient(tls=self.tls), CimdConfig(**(section | config)))

    def publish(self, *signers: SigningClient, path: str = "/jwks", **headers: str) -> None:
        body = orjson.dumps({"keys": [signer.jwk for signer in signers]})
        self.server.answers[path] = Answer(body=body, headers=JSON | headers)

    async def find(self, signer: SigningClient, *, now: int = NOW, path: str = "/jwks") -> tuple[VerificationKey, ...]:
        assertion = read_client_assertion(signer.assertion(now=now), audiences={ISSUER}, now=now)
        client = a_client(jwks_uri=self.server.url(path), token_endpoint_auth_method="private_key_jwt")
        keys = await self.keys.find(client, assertion, now=now)
        assert assertion.is_signed_by(keys) is (signer.kid is not None)
        return keys

    async def refused(self, signer: SigningClient, *, now: int = NOW, path: str = "/jwks") -> str:
        with pytest.raises(InvalidAssertion) as refusal:
            await self.find(signer, now=now, path=path)
        return refusal.value.reason


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as bench:
        yield bench


@asynccontextmanager
async def _bench(directory: Path) -> AsyncIterator[Bench]:
    server_tls, client_tls = tls_contexts(directory, "127.0.0.1")
    async with document_server(server_tls) as server:
        yield Bench(server, client_tls)


async def test_keys_are_fetched_at_first_use_and_kept(bench: Bench) -> None:
    bench.publish(FIRST)
    for later in (0, 1, 3599):
        await bench.find(FIRST, now=NOW + later)
    assert bench.server.paths() == ["/jwks"]
    await bench.find(FIRST, now=NOW + 3600)
    assert bench.server.paths() == ["/jwks", "/jwks"]


async def test_keys_are_kept_as_long_as_their_headers_say(bench: Bench) -> None:
    bench.publish(FIRST, **{"Cache-Control": "max-age=100"})
    for later in (0, 99, 100):
        await bench.find(FIRST, now=NOW + later)
    assert bench.server.paths() == ["/jwks", "/jwks"]


@pytest.mark.parametrize(
    ("headers", "config"),
    [({"Cache-Control": "no-store"}, {}), ({"Cache-Control": "max-age=0"}, {}), ({}, {"cache_ttl": 1})],
)
async def test_keys_are_kept_for_ten_seconds_whatever_is_said(
    bench: Bench, headers: dict[str, str], config: dict[str, int]
) -> None:
    bench.configure(**config)
    bench.publish(FIRST, **headers)
    for later in (0, 1, 9):
        await bench.find(FIRST, now=NOW + later)
    assert len(bench.server.requests) == 1
    bench.publish(SECOND, **headers)
    await bench.find(SECOND, now=NOW + 10)
    assert len(bench.server.requests) == 2


async def test_a_set_that_asks_not_to_be_kept_is_fetched_seven_times_a_minute_at_most(bench: Bench) -> None:
    bench.publish(FIRST, **{"Cache-Control": "no-store"})
    await bench.find(FIRST)
    assert [await bench.refused(SECOND) for _ in range(2)] == ["assertion_key_unknown"] * 2
    assert len(bench.server.requests) == 2
    for later in range(1, 60):
        assert await bench.refused(SECOND, now=NOW + later) == "assertion_key_unknown"
    assert len(bench.server.requests) == 7


async def test_an_unknown_name_has_the_set_fetched_anew_once_a_minute(bench: Bench) -> None:
    bench.publish(FIRST)
    await bench.find(FIRST)
    bench.publish(SECOND)
    await bench.find(SECOND)
    assert len(bench.server.requests) == 2
    for later in (0, 59):
        assert await bench.refused(FIRST, now=NOW + later) == "assertion_key_unknown"
    assert len(bench.server.requests) == 2
    assert await bench.refused(FIRST, now=NOW + 60) == "assertion_key_unknown"
    assert len(bench.server.requests) == 3
    await bench.find(SECOND, now=NOW + 60)


async def test_a_set_that_was_just_fetched_is_not_fetched_again_for_the_same_name(bench: Bench) -> None:
    bench.publish(FIRST)
    assert await bench.refused(SECOND) == "assertion_key_unknown"
    assert len(bench.server.requests) == 1


async def test_without_a_name_nothing_is_fetched_anew(bench: Bench) -> None:
    bench.publish(FIRST)
    await bench.find(FIRST)
    assert len(await bench.find(a_signer(None))) == 1
    assert len(bench.server.requests) == 1


async def test_fifty_assertions_under_a_new_key_share_one_fetch_and_all_find_it(bench: Bench) -> None:
    bench.publish(FIRST)
    await bench.find(FIRST)
    bench.publish(SECOND)
    gate = bench.server.answers["/jwks"].gate = asyncio.Event()
    callers = [asyncio.create_task(bench.find(SECOND)) for _ in range(50)]
    await bench.server.wait_for_requests(2)
    gate.set()
    assert len(await asyncio.gather(*callers)) == 50
    assert len(bench.server.requests) == 2


async def test_fifty_first_uses_at_once_share_one_fetch(bench: Bench) -> None:
    bench.publish(FIRST)
    gate = bench.server.answers["/jwks"].gate = asyncio.Event()
    callers = [asyncio.create_task(bench.find(FIRST)) for _ in range(50)]
    await bench.server.wait_for_requests(1)
    gate.set()
    await asyncio.gather(*callers)
    assert len(bench.server.requests) == 1


async def test_a_failure_is_remembered_for_thirty_seconds_and_known_keys_stay(bench: Bench) -> None:
    bench.publish(FIRST)
    await bench.find(FIRST)
    bench.server.answers["/jwks"].status = 500
    assert await bench.refused(SECOND) == "assertion_keys_unavailable"
    await bench.find(FIRST)
    for later in (0, 29, 30):
        assert await bench.refused(FIRST, path="/missing", now=NOW + later) == "assertion_keys_unavailable"
    assert bench.server.paths() == ["/jwks", "/jwks", "/missing", "/missing"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404, headers=JSON),
        Answer(status=302, headers=JSON | {"Location": "/elsewhere"}),
        Answer(body=b'{"keys":[]}', headers={"Content-Type": "text/html"}),
        Answer(body=b"{", headers=JSON),
        Answer(body=b"[]", headers=JSON),
        Answer(body=b'{"keys":[' + b"{}," * 100 + b"{}]}", headers=JSON),
        Answer(body=b'{"keys":[]' + b" " * 65526 + b"}", headers=JSON),
    ],
)
async def test_what_is_no_key_set_is_unavailable(bench: Bench, answer: Answer) -> None:
    bench.publish(FIRST, path="/elsewhere")
    bench.server.answers["/jwks"] = answer
    assert await bench.refused(FIRST) == "assertion_keys_unavailable"
    assert bench.server.paths() == ["/jwks"]


async def test_a_set_of_the_largest_size_is_read(bench: Bench) -> None:
    bench.publish(FIRST)
    answer = bench.server.answers["/jwks"]
    answer.body += b" " * (65536 - len(answer.body))
    await bench.find(FIRST)


async def test_a_set_with_no_key_that_fits_is_not_unavailable(bench: Bench) -> None:
    bench.publish(SigningClient(audience=ISSUER, alg="EdDSA", key=ED_KEY, kid="first"))
    assert await bench.refused(FIRST) == "assertion_key_unknown"


async def test_keys_are_never_fetched_from_private_addresses_or_without_tls(bench: Bench, tmp_path: Path) -> None:
    bench.publish(FIRST)
    for config in ({"allow_private_addresses": False}, {"enabled": False}):
        bench.configure(**config)
        assert await bench.refused(FIRST) == "assertion_keys_unavailable"
    bench.configure(require_https=False)
    bench.server.scheme = "http"
    assert await bench.refused(FIRST) == "assertion_keys_unavailable"
    assert bench.server.requests == []


async def test_a_slow_server_is_given_up(bench: Bench) -> None:
    bench.configure(fetch_timeout=0.1)
    bench.publish(FIRST)
    bench.server.answers["/jwks"].gate = asyncio.Event()
    assert await bench.refused(FIRST) == "assertion_keys_unavailable"


async def test_registered_keys_are_parsed_once_and_not_for_ever() -> None:
    keys = ClientKeys(OutboundClient(), CimdConfig())

    async def find(signer: SigningClient, number: int = 0) -> tuple[VerificationKey, ...]:
        jwks = orjson.dumps(signer.jwks | {"number": number}).decode()
        assertion = read_client_assertion(signer.assertion(now=NOW), audiences={ISSUER}, now=NOW)
        return await keys.find(a_client(jwks=jwks), assertion, now=NOW)

    (first,) = await find(FIRST)
    for number in range(1, 512):
        await find(FIRST, number)
    (again,) = await find(FIRST)
    assert again is first
    for number in range(1, 513):
        await find(SECOND, number)
    (anew,) = await find(FIRST)
    assert (anew, anew is first) == (first, False)


async def test_a_client_without_keys_has_none() -> None:
    assertion = read_client_assertion(FIRST.assertion(now=NOW), audiences={ISSUER}, now=NOW)
    with pytest.raises(InvalidAssertion) as refusal:
        await ClientKeys(OutboundClient(), CimdConfig()).find(a_client(secret_hash="x"), assertion, now=NOW)
    assert refusal.value.reason == "assertion_unexpected"
