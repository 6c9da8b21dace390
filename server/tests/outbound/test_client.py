import asyncio
import gzip
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from authserver.outbound.client import OutboundClient, OutboundFailed, OutboundRefused, OutboundResponse, resolve
from server.tests.fakes.certificates import tls_contexts
from server.tests.fakes.document_server import Answer, document_server
from server.tests.fakes.listening import listening

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.215.14"


class Names:
    """A resolver whose answers are laid out, one list per question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


async def fetch(url: str, client: OutboundClient | None = None, **options: Any) -> OutboundResponse:
    bounds: dict[str, Any] = {
        "accept": "application/json",
        "max_bytes": 1000,
        "timeout": 5,
        "allow_private": True,
        "require_https": False,
    }
    return await (client or OutboundClient()).get(url, **(bounds | options))


async def test_an_answer_comes_with_status_headers_and_body() -> None:
    async with document_server() as server:
        server.answers["/a?b=c"] = Answer(status=418, body=b"tea", headers={"X-Kind": "pot"})
        response = await fetch(server.url("/a?b=c"))
    assert (response.status, response.body, response.headers["x-kind"]) == (418, b"tea", "pot")


async def test_the_request_carries_no_credentials_cookies_or_compression() -> None:
    client = OutboundClient()
    async with document_server() as server:
        server.answers["/"] = Answer(headers={"Set-Cookie": "a=b; Path=/"})
        await fetch(server.url(""), client)
        await fetch(server.url("/"), client)
    first, second = server.requests
    assert first == second
    assert first.lower().splitlines()[:-1] == [
        "get / http/1.1",
        f"host: 127.0.0.1:{server.port}",
        "accept: application/json",
        "accept-encoding: identity",
        "user-agent: authserver",
    ]


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with document_server() as server:
        server.answers["/"] = Answer()
        assert (await fetch(server.url("/"))).status == 200


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with document_server() as server:
        server.answers["/"] = Answer(status=302, headers={"Location": server.url("/next")})
        assert (await fetch(server.url("/"))).status == 302
    assert server.paths() == ["/"]


async def test_a_body_of_the_largest_size_is_taken() -> None:
    async with document_server() as server:
        server.answers["/"] = Answer(body=b"x" * 1000)
        assert len((await fetch(server.url("/"))).body) == 1000


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_one_byte_larger_is_not_taken(chunked: bool) -> None:  # noqa: FBT001  a parameter of the test
    async with document_server() as server:
        server.answers["/"] = Answer(body=b"x" * 1001, chunked=chunked)
        with pytest.raises(OutboundFailed) as failure:
            await fetch(server.url("/"))
    assert failure.value.cause == "too_large"


async def test_a_compressed_body_is_not_taken() -> None:
    async with document_server() as server:
        server.answers["/"] = Answer(body=gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"})
        with pytest.raises(OutboundFailed) as failure:
            await fetch(server.url("/"))
    assert failure.value.cause == "encoding"


async def test_one_deadline_covers_resolving_connecting_and_reading() -> None:
    async with document_server() as server:
        server.answers["/"] = Answer(gate=asyncio.Event())
        with pytest.raises(OutboundFailed) as failure:
            await fetch(server.url("/"), timeout=0.1)
        assert failure.value.cause == "timeout"

    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(OutboundFailed) as failure:
        await fetch("https://slow.example/", OutboundClient(resolver=never), timeout=0.1)
    assert failure.value.cause == "timeout"


async def test_what_does_not_speak_http_is_a_failure() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")

    async with listening(babble) as port:
        with pytest.raises(OutboundFailed) as failure:
            await fetch(f"http://127.0.0.1:{port}/")
    assert failure.value.cause == "protocol"


async def test_a_closed_port_is_a_failure() -> None:
    async with document_server() as server:
        port = server.port
    with pytest.raises(OutboundFailed) as failure:
        await fetch(f"http://127.0.0.1:{port}/")
    assert failure.value.cause == "connect"


async def test_the_next_address_is_tried_when_one_takes_no_connection() -> None:
    async with document_server() as server:
        server.answers["/"] = Answer()
        client = OutboundClient(resolver=Names(["127.0.0.9", "127.0.0.1"]))
        assert (await fetch(server.url("/", host="two.example"), client)).status == 200
    assert f"Host: two.example:{server.port}" in server.requests[0]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that does not answer for slow.example until this is set."""
    answered, ask = threading.Event(), socket.getaddrinfo

    def slow(host: str, *args: Any, **options: Any) -> Any:
        if host == "slow.example":
            answered.wait(20)
            raise socket.gaierror
        return ask(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    yield answered
    answered.set()


async def test_lookups_that_nobody_answers_are_bounded(answered: threading.Event) -> None:
    waiting = [asyncio.create_task(resolve("slow.example", 443)) for _ in range(128)]
    await asyncio.sleep(0)  # each has begun
    with pytest.raises(OSError, match="too many"):
        await resolve("127.0.0.1", 443)
    answered.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await resolve("127.0.0.1", 443) == ["127.0.0.1"]


async def test_a_name_whose_server_does_not_answer_holds_up_no_other(answered: threading.Event) -> None:
    waiting = [asyncio.create_task(resolve("slow.example", 443)) for _ in range(40)]
    await asyncio.sleep(0)  # each has begun
    async with asyncio.timeout(10):
        assert await resolve("127.0.0.1", 443) == ["127.0.0.1"]
    assert not any(task.done() for task in waiting)
    answered.set()
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, OSError)


