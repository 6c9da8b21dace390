import asyncio
import contextlib
from typing import Any

import pytest

from authserver.web.http import HttpRequest, HttpResponse
from server.tests.web.test_run import GET, an_app, connected, running

pytestmark = pytest.mark.anyio

# A second is the step in which lateness is looked for.
SHORT, LONG, BOUND = 0.3, 60, 5


async def test_a_client_that_sends_nothing_is_let_go() -> None:
    async with running(an_app(), read_timeout=SHORT) as server, connected(server.port) as client:
        assert await client.is_closed(within=BOUND)


BEGUN = [
    b"\r\n",
    b"GET /ec",
    b"GET /echo HTTP/1.1\r\nhost: x\r\nx-slow: ",
    b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n",
    b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
]


async def test_a_request_that_never_ends_is_let_go_whether_it_is_the_first_or_not() -> None:
    async def read(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, await request.body(max_bytes=1000))

    async def is_let_go(port: int, before: bytes, begun: bytes) -> bool:
        async with connected(port) as client:
            if before:
                client.send(before)
                await client.answer()
            client.send(begun)
            return await client.is_closed(within=BOUND)

    cases = [(before, begun) for before in (b"", GET % b"/echo") for begun in BEGUN]
    async with running(an_app(read=read), read_timeout=SHORT, idle_timeout=LONG, write_timeout=LONG) as server:
        let_go = await asyncio.gather(*(is_let_go(server.port, *case) for case in cases))

    assert [case for case, gone in zip(cases, let_go, strict=True) if not gone] == []


async def test_a_trickle_of_bytes_buys_no_time() -> None:
    async with running(an_app(), read_timeout=SHORT) as server, connected(server.port) as client:
        client.send(b"GET /echo HTTP/1.1\r\n")
        for number in range(60):
            client.send(b"x-%d: y\r\n" % number)
            if await client.is_closed(within=0.1):
                break

        assert await client.is_closed()


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async def is_given_up(port: int) -> bool:
        async with connected(port) as client:
            client.send(GET % b"/slow")
            return await client.is_closed(within=BOUND)

    async def endpoint(_request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(LONG)
        return HttpResponse(204)

    async with running(an_app(slow=endpoint), write_timeout=SHORT, shutdown_wait=1) as server:
        is_closed = await is_given_up(server.port)

    assert is_closed


async def test_a_connection_rests_no_longer_than_it_may() -> None:
    async with running(an_app(), idle_timeout=SHORT) as server, connected(server.port) as client:
        client.send(GET % b"/echo")
        await client.answer()

        assert await client.is_closed(within=BOUND)


async def test_a_connection_that_was_answered_early_is_let_go_too() -> None:
    async with running(an_app(), idle_timeout=SHORT, read_timeout=LONG) as server, connected(server.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhello")
        await client.answer()
        client.send(b"world")

        assert await client.is_closed(within=BOUND)


async def test_who_keeps_to_the_times_is_served_as_long_as_wanted() -> None:
    settings: dict[str, Any] = {"read_timeout": 1, "write_timeout": 1, "idle_timeout": 1}
    async with running(an_app(), **settings) as server, connected(server.port) as client:
        for _ in range(6):
            client.send(GET % b"/echo")
            assert (await client.answer())[0] == 200
            # The rests are what is looked at: together longer than any one may be.
            await asyncio.sleep(0.4)


async def test_zero_is_without_limit() -> None:
    settings: dict[str, Any] = {"read_timeout": 0, "write_timeout": 0, "idle_timeout": 0}
    async with running(an_app(), **settings) as server, connected(server.port) as client:
        client.send(GET % b"/echo")
        await client.answer()

        assert not await client.is_closed(within=1.5)


@pytest.mark.parametrize("endless", [b"x-long: " + b"a" * 2_000_000, b"a" * 2_000_000, b"x: y\r\n" * 300_000])
async def test_an_endless_head_is_refused(endless: bytes) -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"GET /echo HTTP/1.1\r\n" + endless)
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n"), BOUND)

    assert head.startswith(b"HTTP/1.1 431")


async def test_a_generous_head_is_not() -> None:
    headers = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 500) for number in range(100))
    async with running(an_app()) as server, connected(server.port) as client:
        for _ in range(3):
            client.send(b"GET /echo?%s HTTP/1.1\r\nhost: x\r\n%s\r\n" % (b"q" * 4000, headers))
            assert (await client.answer())[0] == 200


async def test_more_headers_than_anybody_needs_are_refused() -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"GET /echo HTTP/1.1\r\n" + b"x: y\r\n" * 250 + b"\r\n")

        assert (await client.answer())[0] == 431
        assert await client.is_closed()


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET /echo HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_is_refused(nonsense: bytes) -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(nonsense)

        assert (await client.answer())[0] == 400
        assert await client.is_closed()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /noted HTTP/1.1\r\n",
        b"GET /noted HTTP/1.1\r\nHost: a\r\nhOST: a\r\n",
        b"GET /noted HTTP/1.0\r\nhost: a\r\nhost: b\r\n",
        b"GET /noted HTTP/1.1\r\nhost: a b\r\n",
        b"GET /noted HTTP/1.1\r\nhost: a/b@c\r\n",
        b"GET /noted\r\nhost: a\r\n",
        b"GET /noted HTTP/0.9\r\nhost: a\r\n",
        b"GET /noted HTTP/2.0\r\nhost: a\r\n",
        b"GET /noted HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n",
        b"POST /noted HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n",
        b"POST /noted HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n",
        b"POST /noted HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n",
        b"POST /noted HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n",
        b"POST /noted HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n",
    ],
)
async def test_a_request_that_others_could_read_otherwise_is_refused_before_an_endpoint_sees_it(head: bytes) -> None:
    reached = []

    async def note(request: HttpRequest) -> HttpResponse:
        reached.append(request)
        return HttpResponse(204)

    async with running(an_app(noted=note)) as server, connected(server.port) as client:
        client.send(GET % b"/nowhere")
        await client.answer()
        client.send(head + b"\r\n" + GET % b"/noted")

        assert (await client.answer())[0] == 400
        assert await client.is_closed()

    assert reached == []


