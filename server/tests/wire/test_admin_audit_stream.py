"""``/admin/audit/stream`` over HTTP and a real connection: server-sent events (admin API, 19)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson
import pytest

from authserver.admin.api import audit as audit_api
from authserver.admin.operators import NewOperator
from server.tests.web.test_run import Running, running
from server.tests.wire.harness import Wire
from server.tests.wire.operating import API_KEY, Admin, rows

pytestmark = pytest.mark.anyio

STREAM = "/admin/audit/stream"
BOUND = 20


@pytest.fixture
async def listener(wire: Wire) -> AsyncIterator[Running]:
    """The admin listener on a socket."""
    async with running(wire.server.admin) as listener:
        yield listener


class Events:
    """What a stream sends, one event after the other."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()
        self.last_id = ""

    async def next(self) -> dict[str, Any] | None:
        """Return the next event's data; None when the stream has ended."""
        async with asyncio.timeout(BOUND):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                if name == "data":
                    return dict(orjson.loads(value))
        return None


@contextlib.asynccontextmanager
async def streaming(listener: Running, key: str = API_KEY, **arguments: Any) -> AsyncIterator[Events]:
    headers = {"authorization": f"Bearer {key}", **arguments.pop("headers", {})}
    async with (
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}", timeout=BOUND) as http,
        http.stream("GET", STREAM, headers=headers, params=arguments) as answer,
    ):
        yield Events(answer)


async def test_what_happens_is_told_as_it_happens_and_what_was_missed_afterwards(
    wire: Wire, listener: Running, admin: Admin
) -> None:
    path = f"/admin/users/{wire.user.id}"
    async with streaming(listener, action="user.disabled") as events:
        assert events.answer.status_code == 200
        assert events.answer.headers["content-type"] == "text/event-stream"
        assert events.answer.headers["cache-control"] == "no-store"
        await admin.do("PATCH", f"{path}/disable")
        event = await events.next()
    assert event is not None
    assert (event["action"], event["actor_id"], event["id"]) == ("user.disabled", "admin", events.last_id)
    wire.clock.seconds += 1
    await admin.do("PATCH", f"{path}/enable")
    async with streaming(listener, headers={"last-event-id": events.last_id}, client_id="") as later:
        missed = await later.next()
    assert missed is not None
    assert missed["id"] != event["id"]
    async with streaming(listener, since="2026-09-21T14:00:00Z", action="user.enabled") as again:
        found = await again.next()
    assert found is not None
    assert found["action"] == "user.enabled"


async def test_a_stream_ends_with_the_key_that_opened_it(wire: Wire, listener: Running, admin: Admin) -> None:
    _, key = await wire.core.operators.create(NewOperator(name="ada", role="auditor"), now=wire.clock.seconds)
    async with streaming(listener, key, action="nothing") as events:
        await admin.do("DELETE", "/admin/operators/ada", expect=204)
        assert await events.next() is None


async def test_a_stream_ends_when_the_server_does(listener: Running) -> None:
    async with streaming(listener, action="nothing") as events:
        listener.stop.set()
        assert await events.next() is None
        await asyncio.wait_for(listener.done, BOUND)


async def test_streams_are_bounded_and_free_their_place(
    wire: Wire, listener: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_api, "_MOST_STREAMS", 1)
    async with streaming(listener, action="nothing") as events, streaming(listener) as second:
        assert events.answer.status_code == 200
        assert second.answer.status_code == 429
        assert (await second.answer.aread()).startswith(b'{"error":"slow_down"')
    async with asyncio.timeout(BOUND):
        while audit_api._streams:  # noqa: ASYNC110  nothing tells that a stream has noticed
            await asyncio.sleep(0.05)
    async with streaming(listener, since="2026-09-21T14:00:00Z") as third:
        assert await third.next() is not None
    assert await rows(wire, "admin.auth_failed") == []


async def test_streams_that_begin_together_do_not_get_past_the_bound(
    listener: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_api, "_MOST_STREAMS", 1)
    async with contextlib.AsyncExitStack() as stack:
        opened = [stack.enter_async_context(streaming(listener, action="nothing")) for _ in range(4)]
        answers = [events.answer for events in await asyncio.gather(*opened)]
        going_on = set(answers)

        async def read(answer: httpx2.Response) -> None:
            await answer.aread()
            going_on.discard(answer)

        readers = [asyncio.create_task(read(answer)) for answer in answers]
        async with asyncio.timeout(BOUND):
            while len(going_on) > 1:
                await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
                readers = [task for task in readers if not task.done()]
        assert len(audit_api._streams) <= 1
        for task in readers:
            task.cancel()


async def test_a_start_too_long_ago_is_refused(listener: Running) -> None:
    async with streaming(listener, since="2020-01-01T00:00:00Z") as events:
        assert events.answer.status_code == 400
