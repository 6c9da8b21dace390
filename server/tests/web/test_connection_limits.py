import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from authserver.telemetry.metrics import scrape
from authserver.web import run
from authserver.web.heads import MAX_HEAD_BYTES, MAX_HEADERS
from authserver.web.http import MAX_TARGET_BYTES, HttpRequest, HttpResponse
from server.tests.web.conftest import Lines
from server.tests.web.test_run import GET, Client, an_app, connected, running

pytestmark = pytest.mark.anyio

BOUND = 5


async def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, b"%d" % len(await request.body(max_bytes=1000)))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /echo?%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"q" * MAX_TARGET_BYTES), 414),
        (b"GET /" + b"q" * 2_000_000, 414),
        (b"GET /echo HTTP/1.1\r\nx: %s\r\n\r\n" % (b"a" * MAX_HEAD_BYTES), 431),
        (b"GET /echo HTTP/1.1\r\nx: " + b"a" * 2_000_000, 431),
        (b"GET /echo HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        (b"GET /echo HTTP/1.1\r\n" + b"x: y\r\n" * 300_000, 431),
        (b"GET /echo HTTP/1.1\r\n%s: y\r\n\r\n" % (b"a" * MAX_HEAD_BYTES), 431),
    ],
    ids=["long target", "endless target", "long value", "endless value", "many", "endlessly many", "long name"],
)
async def test_a_head_beyond_a_limit_is_refused_with_the_limit_it_broke(
    head: bytes, status: int, logged: Lines
) -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(head)
        answered, headers, body = await client.answer()
        assert await client.is_closed()

    assert answered == status
    assert headers["connection"] == "close"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert b"qqq" not in body
    (line,) = logged()
    assert (line["msg"], line["status"], line["request_id"]) == ("connection refused", status, headers["x-request-id"])


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"no http at all\r\n\r\n", 400),
        (GET % (b"/" + b"q" * MAX_TARGET_BYTES), 414),
        (b"GET /echo HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        (GET % b"/echo", 503),
    ],
)
async def test_refusals_of_connections_carry_what_every_answer_carries(
    head: bytes, status: int, *, is_secure: bool
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(204)

    names = ("content-security-policy", "referrer-policy", "strict-transport-security")
    async with running(an_app(is_secure=is_secure, slow=slow), max_connections=1) as server:
        async with connected(server.port) as client:
            client.send(GET % b"/nowhere")
            _, usual, _ = await client.answer()
        async with AsyncExitStack() as stack:
            if status == 503:
                busy = await stack.enter_async_context(connected(server.port))
                busy.send(GET % b"/slow")
                await asyncio.wait_for(arrived.wait(), BOUND)
            async with connected(server.port) as client:
                client.send(head)
                answered, headers, _ = await client.answer()
            go_on.set()

    assert answered == status
    assert [headers.get(name) for name in names] == [usual.get(name) for name in names]
    assert ("strict-transport-security" in headers) is is_secure
    assert "base-uri 'none'" in headers["content-security-policy"]


async def test_heads_at_the_limits_are_served_in_one_piece_and_in_many() -> None:
    target = b"/echo?" + b"q" * (MAX_TARGET_BYTES - 6)
    filler = b"".join(b"x-%03d: %s\r\n" % (n, b"a" * 100) for n in range(MAX_HEADERS - 1))
    head = b"GET %s HTTP/1.1\r\nhost: x\r\n%s\r\n" % (target, filler)
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(head)
        assert (await client.answer())[0] == 200
        for at in range(0, len(head), 8192):
            client.send(head[at : at + 8192])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer())[0] == 200


async def test_the_refusals_of_connections_are_counted_without_a_label_of_theirs() -> None:
    series = 'authserver_http_requests_total{http_method="other",http_route="unmatched",http_status_code="414"}'

    def count() -> float:
        return next((float(n.split()[1]) for n in scrape().decode().splitlines() if n.startswith(series)), 0)

    before = count()
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"GET /%s HTTP/1.1\r\n\r\n" % (b"canary" * 8000))
        await client.answer()

    assert count() == before + 1
    assert b"canary" not in scrape()


