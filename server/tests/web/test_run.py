import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from authserver.telemetry.origin import NOWHERE, current_origin
from authserver.web.http import Disconnected, Endpoint, HttpRequest, HttpResponse, Route
from authserver.web.run import Listener, ListenError, bind, serve_listeners
from authserver.web.server import WebApp
from server.tests.web.direct import echo

pytestmark = pytest.mark.anyio

GET = b"GET %s HTTP/1.1\r\nhost: x\r\n\r\n"


def at_once(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, b"at once")


def an_app(*, is_secure: bool = False, **endpoints: Endpoint) -> WebApp:
    routes = [Route(path=f"/{name}", endpoints={"GET": e, "POST": e}) for name, e in endpoints.items()]
    return WebApp(
        [*routes, Route(path="/echo", endpoints={"GET": echo, "POST": echo})],
        issuer="http://localhost",
        is_secure=is_secure,
        component="http",
    )


@dataclass(slots=True)
class Running:
    """Listeners that serve."""

    addresses: list[tuple[str, int]]
    stop: asyncio.Event
    done: asyncio.Task[None]

    @property
    def port(self) -> int:
        return self.addresses[0][1]


@contextlib.asynccontextmanager
async def running(*apps: WebApp, address: str = "127.0.0.1:0", **changes: Any) -> AsyncIterator[Running]:
    started: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()
    settings: dict[str, Any] = {"shutdown_wait": 5, "idle_timeout": 30} | changes
    stop = asyncio.Event()
    listeners = [Listener(app=app, address=address, name=f"n{index}") for index, app in enumerate(apps)]
    serving = serve_listeners(listeners, stop=stop, on_started=started.set_result, **settings)
    done = asyncio.create_task(serving)
    try:
        yield Running(await asyncio.wait_for(started, 5), stop, done)
    finally:
        stop.set()
        await asyncio.wait_for(done, 10)


