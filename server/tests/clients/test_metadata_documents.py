import asyncio
import itertools
from typing import Any

import pytest

from authserver.clients.metadata_documents import MetadataDocument, MetadataDocuments
from authserver.clients.served import ServedMetadata
from authserver.clients.shared_fetches import DocumentUnavailable, NoFetchSlot
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient
from server.tests.clients.builders import GRANTS, NOW, counted
from server.tests.fakes.document_server import Answer, document_server

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
SUPPRESSED = "authserver_cimd_fetch_suppressed_total"


def the_documents(http: OutboundClient | None = None, **config: Any) -> MetadataDocuments:
    section: dict[str, Any] = {"require_https": False, "allow_private_addresses": True, "fetch_timeout": 5}
    return MetadataDocuments(
        http or OutboundClient(), CimdConfig(**(section | config)), ServedMetadata(grant_types=GRANTS)
    )


async def refused(documents: MetadataDocuments, url: str, *, now: int = NOW) -> str:
    with pytest.raises(DocumentUnavailable) as failure:
        await documents.get(url, now=now)
    return str(failure.value)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/client-id+json", "application/ld+json"],
)
async def test_a_document_is_read(content_type: str) -> None:
    async with document_server() as server:
        url = server.document("/client", client_name="Tool", unknown={"a": 1})
        server.answers["/client"].headers["Content-Type"] = content_type
        document = await the_documents().get(url, now=NOW)
    assert (document.metadata.client_name, document.fetched_at) == ("Tool", NOW)
    assert document.metadata.grant_types == ("authorization_code", "refresh_token")
    assert "\r\nAccept: application/json\r\n" in server.requests[0]


@pytest.mark.parametrize("content_type", ["text/html", "text/json", "application/xml", "", "image/svg+json"])
async def test_another_content_type_is_refused(content_type: str) -> None:
    async with document_server() as server:
        url = server.document("/client")
        server.answers["/client"].headers = {"Content-Type": content_type}
        assert "content type" in await refused(the_documents(), url)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 304, 307, 400, 404, 500])
async def test_any_status_but_200_is_refused_and_no_redirect_followed(status: int) -> None:
    async with document_server() as server:
        url = server.document("/client")
        elsewhere = server.document("/elsewhere")
        server.answers["/client"].status = status
        server.answers["/client"].headers["Location"] = elsewhere
        if status in {204, 304}:
            server.answers["/client"].body = b""
        assert str(status) in await refused(the_documents(), url)
        assert server.paths() == ["/client"]


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b"{} trailing", b"\xff", b'{"client_id": 1}'])
async def test_what_is_no_json_object_of_the_right_kind_is_refused(body: bytes) -> None:
    async with document_server() as server:
        server.answers["/client"] = Answer(body=body, headers=JSON)
        await refused(the_documents(), server.url("/client"))


