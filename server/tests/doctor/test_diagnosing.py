"""The doctor names what is broken, and nothing else, in every set-up that is broken; and nothing in healthy ones."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from authserver.doctor.catalogue import CODES
from authserver.doctor.diagnosing import Diagnosis, Kind, diagnose
from authserver.doctor.reporting import as_members, as_words, is_healthy
from authserver.outbound.client import OutboundClient
from authserver.protocol.jose import generate_signing_key
from server.tests.doctor.faults import FAULTS, Fault, contexts
from server.tests.doctor.laboratory import Answer, Setup, laboratory
from server.tests.fakes.certificates import tls_contexts

pytestmark = pytest.mark.anyio

TRUST = ssl.create_default_context()  # what the system trusts takes long to read


async def on_loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def broken(fault: Fault, directory: Path) -> AsyncIterator[tuple[Setup, OutboundClient]]:
    layout = dict(fault.layout)
    server, client = contexts(layout.pop("certificate"), directory) if "certificate" in layout else (None, None)
    async with laboratory(tls=server, **layout) as setup:
        fault.break_(setup)
        yield setup, OutboundClient(resolver=on_loopback, tls=client or TRUST)


async def examine(setup: Setup, http: OutboundClient, **options: Any) -> Diagnosis:
    return await diagnose(setup.mcp_url, http=http, clock=lambda: setup.now, **({"timeout": 60} | options))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
async def test_what_is_broken_is_named_and_nothing_else(fault: Fault, tmp_path: Path) -> None:
    async with broken(fault, tmp_path) as (setup, http):
        token = setup.issue() if fault.with_token else None
        # Only who is never answered waits.
        timeout = 0.5 if fault.code == "timeout" else 60
        diagnosis = await examine(setup, http, token=token, timeout=timeout)
    assert {found.code.name for found in diagnosis.findings} == {fault.code}, as_words(diagnosis)


def test_there_are_more_than_thirty_set_ups_and_one_for_almost_every_code() -> None:
    assert len(FAULTS) > 30
    assert len({fault.what for fault in FAULTS}) == len(FAULTS)
    assert set(CODES) - {fault.code for fault in FAULTS} == {"broken-answer", "private-address", "token-unchecked"}


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"path": "/team/a/mcp"},
        {"path": "/mcp?tenant=a"},
        {"host": "localhost"},
        {"issuer_path": "/realms/notes"},
        {"certificate": "good"},
    ],
    ids=str,
)
@pytest.mark.parametrize("with_token", [False, True])
async def test_nothing_is_wrong_with_a_healthy_server(tmp_path: Path, layout: dict[str, Any], with_token: bool) -> None:  # noqa: FBT001  a parameter of the test
    healthy = Fault(what="nothing", code="", break_=lambda _setup: None, layout=layout)
    async with broken(healthy, tmp_path) as (setup, http):
        diagnosis = await examine(setup, http, token=setup.issue() if with_token else None)
    assert diagnosis.findings == (), as_words(diagnosis)
    assert diagnosis.kind is Kind.MCP
    assert is_healthy(diagnosis)


async def test_nothing_is_wrong_with_a_healthy_server_of_another_vendor() -> None:
    async with laboratory(issuer_path="/realms/notes") as setup:
        signing = generate_signing_key("RS256", kid="sig-1")
        encryption = dict(generate_signing_key("RS256", kid="enc-1").public.jwk) | {"use": "enc", "alg": "RSA-OAEP"}
        setup.key, setup.named_keys = signing, {signing.kid: signing.public}
        setup.jwks["keys"] = [encryption, {**signing.public.jwk, "x5c": ["MII"], "x5t": "t"}]
        setup.header |= {"alg": "RS256", "kid": "sig-1"}
        setup.claims |= {"azp": "c", "acr": "1", "realm_access": {"roles": []}}
        setup.metadata |= {
            "claims_supported": ["aud", "sub"],
            "end_session_endpoint": f"{setup.issuer}/logout",
            "code_challenge_methods_supported": ["plain", "S256"],
            "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.example.com/token"},
        }
        diagnosis = await examine(setup, OutboundClient(tls=TRUST), token=setup.issue())
    assert diagnosis.findings == (), as_words(diagnosis)


@pytest.mark.parametrize("issuer_path", ["", "/realms/notes"])
async def test_an_issuer_alone_is_recognised_and_healthy(issuer_path: str) -> None:
    async with laboratory(issuer_path=issuer_path) as setup:
        token = setup.issue()
        diagnosis = await diagnose(
            setup.issuer, http=OutboundClient(tls=TRUST), clock=lambda: setup.now, token=token, timeout=60
        )
        assert diagnosis.findings == (), as_words(diagnosis)
        assert diagnosis.kind is Kind.ISSUER
        assert setup.authorizations == []


async def test_an_issuer_that_fails_is_still_taken_for_one() -> None:
    async with laboratory() as setup:
        setup.overrides |= {("GET", url): Answer(503) for url in setup.metadata_urls}
        diagnosis = await diagnose(setup.issuer, http=OutboundClient(tls=TRUST), clock=lambda: setup.now, timeout=60)
    assert diagnosis.kind is Kind.ISSUER
    assert [found.code.name for found in diagnosis.findings] == ["metadata-5xx"]


async def test_the_token_goes_to_the_mcp_server_and_nowhere_else_and_is_never_told() -> None:
    async with laboratory() as setup:
        token = setup.issue()
        base = setup.mcp_url.removesuffix("/mcp")
        setup.accepts = lambda _token: False
        setup.challenge = f'Bearer resource_metadata="{setup.prm_url}", error_description="{token} is bad"'
        diagnosis = await examine(setup, OutboundClient(tls=TRUST), token=token)
        assert [site for site, seen in setup.shown if token in seen] == [base]
        assert [site for site, value in setup.authorizations if value == f"Bearer {token}"] == [base]
    assert [found.code.name for found in diagnosis.findings] == ["token-refused"]
    told = as_words(diagnosis, token=token) + str(as_members(diagnosis, token=token))
    assert "is bad" in told
    assert not any(part in told for part in token.split("."))


async def test_the_token_does_not_follow_a_redirect() -> None:
    async with laboratory() as setup:
        setup.overrides["POST", setup.mcp_url] = Answer(307, headers={"Location": f"{setup.issuer}/mcp"})
        await examine(setup, OutboundClient(tls=TRUST), token=setup.issue())
        assert setup.authorizations == []


async def test_the_token_is_not_sent_over_plain_http() -> None:
    async with laboratory(host="mcp.example.com") as setup:
        token = setup.issue()
        diagnosis = await examine(setup, OutboundClient(resolver=on_loopback, tls=TRUST), token=token)
        assert not any(token in seen for _, seen in setup.shown)
    assert [found.code.name for found in diagnosis.findings] == ["plain-http"]


async def test_a_server_that_accepts_what_it_must_not_is_named_beside_the_token() -> None:
    async with laboratory() as setup:
        setup.claims["exp"] = setup.now - 3600
        token = setup.issue()
        setup.accepts = lambda shown: shown == token
        diagnosis = await examine(setup, OutboundClient(tls=TRUST), token=token)
    assert [found.code.name for found in diagnosis.findings] == ["token-expired", "token-unchecked"]


async def test_a_token_that_is_bound_to_a_key_is_examined_and_not_shown() -> None:
    async with laboratory() as setup:
        setup.claims["cnf"] = {"jkt": "x"}
        token = setup.issue()
        diagnosis = await examine(setup, OutboundClient(tls=TRUST), token=token)
        assert not any(token in seen for _, seen in setup.shown)
    assert diagnosis.findings == ()


async def test_what_cannot_be_read_is_named() -> None:
    async with laboratory() as setup:
        setup.overrides["GET", setup.jwks_url] = Answer(body=b"x" * 600_000)
        diagnosis = await examine(setup, OutboundClient(tls=TRUST))
    assert [(found.code.name, found.url) for found in diagnosis.findings] == [("broken-answer", setup.jwks_url)]


@pytest.mark.parametrize("url", ["not a url", "ftp://example.com", "http://user:secret@127.0.0.1/"])
async def test_what_is_no_url_is_not_asked(url: str) -> None:
    diagnosis = await diagnose(url, http=OutboundClient(tls=TRUST), clock=lambda: 0)
    assert [found.code.name for found in diagnosis.findings] == ["unreachable"]
    assert diagnosis.kind is None


async def test_an_event_stream_without_end_is_an_answer() -> None:
    async with laboratory() as setup:
        setup.overrides["POST", setup.mcp_url] = Answer(
            body=b"data: {}\n\n", headers={"Content-Type": "text/event-stream", "Content-Length": "9999999"}
        )
        diagnosis = await examine(setup, OutboundClient(tls=TRUST))
    assert [found.code.name for found in diagnosis.findings] == ["no-token-needed"]


async def test_a_public_server_does_not_lead_the_doctor_into_a_private_network(tmp_path: Path) -> None:
    server, client = tls_contexts(tmp_path, "mcp.example.com")

    async def resolve(host: str, _port: int) -> list[str]:
        return ["10.0.0.1" if host == "internal.example.com" else "127.0.0.1"]

    def is_private(address: str) -> bool:
        return address == "10.0.0.1"

    for named in ("https://internal.example.com", "http://localhost:1"):
        async with laboratory(host="mcp.example.com", tls=server) as setup:
            setup.prm["authorization_servers"] = [named]
            http = OutboundClient(resolver=resolve, tls=client, is_forbidden=is_private)
            diagnosis = await examine(setup, http)
        assert [found.code.name for found in diagnosis.findings] == ["private-address"]
        assert diagnosis.findings[0].url.startswith(named)
