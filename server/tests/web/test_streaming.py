"""Long answers over real connections: a part at a time, as their client takes them."""

import asyncio
from collections.abc import AsyncGenerator

import httpx2
import pytest

from authserver.web.http import HttpRequest, HttpResponse
from authserver.web.streaming import Rest
from server.tests.web.test_run import GET, an_app, connected, running

pytestmark = pytest.mark.anyio

PART = bytes(1024 * 1024)
PARTS = 96


class Long:
    """An endpoint whose answer is longer than what buffers hold."""

    def __init__(self) -> None:
        self.sent = 0
        self.is_over = asyncio.Event()

    def __call__(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, b"first", (), Rest(self._parts()))

    async def _parts(self) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(PARTS):
                self.sent += len(PART)
                yield PART
        finally:
            self.is_over.set()


async def test_a_part_waits_until_those_before_it_are_taken() -> None:
    long = Long()
    async with running(an_app(long=long)) as server, connected(server.port) as client:
        client.send(GET % b"/long")
        await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
        taken, ahead = 0, 0
        while data := await asyncio.wait_for(client.reader.read(65536), 30):
            taken += len(data)
            ahead = max(ahead, long.sent - taken)
            # As often as the server, which would otherwise have written everything by now.
            for _ in range(3):
                await asyncio.sleep(0)
    assert taken == len(b"first") + PARTS * len(PART)
    assert ahead < PARTS * len(PART) / 2


async def test_others_are_answered_between_two_parts() -> None:
    long = Long()
    async with (
        running(an_app(long=long)) as server,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
    ):
        answered = 0
        async with http.stream("GET", "/long") as answer:
            async for _ in answer.aiter_raw():
                if not long.is_over.is_set():
                    assert (await http.get("/echo")).status_code == 200
                    answered += 1
    assert answered > PARTS // 2
    assert answer.headers["connection"] == "close"


async def test_a_client_that_goes_away_ends_what_it_was_sent() -> None:
    long = Long()
    async with running(an_app(long=long)) as server:
        async with connected(server.port) as client:
            client.send(GET % b"/long")
            await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 30)
        await asyncio.wait_for(long.is_over.wait(), 30)
    assert long.sent < PARTS * len(PART)


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    long = Long()
    async with running(an_app(long=long), write_timeout=0.5) as server, connected(server.port) as client:
        client.send(GET % b"/long")
        await asyncio.wait_for(long.is_over.wait(), 30)
        assert long.sent < PARTS * len(PART)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(client.reader.readexactly(PARTS * len(PART)), 30)


async def test_only_the_head_is_sent_to_whom_that_is_enough() -> None:
    long = Long()
    async with running(an_app(long=long)) as server, httpx2.AsyncClient() as http:
        answer = await http.head(f"http://127.0.0.1:{server.port}/long")
    assert (answer.status_code, answer.content, long.sent) == (200, b"", 0)