@pytest.mark.parametrize(
    "members",
    [
        {"client_id": "https://other.example/client"},
        {"client_id": None},
        {"client_name": None},
        {"redirect_uris": []},
        {"redirect_uris": None},
        {"redirect_uris": ["http://client.example/callback"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"]},
        {"response_types": ["token"]},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "client_secret_post"},
        {"client_secret": "s"},
        {"client_secret_expires_at": 0},
    ],
)
async def test_a_document_with_a_defect_is_refused(members: dict[str, object]) -> None:
    async with document_server() as server:
        await refused(the_documents(), server.document("/client", **members))


async def test_a_document_of_the_largest_size_is_read_and_one_byte_more_refused() -> None:
    async with document_server() as server:
        for excess in (0, 1):
            url = server.document(f"/client{excess}")
            answer = server.answers[f"/client{excess}"]
            answer.body += b" " * (65536 + excess - len(answer.body))
        await the_documents().get(server.url("/client0"), now=NOW)
        assert await refused(the_documents(), url) == "fetch failed: too_large"


async def test_a_slow_server_is_given_up() -> None:
    async with document_server() as server:
        url = server.document("/client")
        server.answers["/client"].gate = asyncio.Event()
        assert await refused(the_documents(fetch_timeout=0.1), url) == "fetch failed: timeout"


@pytest.mark.parametrize("path", ["", "/", "/./client", "/a/../client", "/%2e%2e/client", "/client#part"])
async def test_an_identifier_of_the_wrong_form_is_not_fetched(path: str) -> None:
    async with document_server() as server:
        await refused(the_documents(), server.url(path))
        assert server.requests == []


async def test_scheme_and_addresses_are_governed_apart() -> None:
    async with document_server() as server:
        url = server.document("/client")
        assert "https" in await refused(the_documents(require_https=True), url)
        assert await refused(the_documents(allow_private_addresses=False), url) == "fetch refused: address"
        assert await refused(the_documents(allow_private_addresses=False), server.url("/c", host="localhost")) == (
            "fetch refused: host"
        )
        assert server.requests == []


async def test_fifty_callers_at_once_share_one_fetch() -> None:
    before = counted(SUPPRESSED, reason="single_flight")
    documents = the_documents()
    async with document_server() as server:
        url = server.document("/client")
        gate = server.answers["/client"].gate = asyncio.Event()
        callers = [asyncio.create_task(documents.get(url, now=NOW)) for _ in range(50)]
        await server.wait_for_requests(1)
        gate.set()
        results = await asyncio.gather(*callers)
        assert len(server.requests) == 1
    assert all(result is results[0] for result in results)
    assert counted(SUPPRESSED, reason="single_flight") - before == 49


async def test_a_caller_that_goes_away_does_not_end_the_fetch() -> None:
    documents = the_documents()
    async with document_server() as server:
        url = server.document("/client")
        gate = server.answers["/client"].gate = asyncio.Event()
        first, second = (asyncio.create_task(documents.get(url, now=NOW)) for _ in range(2))
        await server.wait_for_requests(1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        gate.set()
        assert isinstance(await second, MetadataDocument)
        assert len(server.requests) == 1


async def test_a_failure_is_remembered_for_thirty_seconds() -> None:
    before = counted(SUPPRESSED, reason="negative_cache")
    documents = the_documents()
    async with document_server() as server:
        url = server.url("/client")
        first = await refused(documents, url)
        server.document("/client")
        assert await refused(documents, url, now=NOW + 29) == first
        await documents.get(url, now=NOW + 30)
        assert len(server.requests) == 2
    assert counted(SUPPRESSED, reason="negative_cache") - before == 1


async def test_a_document_is_kept_as_long_as_its_headers_say() -> None:
    documents = the_documents()
    async with document_server() as server:
        kept, unkept = server.document("/kept"), server.document("/unkept")
        server.answers["/kept"].headers["Cache-Control"] = "max-age=100"
        server.answers["/unkept"].headers["Cache-Control"] = "no-store"
        for now in (NOW, NOW + 99, NOW + 100):
            assert (await documents.get(kept, now=now)).fetched_at == (NOW if now < NOW + 100 else now)
        for _ in range(2):
            await documents.get(unkept, now=NOW)
        assert server.paths() == ["/kept", "/kept", "/unkept", "/unkept"]


SIXTEEN = [f"127.0.0.{number}" for number in range(1, 17)]


async def _sixteen(host: str, _port: int) -> list[str]:
    """Give the hosts that are numbered sixteen addresses in turn."""
    return [SIXTEEN[int(host.removeprefix("host").partition(".")[0]) % 16]]


async def test_never_more_than_sixteen_fetches_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authserver.clients.shared_fetches.SLOT_WAIT", 0.3)
    before = counted(SUPPRESSED, reason="capacity")
    documents = the_documents(OutboundClient(resolver=_sixteen))
    gate = asyncio.Event()
    async with document_server(addresses=SIXTEEN) as server:
        server.fallback = lambda _path: Answer(status=404, gate=gate)
        urls = [server.url(f"/{number}", host=f"host{number}.example") for number in range(100)]
        callers = [asyncio.create_task(documents.get(url, now=NOW)) for url in urls]
        await server.wait_for_requests(16)
        for turned_away in itertools.islice(asyncio.as_completed(callers, timeout=5), 84):
            with pytest.raises(DocumentUnavailable, match="too many"):
                await turned_away
        gate.set()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert server.most_in_flight == 16
        assert counted(SUPPRESSED, reason="capacity") - before == 84

        # Having found no place says nothing about the document.
        url = next(url for url, result in zip(urls, results, strict=True) if "too many" in str(result))
        assert "404" in await refused(documents, url)


async def test_one_slow_host_leaves_places_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, _port: int) -> list[str]:
        return [SIXTEEN[host.lower() == "slow.example"]]

    monkeypatch.setattr("authserver.clients.shared_fetches.SLOT_WAIT", 0.3)
    documents = the_documents(OutboundClient(resolver=resolve))
    gate = asyncio.Event()
    async with document_server(addresses=SIXTEEN[:2]) as server:
        server.fallback = lambda _path: Answer(status=404, gate=gate)
        slow = [server.url(f"/{number}", host="slow.example") for number in range(50)]
        callers = [asyncio.create_task(documents.get(url, now=NOW)) for url in slow]
        await server.wait_for_requests(4)
        for turned_away in itertools.islice(asyncio.as_completed(callers, timeout=5), 46):
            with pytest.raises(NoFetchSlot):
                await turned_away
        assert server.in_flight == 4

        # The document names the host that it was asked for.
        url = server.url("/client", host="quick.example")
        server.document("/client", client_id=url)
        assert (await documents.get(url, now=NOW)).metadata.client_name == "A client"
        assert "too many" in await refused(documents, server.url("/more", host="SLOW.example"))

        gate.set()
        await asyncio.gather(*callers, return_exceptions=True)
        assert "404" in await refused(documents, server.url("/more", host="slow.example"))


async def test_one_slow_server_under_many_names_leaves_places_for_the_others() -> None:
    async def resolve(host: str, _port: int) -> list[str]:
        # As good as any other way of saying it: the first takes no connection.
        return ["127.0.0.2"] if host == "honest.example" else ["127.0.0.3", "127.0.0.1"]

    documents = the_documents(OutboundClient(resolver=resolve))
    gate = asyncio.Event()
    async with document_server(addresses=["127.0.0.1", "127.0.0.2"]) as server:
        server.fallback = lambda _path: Answer(status=404, gate=gate)
        urls = [server.url(f"/{number}", host=f"{number}.evil.example") for number in range(32)]
        callers = [asyncio.create_task(documents.get(url, now=NOW)) for url in urls]
        await server.wait_for_requests(4)

        url = server.url("/client", host="honest.example")
        server.document("/client", client_id=url)
        assert (await documents.get(url, now=NOW)).metadata.client_name == "A client"
        assert server.in_flight == 4

        gate.set()
        await asyncio.gather(*callers, return_exceptions=True)
        assert server.most_in_flight == 5


async def test_only_so_many_wait_for_a_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authserver.clients.shared_fetches.SLOT_WAIT", 5)
    documents = the_documents(OutboundClient(resolver=_sixteen))
    gate = asyncio.Event()
    async with document_server(addresses=SIXTEEN) as server:
        server.fallback = lambda _path: Answer(status=404, gate=gate)
        urls = [server.url(f"/{number}", host=f"host{number}.example") for number in range(257)]
        callers = [asyncio.create_task(documents.get(url, now=NOW)) for url in urls[:256]]
        await server.wait_for_requests(16)
        with pytest.raises(NoFetchSlot):
            await documents.get(urls[256], now=NOW)
        gate.set()
        assert len(await asyncio.gather(*callers, return_exceptions=True)) == 256
        assert server.most_in_flight == 16


async def test_round_trips_are_measured_and_what_was_not_sent_is_not() -> None:
    name = "authserver_cimd_fetch_duration_seconds_count"
    async with document_server() as server:
        url = server.document("/client")
        before = counted(name)
        documents = the_documents()
        for _ in range(3):
            await documents.get(url, now=NOW)
        await refused(the_documents(allow_private_addresses=False), url)
        await refused(documents, server.url("/missing"))
    assert counted(name) - before == 2


async def test_a_document_of_a_known_client_may_add_machine_grants_in_vain() -> None:
    async with document_server() as server:
        url = server.document("/client", grant_types=["authorization_code", "client_credentials"])
        document = await the_documents().get(url, held_grants=("authorization_code",), now=NOW)
    assert document.metadata.grant_types == ("authorization_code",)