async def test_a_refusal_is_never_taken_for_the_answer_that_is_still_due() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(204)

    async with running(an_app(slow=slow)) as server, connected(server.port) as client:
        client.send(GET % b"/slow")
        await asyncio.wait_for(arrived.wait(), BOUND)
        client.send(b"no http at all\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(client.reader.read(), BOUND) == b""
        go_on.set()


async def test_a_client_that_asks_without_end_before_it_is_answered_is_cut_off() -> None:
    begun = 0
    go_on = asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return HttpResponse(204)

    async with running(an_app(slow=slow)) as server, connected(server.port) as client:
        client.send(GET % b"/slow" * 5000)
        assert await client.is_closed()
        go_on.set()

    assert begun == 1


async def test_a_client_that_asks_too_much_in_one_piece_is_cut_off_though_each_answer_is_at_hand() -> None:
    served = 0

    def quick(_request: HttpRequest) -> HttpResponse:
        nonlocal served
        served += 1
        return HttpResponse(204)

    async with running(an_app(quick=quick)) as server, connected(server.port) as client:
        client.send(GET % b"/quick" * 33)
        for _ in range(33):
            assert (await client.answer(has_body=False))[0] == 204
        client.send(GET % b"/quick" * 1000)
        await asyncio.wait_for(read_to_the_end(client), BOUND)

    assert served < 100


async def test_a_client_that_never_reads_its_answers_is_cut_off() -> None:
    async def large(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"x" * 1_000_000)

    async with running(an_app(large=large), write_timeout=0.3) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(GET % b"/large" * 30)
        # The reader's buffer is one byte: it takes nothing from the socket until it is asked.
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(BOUND):
                while not writer.transport.is_closing():
                    writer.write(b"\r\n")
                    await asyncio.sleep(0.05)
        assert writer.transport.is_closing()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            received = len(await asyncio.wait_for(reader.read(), BOUND))
            assert received < 30 * 1_000_000
        writer.close()


# The number of connections

MOST = 4


@contextlib.asynccontextmanager
async def crowded(port: int, number: int) -> AsyncIterator[list[Client]]:
    """Clients that have each been answered once, and rest."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(number):
            client = await stack.enter_async_context(connected(port))
            client.send(GET % b"/echo")
            await client.answer()
            clients.append(client)
        yield clients


async def test_at_the_bound_who_has_been_silent_longest_makes_room() -> None:
    async with running(an_app(), max_connections=MOST) as server, crowded(server.port, MOST) as clients:
        clients[0].send(GET % b"/echo")
        await clients[0].answer()
        async with connected(server.port) as newcomer:
            newcomer.send(GET % b"/echo")
            assert (await newcomer.answer())[0] == 200
        assert await clients[1].is_closed()
        clients[0].send(GET % b"/echo")
        assert (await clients[0].answer())[0] == 200


@pytest.mark.parametrize("begun", [b"", b"GET /ec", b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1"])
async def test_who_takes_its_time_over_a_request_makes_room_too(begun: bytes) -> None:
    async with running(an_app(read=read), max_connections=MOST) as server, AsyncExitStack() as stack:
        for _ in range(10 * MOST):
            slow = await stack.enter_async_context(connected(server.port))
            slow.send(begun)
        async with connected(server.port) as client:
            client.send(GET % b"/echo")
            assert (await client.answer())[0] == 200


async def test_when_everybody_is_being_served_a_newcomer_is_told_to_come_back(logged: Lines) -> None:
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        arrived.release()
        await go_on.wait()
        return HttpResponse(204)

    async with running(an_app(slow=slow), max_connections=MOST) as server, AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connected(server.port)) for _ in range(MOST)]
        for client in busy:
            client.send(GET % b"/slow")
            await asyncio.wait_for(arrived.acquire(), BOUND)
        async with connected(server.port) as newcomer:
            newcomer.send(GET % b"/echo")
            status, headers, _ = await newcomer.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            assert await newcomer.is_closed()
        go_on.set()
        for client in busy:
            assert (await client.answer(has_body=False))[0] == 204
        async with connected(server.port) as client:
            client.send(GET % b"/echo")
            assert (await client.answer())[0] == 200

    assert [line["status"] for line in logged() if line["msg"] == "connection refused"] == [503]


async def test_a_newcomer_without_room_makes_none_for_the_next() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(204)

    async with running(an_app(slow=slow), max_connections=1) as server, connected(server.port) as busy:
        busy.send(GET % b"/slow")
        await asyncio.wait_for(arrived.wait(), BOUND)
        async with connected(server.port) as silent, connected(server.port) as newcomer:
            newcomer.send(GET % b"/echo")
            assert (await newcomer.answer())[0] == 503
            silent.send(GET % b"/echo")
            assert (await silent.answer())[0] == 503
        go_on.set()


async def test_a_newcomer_without_room_that_says_nothing_is_let_go() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(204)

    async with running(an_app(slow=slow), max_connections=1) as server, connected(server.port) as busy:
        busy.send(GET % b"/slow")
        await asyncio.wait_for(arrived.wait(), BOUND)
        async with connected(server.port) as newcomer:
            assert await newcomer.is_closed(within=BOUND)
        go_on.set()


# What is left of connections that were ended without an answer


def ended(reason: str) -> float:
    series = f'authserver_connections_ended_total{{reason="{reason}"}} '
    (line,) = [line for line in scrape().decode().splitlines() if line.startswith(series)]
    return float(line.removeprefix(series))


def reported(lines: Lines) -> dict[str, int]:
    """Return how many connections the log says were ended, by reason."""
    counts: Counter[str] = Counter()
    for line in lines():
        if line["msg"] == "connections ended":
            assert (line["level"], line["last_remote_addr"]) == ("INFO", "127.0.0.1")
            counts[line["reason"]] += line["count"]
    return dict(counts)


@pytest.mark.parametrize(
    ("setting", "reason", "sent"),
    [
        ("read_timeout", "read_timeout", b"GET /ec"),
        ("idle_timeout", "idle_timeout", GET % b"/echo"),
        ("write_timeout", "write_timeout", GET % b"/stuck"),
    ],
)
async def test_connections_that_took_too_long_are_counted_and_told_of(
    setting: str, reason: str, sent: bytes, logged: Lines
) -> None:
    async def stuck(_request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(BOUND)
        return HttpResponse(204)

    before = ended(reason)
    times: dict[str, Any] = {setting: 0.3}
    async with running(an_app(stuck=stuck), shutdown_wait=1, **times) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.port)) for _ in range(3)]
        for client in clients:
            client.send(sent)
        for client in clients:
            await asyncio.wait_for(read_to_the_end(client), BOUND)

    assert ended(reason) == before + 3
    assert reported(logged) == {reason: 3}


async def read_to_the_end(client: Client) -> None:
    with contextlib.suppress(ConnectionResetError):
        await client.reader.read()


async def test_who_made_room_is_counted_and_told_of_in_one_line(logged: Lines) -> None:
    before = ended("room")
    async with running(an_app(), max_connections=MOST) as server, crowded(server.port, 10 * MOST):
        pass

    assert ended("room") == before + 9 * MOST
    assert reported(logged) == {"room": 9 * MOST}
    lines = [line for line in logged() if line["msg"] == "connections ended"]
    assert len(lines) <= 3, "one a second"


async def test_a_surplus_that_got_no_answer_is_counted_and_told_of(logged: Lines) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(204)

    before = ended("surplus")
    async with running(an_app(slow=slow), max_connections=1) as server, AsyncExitStack() as stack:
        busy = await stack.enter_async_context(connected(server.port))
        busy.send(GET % b"/slow")
        await asyncio.wait_for(arrived.wait(), BOUND)
        silent = [await stack.enter_async_context(connected(server.port)) for _ in range(70)]
        for client in silent:
            assert await client.is_closed(within=BOUND)
        go_on.set()
        assert (await busy.answer(has_body=False))[0] == 204

    assert ended("surplus") == before + 70
    assert reported(logged) == {"surplus": 70}


async def test_a_refusal_that_was_answered_is_no_end_without_one(logged: Lines) -> None:
    async with running(an_app()) as server, connected(server.port) as client:
        client.send(b"no http at all\r\n\r\n")
        assert (await client.answer())[0] == 400
        assert await client.is_closed()

    assert reported(logged) == {}


def test_the_number_of_connections_stays_within_the_open_files_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, logged: Lines
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, _limits: None)

    assert run._within_descriptors(300, 2) == 300
    assert run._within_descriptors(2048, 2) == 384
    assert [line["msg"] for line in logged()] == ["the limit of open files bounds the number of connections"]


def test_the_process_asks_for_the_open_files_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: asked.append(limits))

    assert run._within_descriptors(2048, 2) == 2048
    assert asked == [(2 * 2048 + 256, 20_000)]
