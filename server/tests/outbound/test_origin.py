import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from authserver.outbound import origin
from authserver.outbound.client import OutboundFailed, OutboundRefused, OutboundResponse
from authserver.outbound.origin import OriginClient
from server.tests.fakes.document_server import Answer, DocumentServer, document_server

MAX_BYTES = 1000

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[DocumentServer]:
    async with document_server() as server:
        yield server


@pytest.fixture
async def client(server: DocumentServer) -> AsyncIterator[OriginClient]:
    client = OriginClient(server.url("/base"), timeout=5, max_bytes=MAX_BYTES)
    yield client
    await client.close()


async def test_a_path_is_appended_and_any_status_is_an_answer(server: DocumentServer, client: OriginClient) -> None:
    server.answers["/base/v1/a%20b"] = Answer(status=418, body=b"{}")
    answer = await client.request("GET", "/v1/a%20b", headers={"X-Token": "t"})
    assert (answer.status, answer.body) == (418, b"{}")
    (asked,) = server.requests
    assert asked.startswith("GET /base/v1/a%20b HTTP/1.1")
    assert "x-token: t" in asked.lower()


async def test_a_proxy_of_the_environment_is_not_used(
    server: DocumentServer, client: OriginClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server.answers["/base/x"] = Answer()
    assert (await client.request("GET", "/x", headers={})).status == 200


@pytest.mark.parametrize("status", [307, 308])
async def test_one_redirect_is_followed_with_the_same_request(
    server: DocumentServer, client: OriginClient, status: int
) -> None:
    server.answers["/base/x"] = Answer(status=status, headers={"Location": server.url("/active")})
    server.answers["/active"] = Answer(status=status, headers={"Location": server.url("/third")})
    answer = await client.request("POST", "/x", headers={"X-Token": "t"}, body=b"{}")
    assert answer.status == status
    assert server.paths() == ["/base/x", "/active"]
    assert all(asked.startswith("POST ") and "x-token: t" in asked.lower() for asked in server.requests)


@pytest.mark.parametrize("location", ["", "/relative", "ftp://a.example/", "http://u:p@a.example/"])
async def test_a_redirect_to_no_web_address_is_refused(
    server: DocumentServer, client: OriginClient, location: str
) -> None:
    server.answers["/base/x"] = Answer(status=307, headers={"Location": location})
    with pytest.raises(OutboundRefused, match="url"):
        await client.request("GET", "/x", headers={})


def test_a_redirect_never_leads_out_of_tls() -> None:
    answer = OutboundResponse(status=307, headers={"location": "http://a.example/"}, body=b"")
    with pytest.raises(OutboundRefused, match="scheme"):
        origin._redirected("https://a.example/x", answer)
    assert origin._redirected("http://a.example/x", answer) == "http://a.example/"


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_that_is_too_large_is_none(
    server: DocumentServer, client: OriginClient, *, chunked: bool
) -> None:
    server.answers["/base/x"] = Answer(body=b"x" * (MAX_BYTES + 1), chunked=chunked)
    with pytest.raises(OutboundFailed, match="too_large"):
        await client.request("GET", "/x", headers={})


async def test_a_server_that_hangs_is_given_up_and_one_that_is_not_there_too(server: DocumentServer) -> None:
    server.answers["/x"] = Answer(gate=asyncio.Event())
    hasty = OriginClient(server.url(""), timeout=0.2, max_bytes=MAX_BYTES)
    with pytest.raises(OutboundFailed, match="timeout"):
        await hasty.request("GET", "/x", headers={})
    await hasty.close()
    absent = OriginClient("http://127.0.0.1:9", timeout=5, max_bytes=MAX_BYTES)
    with pytest.raises(OutboundFailed, match="connect"):
        await absent.request("GET", "/x", headers={})
    await absent.close()


async def test_some_are_under_way_some_wait_and_more_are_refused(
    server: DocumentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "_MOST_AT_ONCE", 2)
    monkeypatch.setattr(origin, "_MOST_WAITING", 5)
    gate = asyncio.Event()
    server.answers["/x"] = Answer(gate=gate)
    client = OriginClient(server.url(""), timeout=30, max_bytes=MAX_BYTES)
    tasks = [asyncio.create_task(client.request("GET", "/x", headers={})) for _ in range(5)]
    await server.wait_for_requests(2)
    with pytest.raises(OutboundFailed, match="busy"):
        await client.request("GET", "/x", headers={})
    assert len(server.requests) == 2
    gate.set()
    assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}
    assert server.most_in_flight <= 2
    # And the place is free again.
    assert (await client.request("GET", "/x", headers={})).status == 200
    await client.close()


@pytest.mark.parametrize("url", ["", "vault", "ftp://a.example", "http://u:p@a.example", "https://a.example/?x"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(OutboundRefused):
        OriginClient(url, timeout=1, max_bytes=1, tls=ssl.create_default_context())