@pytest.mark.parametrize(
    "head", [b"GET /echo HTTP/1.0\r\n\r\n", b"GET /echo HTTP/1.0\r\nhost: x\r\n\r\n", GET % b"/echo"]
)
async def test_a_host_may_be_missing_from_http_1_0_alone(head: bytes) -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(head)

        assert (await client.answer())[0] == 200


async def test_trailers_are_read_past_and_reach_no_endpoint() -> None:
    seen = []

    async def read(request: HttpRequest) -> HttpResponse:
        body = await request.body(max_bytes=1000)
        seen.append((body, request.header(b"x-late")))
        return HttpResponse(204)

    async with running(an_app(read=read)) as server, connected(server.port) as client:
        client.send(
            b"POST /read HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n0\r\nx-late: canary\r\n\r\n"
        )
        status, _, _ = await client.answer(has_body=False)

    assert status == 204
    assert seen == [(b"hello", None)]


# Halves of a connection, and what is left of a body


@pytest.mark.parametrize("behind", [b"", GET % b"/echo"])
async def test_who_ends_its_own_half_is_answered_all_that_it_asked(behind: bytes) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        begun.set()
        await go_on.wait()
        return HttpResponse(200, b"late but whole")

    async with running(an_app(slow=slow)) as server, connected(server.port) as client:
        client.send(GET % b"/slow" + behind)
        client.writer.write_eof()
        await asyncio.wait_for(begun.wait(), BOUND)
        assert not await client.is_closed(within=0.2)
        go_on.set()
        answers = [await client.answer() for _ in range(2 if behind else 1)]
        assert await client.is_closed()

    assert [status for status, _, _ in answers] == [200] * len(answers)
    assert answers[0][2] == b"late but whole"


async def test_who_ends_its_own_half_within_a_body_is_let_go() -> None:
    async def read(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, await request.body(max_bytes=1000))

    async with running(an_app(read=read)) as server, connected(server.port) as client:
        client.send(b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")
        client.writer.write_eof()

        assert await client.is_closed()


@pytest.mark.parametrize("path", [b"/echo", b"/read", b"/nowhere"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_before_the_end_of_a_body_reaches_a_client_that_sends_on(path: bytes, version: bytes) -> None:
    async def read(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, await request.body(max_bytes=1000))

    size = 5_000_000
    async with running(an_app(read=read)) as server, connected(server.port) as client:
        head = b"POST %s HTTP/%s\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        client.send(head % (path, version, size))
        for _ in range(size // 50_000):
            client.send(b"a" * 50_000)
            await client.writer.drain()
        _, headers, _ = await client.answer()
        assert await client.is_closed()

    assert headers["connection"] == "close"


async def test_a_broken_body_behind_its_answer_gets_no_second_one() -> None:
    async with running(an_app(), read_timeout=30) as server, connected(server.port) as client:
        client.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n")
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            rest = await asyncio.wait_for(client.reader.read(), BOUND)

    assert rest.count(b"HTTP/1.1 ") <= 1
    assert b"HTTP/1.1 400" not in rest


async def test_http_1_0_is_not_told_to_go_on() -> None:
    async def read(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, await request.body(max_bytes=100))

    async with running(an_app(read=read)) as server, connected(server.port) as client:
        client.send(b"POST /read HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert not await client.is_closed(within=0.1)
        client.send(b"ok")
        status, _, body = await client.answer()

    assert (status, body) == (200, b"ok")


async def test_the_size_of_requests_before_it_is_not_held_against_a_head() -> None:
    one = b"GET /echo HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 8000 + b"\r\n\r\n"
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(one * 20 + one[:100])
        statuses = [(await client.answer())[0] for _ in range(20)]
        client.send(one[100:])
        statuses.append((await client.answer())[0])

    assert statuses == [200] * 21


async def test_an_answer_that_is_cancelled_ends_its_connection() -> None:
    async def cancelled(_request: HttpRequest) -> HttpResponse:
        raise asyncio.CancelledError

    async with running(an_app(cancelled=cancelled)) as server, connected(server.port) as client:
        client.send(GET % b"/cancelled")

        assert await client.is_closed()


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end() -> None:
    sent = asyncio.Event()

    async def large(_request: HttpRequest) -> HttpResponse:
        asyncio.get_running_loop().call_soon(sent.set)
        return HttpResponse(200, b"x" * 50_000_000)

    async with running(an_app(large=large), shutdown_wait=60, write_timeout=0.5) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(GET % b"/large")
        await asyncio.wait_for(sent.wait(), BOUND)
        server.stop.set()

        await asyncio.wait_for(server.done, BOUND)
        writer.close()