@contextlib.asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncIterator["Client"]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass(slots=True)
class Client:
    """A client that sends bytes and reads answers one by one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)) if has_body else 0)
        return int(head[0].split()[1]), headers, body

    async def is_closed(self, *, within: float = 5) -> bool:
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            return await asyncio.wait_for(self.reader.read(1), within) == b""
        return self.reader.at_eof() or self.reader.exception() is not None


async def get(port: int, path: bytes = b"/echo", host: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    async with connected(port, host) as client:
        client.send(GET % path)
        return await client.answer()


# Addresses


async def test_the_listeners_answer_at_the_addresses_they_tell() -> None:
    async with running(an_app(), WebApp([], issuer="http://localhost", is_secure=False, component="admin")) as server:
        assert [host for host, _ in server.addresses] == ["127.0.0.1"] * 2
        statuses = [(await get(port))[0] for _, port in server.addresses]

    assert statuses == [200, 404]


async def test_without_a_host_every_interface_is_served_over_both_families() -> None:
    async with running(an_app(), address=":0") as server:
        _, _, over_v4 = await get(server.port)
        hosts = ["::1"] if socket.has_dualstack_ipv6() else []
        over_v6 = [await get(server.port, host=host) for host in hosts]

    assert b'"client_address":"127.0.0.1"' in over_v4
    assert [b'"client_address":"::1"' in body for _, _, body in over_v6] == [True] * len(hosts)


@pytest.mark.parametrize("address", ["", "x", "localhost", "localhost:", ":x", ":-1", ":65536", ":²", "localhost:http"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ListenError, match=r"public listener: .* is not host:port") as refused:
        bind(Listener(app=None, address=address, name="public"))

    assert repr(address) in str(refused.value)


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost"])
def test_a_taken_port_is_named_with_what_to_do(host: str) -> None:
    with bind(Listener(app=None, address="127.0.0.1:0" if host else ":0", name="first")) as first:
        address = f"{host}:{first.getsockname()[1]}"

        with pytest.raises(ListenError) as refused:
            bind(Listener(app=None, address=address, name="admin"))

    reason = os.strerror(errno.EADDRINUSE)
    assert str(refused.value) == (
        f"admin listener cannot use {address}: {reason}. Stop what uses that port, or choose another one."
    )


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ListenError, match=r"public listener cannot use 192\.0\.2\.1:0: "):
        bind(Listener(app=None, address="192.0.2.1:0", name="public"))


def test_an_ipv6_address_stands_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with bind(Listener(app=None, address="[::1]:0", name="public")) as sock:
        assert sock.getsockname()[0] == "::1"


async def test_when_one_listener_cannot_open_none_is_left_open() -> None:
    with bind(Listener(app=None, address="127.0.0.1:0", name="first")) as taken:
        free = bind(Listener(app=None, address="127.0.0.1:0", name="free"))
        port = free.getsockname()[1]
        free.close()
        addresses = [f"127.0.0.1:{port}", f"127.0.0.1:{taken.getsockname()[1]}"]

        with pytest.raises(ListenError):
            await serve_listeners(
                [Listener(app=an_app(), address=address, name=address) for address in addresses],
                shutdown_wait=1,
                idle_timeout=1,
                stop=asyncio.Event(),
            )

    bind(Listener(app=None, address=f"127.0.0.1:{port}", name="again")).close()


# What goes over the wire


async def test_nothing_tells_which_software_answers() -> None:
    async with running(an_app()) as server:
        _, headers, _ = await get(server.port)

    assert "server" not in headers
    assert "date" in headers


async def test_a_connection_serves_request_after_request() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        for path in (b"/echo", b"/echo?a", b"/nowhere", b"/echo"):
            client.send(GET % path)
            status, _, _ = await client.answer()
            assert status == (404 if path == b"/nowhere" else 200)


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"".join(GET % (b"/echo?%d" % number) for number in range(5)))

        bodies = [(await client.answer())[2] for _ in range(5)]

    assert [f'"query":"{number}"'.encode() in body for number, body in enumerate(bodies)] == [True] * 5


async def test_answers_at_once_and_later_ones_keep_to_the_order_of_their_requests() -> None:
    go_on = asyncio.Event()

    def quick(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"at once " + request.query)

    async def later(request: HttpRequest) -> HttpResponse:
        await go_on.wait()
        return HttpResponse(200, b"later " + request.query)

    async with running(an_app(later=later, quick=quick)) as server, connected(server.port) as client:
        names = [b"/quick", b"/later", b"/quick", b"/quick", b"/later", b"/quick"]
        client.send(b"".join(GET % (b"%s?%d" % (name, number)) for number, name in enumerate(names)))
        assert (await client.answer())[2] == b"at once 0"
        go_on.set()
        bodies = [(await client.answer())[2] for _ in names[1:]]

    assert bodies == [b"later 1", b"at once 2", b"at once 3", b"later 4", b"at once 5"]


@pytest.mark.parametrize("endpoint", [at_once, echo])
async def test_what_is_behind_a_request_that_asks_for_the_end_is_not_served(endpoint: Endpoint) -> None:
    served = []

    def count(_request: HttpRequest) -> HttpResponse:
        served.append(1)
        return HttpResponse(204)

    async with running(an_app(last=endpoint, count=count)) as server, connected(server.port) as client:
        client.send(b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + GET % b"/count" * 3)
        _, headers, _ = await client.answer()
        assert await client.is_closed()

    assert headers["connection"] == "close"
    assert served == []


@pytest.mark.parametrize("endpoint", [at_once, echo])
async def test_http_1_0_is_answered_and_closed(endpoint: Endpoint) -> None:
    async with running(an_app(old=endpoint)) as server, connected(server.port) as client:
        client.send(b"GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        status, headers, _ = await client.answer()
        assert await client.is_closed()

    assert (status, headers["connection"]) == (200, "close")


@pytest.mark.parametrize("endpoint", [at_once, echo])
async def test_the_rest_of_a_body_that_nobody_read_is_no_request(endpoint: Endpoint) -> None:
    hidden = GET % b"/hidden"
    async with running(an_app(early=endpoint)) as server, connected(server.port) as client:
        client.send(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(hidden))
        assert (await client.answer())[0] == 200
        client.send(hidden + GET % b"/echo?next")
        _, _, body = await client.answer()

    assert b'"query":"next"' in body


async def test_who_asks_whether_to_go_on_is_told_so_once_somebody_wants_the_body() -> None:
    wanted = asyncio.Event()

    async def read(request: HttpRequest) -> HttpResponse:
        await wanted.wait()
        return HttpResponse(200, await request.body(max_bytes=100))

    head = b"POST /%s HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-Continue\r\n\r\n"
    async with running(an_app(read=read)) as server, connected(server.port) as client:
        client.send(head % b"echo")
        unread, _, _ = await client.answer()
        client.send(b"hello" + head % b"read")
        wanted.set()
        interim, headers, _ = await client.answer()
        client.send(b"he")
        await asyncio.sleep(0)
        client.send(b"llo")
        status, _, body = await client.answer()

    assert (unread, interim, headers) == (200, 100, {})
    assert (status, body) == (200, b"hello")


async def test_who_goes_away_within_a_body_is_not_answered_and_nothing_is_kept() -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def read(request: HttpRequest) -> HttpResponse:
        begun.set()
        try:
            return HttpResponse(200, await request.body(max_bytes=100))
        except Disconnected:
            over.set()
            raise

    async with running(an_app(read=read)) as server:
        async with connected(server.port) as client:
            client.send(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe")
            await asyncio.wait_for(begun.wait(), 5)
        await asyncio.wait_for(over.wait(), 5)


async def test_one_request_leaves_nothing_of_its_origin_to_the_next() -> None:
    seen = []

    def quick(_request: HttpRequest) -> HttpResponse:
        seen.append(current_origin().request_id)
        return HttpResponse(204)

    async def later(request: HttpRequest) -> HttpResponse:
        before = current_origin().request_id
        await asyncio.sleep(0)
        assert current_origin().request_id == before == request.request_id
        return quick(request)

    async with running(an_app(quick=quick, later=later)) as server, connected(server.port) as client:
        for path in (b"/quick", b"/later", b"/quick", b"/later"):
            client.send(GET % path)
            await client.answer(has_body=False)

    assert len(set(seen)) == 4
    assert current_origin() is NOWHERE


async def test_a_client_that_offers_http_2_is_served_without_it() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(
            b"GET /echo HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
            b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
        )

        status, _, _ = await client.answer()

    assert status == 200


OFFER = (
    b"%s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nconnection: Upgrade\r\nupgrade: h2c\r\nUpgrade: websocket\r\n\r\n"
)


async def test_a_request_behind_an_offer_of_another_protocol_is_answered() -> None:
    async def endpoint(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, request.path.encode() + b" " + await request.body(max_bytes=100))

    async with running(an_app(one=endpoint, two=endpoint)) as server, connected(server.port) as client:
        client.send((OFFER % (b"POST /one", 3) + b"abc") * 2 + GET % b"/two")
        answers = [await client.answer() for _ in range(3)]
        client.send(GET % b"/one")
        answers.append(await client.answer())

    assert [(status, body) for status, _, body in answers] == [
        (200, b"/one abc"),
        (200, b"/one abc"),
        (200, b"/two "),
        (200, b"/one "),
    ]


async def test_the_body_behind_an_offer_of_another_protocol_is_no_request() -> None:
    begun = asyncio.Event()

    async def endpoint(request: HttpRequest) -> HttpResponse:
        begun.set()
        return HttpResponse(200, await request.body(max_bytes=100))

    hidden = GET % b"/hidden"
    async with running(an_app(one=endpoint)) as server, connected(server.port) as client:
        client.send(OFFER % (b"POST /one", len(hidden)))
        await asyncio.wait_for(begun.wait(), 5)
        client.send(hidden + GET % b"/echo")
        answers = [await client.answer() for _ in range(2)]

    assert [status for status, _, _ in answers] == [200, 200]
    assert answers[0][2] == hidden


async def test_no_more_offers_of_another_protocol_are_taken_than_other_requests() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(OFFER % (b"GET /echo", 0) * 100)
        assert await client.is_closed()


async def test_who_wants_a_tunnel_is_refused_and_what_is_behind_it_not_read() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"CONNECT a.example:443 HTTP/1.1\r\nhost: a.example\r\n\r\n" + GET % b"/echo")
        status, headers, _ = await client.answer()
        assert await client.is_closed()

    assert (status, headers["connection"]) == (400, "close")


@pytest.mark.parametrize(
    "header",
    [
        (b"location", b"/a\r\nset-cookie: canary=1"),
        (b"location", b"/a\nset-cookie: canary=1"),
        (b"location", b"/a\rcanary"),
        (b"location", b"/canary\0"),
        (b"x\r\ncanary", b"1"),
    ],
)
async def test_a_header_with_a_line_break_never_leaves(header: tuple[bytes, bytes]) -> None:
    async def endpoint(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"canary", (header,))

    async with running(an_app(split=endpoint)) as server, connected(server.port) as client:
        client.send(GET % b"/split")
        status, headers, body = await client.answer()
        client.send(GET % b"/echo")
        assert (await client.answer())[0] == 200

    assert status == 500
    assert "canary" not in str(headers)
    assert body.startswith(b"internal error (ref_")


async def test_a_status_that_is_none_is_a_fault() -> None:
    async with running(an_app(odd=lambda _request: HttpResponse(999))) as server, connected(server.port) as client:
        client.send(GET % b"/odd")

        assert (await client.answer())[0] == 500


async def test_an_early_answer_does_not_wait_for_the_body() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\nfirst bytes")

        assert (await client.answer())[0] == 200


async def test_a_body_beyond_the_limit_is_not_gathered() -> None:
    read: list[int] = []

    async def endpoint(request: HttpRequest) -> HttpResponse:
        parts = 0
        while parts < 100 * 1024:
            part, _ = await request.next_part()
            read.append(len(part))
            parts += len(part)
        return HttpResponse(204)

    async with running(an_app(slow=endpoint)) as server, connected(server.port) as client:
        client.send(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 2_000_000)
        await client.answer(has_body=False)

    assert max(read) <= 512 * 1024


# Stopping


async def test_requests_in_flight_are_answered_before_the_end() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def endpoint(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(200, b"late but whole")

    async with running(an_app(slow=endpoint)) as server, connected(server.port) as client:
        client.send(GET % b"/slow")
        await asyncio.wait_for(arrived.wait(), 5)
        server.stop.set()
        while True:
            try:
                async with connected(server.port):
                    await asyncio.sleep(0.01)
            except OSError:
                break
        assert not server.done.done()
        go_on.set()
        _, headers, body = await client.answer()
        await asyncio.wait_for(server.done, 5)

    assert body == b"late but whole"
    assert headers["connection"] == "close"


async def test_idle_connections_do_not_hold_up_the_end() -> None:
    async with running(an_app()) as server, connected(server.port) as idle, connected(server.port) as unused:
        idle.send(GET % b"/echo")
        await idle.answer()
        server.stop.set()

        await asyncio.wait_for(server.done, 5)

        assert await idle.is_closed()
        assert await unused.is_closed()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_after_the_wait_the_end_comes_all_the_same() -> None:
    arrived = asyncio.Event()

    async def endpoint(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    async with running(an_app(stuck=endpoint), shutdown_wait=1) as server, connected(server.port) as client:
        client.send(GET % b"/stuck")
        await asyncio.wait_for(arrived.wait(), 5)
        server.stop.set()

        await asyncio.wait_for(server.done, 5)
