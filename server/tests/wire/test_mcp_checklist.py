"""Rows of the MCP checklist that no other file of this directory has: discovery, answers, consent, documents."""

from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest

from authserver.app import build_server
from authserver.config.model import Config
from authserver.config.sections.listeners import ServerConfig
from server.tests.fakes.document_server import Answer, DocumentServer, document_server
from server.tests.web.direct import DirectTransport
from server.tests.wire.exchanging import a_resource
from server.tests.wire.harness import ISSUER, REDIRECT, RESOURCE, Wire, claims_of, query_of

pytestmark = pytest.mark.anyio

LOOPBACK = "http://127.0.0.1:5173/callback"
STATE = "a+b c&d=e%2F#?ü/~"
WELL_KNOWN = "/.well-known"


@pytest.fixture
async def documents() -> AsyncIterator[DocumentServer]:
    async with document_server() as server:
        yield server


@pytest.mark.parametrize(
    ("issuer", "spellings"),
    [
        ("https://as.example", ["oauth-authorization-server", "openid-configuration"]),
        (
            "https://as.example/tenant",
            ["oauth-authorization-server/tenant", "openid-configuration/tenant", "oauth-authorization-server"],
        ),
    ],
)
async def test_every_spelling_of_the_metadata_is_one_document_with_one_issuer(
    wire: Wire, config: Config, issuer: str, spellings: list[str]
) -> None:  # AS-02, AS-03, AS-04
    server = await build_server(
        replace(wire.core, config=replace(config, server=ServerConfig(issuer=issuer))), wire.keyring
    )
    paths = [f"{WELL_KNOWN}/{spelling}" for spelling in spellings]
    if path := urlsplit(issuer).path:
        paths += [f"{path}{WELL_KNOWN}/openid-configuration", f"{WELL_KNOWN}/openid-configuration"]
    async with httpx2.AsyncClient(transport=DirectTransport(server.public, peer="192.0.2.9"), base_url=issuer) as http:
        answers = [await http.get(f"https://inner.example{path}") for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    assert len({answer.content for answer in answers}) == 1
    document = answers[0].json()
    assert document["issuer"] == issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert all(document[f"{name}_endpoint"].startswith(f"{issuer}/oauth/") for name in ("authorization", "token"))


async def test_state_and_issuer_come_back_once_and_unchanged_whatever_the_answer(wire: Wire) -> None:  # AS-34, AS-35
    client_id = (await wire.register())["client_id"]
    metadata = (await wire.http.get(f"{WELL_KNOWN}/oauth-authorization-server")).json()
    await wire.sign_in()
    denied = await wire.allow(await wire.authorize(client_id, state=STATE), action="deny")
    code = await wire.allow(await wire.authorize(client_id, state=STATE))
    refused = await wire.authorize(client_id, state=STATE, scope="no such scope")
    for answer, name, value in (
        (denied, "error", "access_denied"),
        (code, "code", ""),
        (refused, "error", "invalid_scope"),
    ):
        assert answer.status_code == 303
        parameters = parse_qs(urlsplit(answer.headers["location"]).query, strict_parsing=True)
        assert parameters["state"] == [STATE]
        assert parameters["iss"] == [metadata["issuer"]] == [ISSUER]
        assert parameters[name][0].startswith(value)


async def test_a_lone_slash_behind_the_resource_is_no_other_resource(wire: Wire) -> None:  # AS-32
    bare = await a_resource(wire, "bare", "bare:read")
    client_id = (await wire.register())["client_id"]
    for spelling in (bare.uri, f"{bare.uri}/", "HTTPS://BARE.example.com:443/"):
        code = await wire.code(client_id, resource=spelling, scope="bare:read")
        tokens = (await wire.redeem(client_id, code, resource=f"{bare.uri}/")).json()
        assert claims_of(tokens["access_token"])["aud"] == [bare.uri]
        assert (await wire.refresh(client_id, tokens["refresh_token"], resource=spelling)).status_code == 200
    refused = await wire.authorize(client_id, resource=f"{bare.uri}/mcp", scope="bare:read")
    assert query_of(refused)["error"] == "invalid_target"
    origin = f"https://{urlsplit(RESOURCE).netloc}/"
    assert query_of(await wire.authorize(client_id, resource=origin))["error"] == "invalid_target"


async def test_offline_access_is_neither_offered_nor_needed_for_a_refresh_token(wire: Wire) -> None:  # AS-09, AS-61
    metadata = (await wire.http.get(f"{WELL_KNOWN}/openid-configuration")).json()
    assert "offline_access" not in metadata["scopes_supported"]
    client_id = (await wire.register())["client_id"]
    assert (await wire.tokens(client_id))["refresh_token"]


async def test_what_a_client_shows_of_itself_is_never_fetched_by_the_page(
    wire: Wire, documents: DocumentServer
) -> None:  # UI-01, UI-12
    client_id = documents.document("/client", client_uri="https://me.example/", logo_uri="https://me.example/l.png")
    await wire.sign_in()
    page = await wire.http.get((await wire.authorize(client_id, redirect_uri=LOOPBACK)).headers["location"])
    assert page.status_code == 200
    assert "127.0.0.1" in page.text
    assert "me.example" not in page.text
    assert "<img" not in page.text


async def test_consent_leaves_no_cookie_and_is_for_one_resource(wire: Wire) -> None:  # UI-08, UI-09
    await a_resource(wire, "mail", "notes:read")
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    cookies = dict(wire.http.cookies)
    answer = await wire.allow(await wire.authorize(client_id))
    assert "code" in query_of(answer)
    assert "set-cookie" not in answer.headers
    assert dict(wire.http.cookies) == cookies
    assert "code" in query_of(await wire.authorize(client_id))
    for changes in ({"resource": "mail"}, {"scope": "notes:read notes:write"}):
        asked = await wire.authorize(client_id, **changes)
        assert asked.headers["location"].startswith("/consent?"), changes


async def test_a_client_of_a_document_stays_known_to_every_endpoint_when_the_document_is_gone(
    wire: Wire, documents: DocumentServer
) -> None:  # CM-16
    client_id = documents.document("/client")
    code = await wire.code(client_id, redirect_uri=LOOPBACK)
    documents.answers["/client"] = Answer(status=500)
    tokens = (await wire.redeem(client_id, code)).json()
    wire.clock.seconds += 7200
    tokens = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    assert (await wire.introspect(tokens["access_token"]))["client_id"] == client_id
    form = {"token": tokens["refresh_token"], "client_id": client_id}
    assert (await wire.http.post("/oauth/revoke", data=form)).status_code == 200
    assert (await wire.introspect(tokens["access_token"]))["active"] is False
    assert documents.paths() == ["/client"]


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://127.0.0.1:5173/other",
        "http://localhost:5173/callback",
        "http://127.0.0.2:5173/callback",
        "https://client.example:8443/cb",
        "http://client.example/cb",
    ],
)
async def test_only_the_port_of_a_loopback_redirect_may_differ(wire: Wire, redirect_uri: str) -> None:  # AS-25
    client_id = (await wire.register(redirect_uris=["http://127.0.0.1/callback", REDIRECT]))["client_id"]
    answer = await wire.authorize(client_id, redirect_uri=redirect_uri)
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    answer = await wire.authorize(client_id, redirect_uri="http://127.0.0.1:61234/callback")
    assert answer.headers["location"].startswith("/login?")
    code = await wire.code(client_id, redirect_uri="http://127.0.0.1:61234/callback")
    refused = await wire.redeem(client_id, code, redirect_uri="http://127.0.0.1:61235/callback")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await wire.redeem(client_id, code, redirect_uri="http://127.0.0.1:61234/callback")).status_code == 200


