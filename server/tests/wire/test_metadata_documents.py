"""Client ID Metadata Documents over HTTP (public API §12.4 to §12.6), and every spelling of discovery (§1.2, §1.5)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from authserver.clients.administration import NewClient
from authserver.clients.store import find_client
from authserver.protocol.operator_errors import Conflict
from server.tests.fakes.document_server import Answer, DocumentServer, document_server
from server.tests.wire.harness import ISSUER, Wire, claims_of, query_of

pytestmark = pytest.mark.anyio

LOOPBACK = "http://127.0.0.1:5173/callback"
HOUR, DAY = 3600, 24 * 3600


@pytest.fixture
async def documents() -> AsyncIterator[DocumentServer]:
    async with document_server() as server:
        yield server


async def test_fifty_callers_cause_one_fetch(wire: Wire, documents: DocumentServer) -> None:
    client_id = documents.document("/client")
    gate = documents.answers["/client"].gate = asyncio.Event()
    callers = [asyncio.create_task(wire.authorize(client_id, redirect_uri=LOOPBACK)) for _ in range(50)]
    await documents.wait_for_requests(1)
    gate.set()
    answers = await asyncio.gather(*callers)
    assert {answer.status_code for answer in answers} == {303}
    assert documents.paths() == ["/client"]


async def test_a_document_that_is_missing_is_asked_for_once_in_half_a_minute(
    wire: Wire, documents: DocumentServer
) -> None:
    client_id = documents.url("/missing")
    for _ in range(3):
        answer = await wire.authorize(client_id, redirect_uri=LOOPBACK)
        assert (answer.status_code, "Invalid Client" in answer.text) == (400, True)
    assert len(documents.requests) == 1
    documents.document("/missing")
    wire.clock.seconds += 30
    assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).status_code == 303


@pytest.mark.parametrize(
    ("headers", "fetches"),
    [
        ({}, 1),
        ({"Cache-Control": "max-age=1"}, 1),
        ({"Cache-Control": "public, no-store"}, 2),
        ({"Cache-Control": "no-cache"}, 2),
        ({"Cache-Control": "max-age=0"}, 2),
        ({"Expires": "0"}, 2),
        ({"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 2),
    ],
)
async def test_a_document_is_kept_as_its_headers_say_and_for_a_minute_at_least(
    wire: Wire, documents: DocumentServer, headers: dict[str, str], fetches: int
) -> None:
    client_id = documents.document("/client")
    documents.answers["/client"].headers.update(headers)
    for _ in range(2):
        assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).status_code == 303
        wire.clock.seconds += 59
    assert len(documents.requests) == fetches


async def test_a_changed_document_asks_again_and_leaves_the_operators_part_alone(
    wire: Wire, documents: DocumentServer
) -> None:
    client_id = documents.document("/client")
    await wire.tokens(client_id, redirect_uri=LOOPBACK)
    assert "code" in query_of(await wire.authorize(client_id, redirect_uri=LOOPBACK))
    before = await find_client(wire.core.db, client_id)
    documents.document(
        "/client",
        client_name="Renamed",
        redirect_uris=["http://127.0.0.1/callback", "http://127.0.0.1/new"],
        grant_types=["authorization_code", "refresh_token", "client_credentials"],
        scope="everything",
    )
    wire.clock.seconds += HOUR
    assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).headers["location"].startswith("/consent")
    after = await find_client(wire.core.db, client_id)
    assert before is not None
    assert after is not None
    assert after.name == "Renamed"
    assert (after.scope, after.status, after.is_agent) == (before.scope, before.status, before.is_agent)
    assert after.grant_types == before.grant_types
    assert ("client.updated", "source=cimd") in await wire.audit()


async def test_a_withdrawn_document_is_good_for_a_day_more(wire: Wire, documents: DocumentServer) -> None:
    client_id = documents.document("/client")
    assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).status_code == 303
    documents.answers["/client"] = Answer(status=404)
    wire.clock.seconds += DAY
    assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).status_code == 303
    wire.clock.seconds += 31
    answer = await wire.authorize(client_id, redirect_uri=LOOPBACK)
    assert (answer.status_code, "Invalid Client" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/jwks.json",
    ],
)
async def test_every_document_answers_head_and_preflights(wire: Wire, path: str) -> None:
    shown, head = await wire.http.get(path), await wire.http.head(path)
    assert (shown.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-length"] == shown.headers["content-length"]
    preflight = await wire.http.options(path, headers={"origin": "https://app.example"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    assert "MCP-Protocol-Version" in preflight.headers["access-control-allow-headers"]
    refused = await wire.http.post(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_a_document_that_is_not_there_can_be_seen_not_to_be(wire: Wire) -> None:
    answer = await wire.http.get("/.well-known/oauth-authorization-server/mcp", headers={"origin": "https://a.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (404, "*")


@pytest.mark.parametrize("path", ["/oauth/authorize", "/authorize", "/login", "/consent", "/oauth/introspect"])
async def test_what_no_page_may_ask_answers_no_preflight(wire: Wire, path: str) -> None:
    answer = await wire.http.options(path, headers={"origin": ISSUER, "access-control-request-method": "GET"})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_a_url_that_an_operator_registers_is_a_client_while_nobody_else_may_register(
    wire: Wire, documents: DocumentServer
) -> None:
    client_id = documents.document("/client", redirect_uris=["https://elsewhere.example/cb"])
    await wire.core.mode.set("admin_only", actor_id="admin", now=wire.clock.seconds)
    answer = await wire.authorize(client_id, redirect_uri=LOOPBACK)
    assert (answer.status_code, "Invalid Client" in answer.text) == (400, True)

    new = NewClient(client_id=client_id, name="Known", redirect_uris=(LOOPBACK,), scope="notes:read")
    created = await wire.core.clients.create(new, now=wire.clock.seconds)
    assert (created.client.id, created.client.registration_source, created.client.cimd_url) == (client_id, "admin", "")
    tokens = await wire.tokens(client_id, redirect_uri=LOOPBACK)
    assert claims_of(tokens["access_token"])["client_id"] == client_id
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
    # What the operator wrote holds, and not what the document says: it is never read, however old it is.
    wire.clock.seconds += 2 * DAY
    answer = await wire.authorize(client_id, redirect_uri="https://elsewhere.example/cb")
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).status_code == 303
    assert documents.requests == []


async def test_a_url_that_made_a_client_of_its_own_is_not_registered_twice(
    wire: Wire, documents: DocumentServer
) -> None:
    client_id = documents.document("/client")
    assert (await wire.authorize(client_id, redirect_uri=LOOPBACK)).status_code == 303
    with pytest.raises(Conflict):
        await wire.core.clients.create(
            NewClient(client_id=client_id, name="Known", redirect_uris=(LOOPBACK,)), now=wire.clock.seconds
        )
    stored = await find_client(wire.core.db, client_id)
    assert stored is not None
    assert stored.registration_source == "cimd"