async def test_a_name_that_does_not_resolve_is_a_failure() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    for resolver in (nowhere, Names([])):
        with pytest.raises(OutboundFailed) as failure:
            await fetch("https://nowhere.example/", OutboundClient(resolver=resolver))
        assert failure.value.cause == "dns"


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://public.example/", "scheme"),
        ("ftp://public.example/", "url"),
        ("https:///path", "url"),
        ("https://user@public.example/", "url"),
        ("https://public.example\\@127.0.0.1/", "url"),
        ("https://public.example/a b", "url"),
        ("https://localhost/", "host"),
        ("https://a.LOCALHOST./", "host"),
    ],
)
async def test_a_url_that_may_not_be_fetched_is_refused_before_any_question(url: str, cause: str) -> None:
    names = Names()
    with pytest.raises(OutboundRefused) as refusal:
        await fetch(url, OutboundClient(resolver=names), allow_private=False, require_https=True)
    assert (refusal.value.cause, names.asked) == (cause, [])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "2130706433", "0x7f.1", "[::ffff:7f00:1]"]
)
async def test_a_literal_address_of_no_public_server_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(OutboundRefused) as refusal:
        await fetch(f"https://{host}/", allow_private=False)
    assert refusal.value.cause == "address"


async def test_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(OutboundRefused) as refusal:
        await fetch("https://mixed.example/", OutboundClient(resolver=Names([PUBLIC, "10.0.0.1"])), allow_private=False)
    assert refusal.value.cause == "address"


async def test_a_name_server_that_changes_its_mind_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    async def connect(remote_host: str, **_options: object) -> None:
        connected.append(remote_host)
        raise OSError

    monkeypatch.setattr(anyio, "connect_tcp", connect)
    names = Names([PUBLIC], ["127.0.0.1"])
    with pytest.raises(OutboundFailed):
        await fetch("https://rebinding.example/", OutboundClient(resolver=names), allow_private=False)
    assert names.asked == [("rebinding.example", 443)]
    assert connected == [PUBLIC]


async def test_tls_proves_the_name_and_not_the_address(tmp_path: Path) -> None:
    server_tls, client_tls = tls_contexts(tmp_path, "good.example")
    client = OutboundClient(resolver=Names(["127.0.0.1"], ["127.0.0.1"]), tls=client_tls)
    async with document_server(server_tls) as server:
        server.answers["/"] = Answer()
        assert (await fetch(server.url("/", host="good.example"), client)).status == 200
        with pytest.raises(OutboundFailed) as failure:
            await fetch(server.url("/", host="evil.example"), client)
    assert failure.value.cause == "connect"


async def test_tls_proves_a_literal_address(tmp_path: Path) -> None:
    server_tls, client_tls = tls_contexts(tmp_path, "127.0.0.1")
    async with document_server(server_tls) as server:
        server.answers["/"] = Answer()
        assert (await fetch(server.url("/"), OutboundClient(tls=client_tls))).status == 200


async def test_an_untrusted_certificate_is_a_failure(tmp_path: Path) -> None:
    server_tls, _ = tls_contexts(tmp_path, "127.0.0.1")
    async with document_server(server_tls) as server:
        with pytest.raises(OutboundFailed) as failure:
            await fetch(server.url("/"))
    assert failure.value.cause == "connect"


def test_the_http_library_is_loaded_by_the_first_fetch_only() -> None:
    program = "import sys, authserver.outbound.client; sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