@pytest.mark.parametrize("bad", ["javascript:alert(1)", "data:text/html,x", "https://*.example/cb", "ftp://a.example/"])
async def test_a_redirect_uri_that_may_not_be_registered_is_named_in_the_answer(wire: Wire, bad: str) -> None:  # 11.1
    document = {"client_name": "Tests", "redirect_uris": [REDIRECT, bad]}
    answer = await wire.http.post("/oauth/register", json=document)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")
    assert bad in answer.json()["error_description"] or quote(bad) in answer.json()["error_description"]


async def test_a_private_scheme_registers_without_an_application_type_and_signs_in(wire: Wire) -> None:  # AS-23, AS-24
    scheme = "cursor://anysphere.cursor-mcp/oauth/callback"
    for members in ({}, {"application_type": "web"}, {"application_type": "native"}):
        client_id = (await wire.register(redirect_uris=[scheme, LOOPBACK], **members))["client_id"]
        answer = await wire.authorize(client_id, redirect_uri=scheme)
        if answer.headers["location"].startswith("/login"):
            await wire.sign_in()
            answer = await wire.authorize(client_id, redirect_uri=scheme)
        answer = await wire.allow(answer)
        assert answer.headers["location"].startswith(f"{scheme}?")
        assert (await wire.redeem(client_id, query_of(answer)["code"])).status_code == 200
