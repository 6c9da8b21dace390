"""Asks an application as a connection would, without one: a request in, an answer out, in the task of the test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from authserver.web.http import HttpRequest, HttpResponse
from authserver.web.server import WebApp
from authserver.web.streaming import Rest
from server.tests.web.builders import feed

Pairs = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What was sent."""

    status: int = 0
    headers: Pairs = field(default_factory=list)
    body: bytes = b""

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: bytes) -> bytes:
        (value,) = self.all(name)
        return value

    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed


async def call(
    app: WebApp,
    method: str = "GET",
    target: bytes | str = "/",
    *,
    headers: Mapping[str, str] | None = None,
    parts: tuple[bytes, ...] = (b"",),
    peer: str | None = "192.0.2.7",
) -> Answer:
    """Send a request whose body arrives as it is wanted; an answer that never came has status 0.

    Args:
        app: The application.
        method: As sent.
        target: The path as sent, with its query.
        headers: Names in lower case.
        parts: The body as it arrives; after the last part the client goes away.
        peer: The TCP peer.
    """
    raw, _, query = (target if isinstance(target, bytes) else target.encode()).partition(b"?")
    request = HttpRequest(
        method=method,
        raw_path=raw,
        query=query,
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()],
        client_address=peer or "",
    )
    feed(request, parts)
    return await ask(app, request)


async def ask(app: WebApp, request: HttpRequest) -> Answer:
    """Have a request answered."""
    served = app.serve(request)
    answer = served if isinstance(served, tuple) else await served
    if answer is None:
        return Answer()
    status, *lines = answer[0].removesuffix(b"\r\n").split(b"\r\n")
    pairs = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    rest = await request.stream.read() if isinstance(request.stream, Rest) else b""
    return Answer(int(status.split()[1]), pairs, answer[1] + rest)


class DirectTransport(httpx2.AsyncBaseTransport):
    """Has an HTTP client talk to an application."""

    def __init__(self, app: WebApp, *, peer: str) -> None:
        self._app = app
        self._peer = peer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        asked = HttpRequest(
            method=request.method,
            raw_path=path,
            query=query,
            headers=[(name.lower(), value) for name, value in request.headers.raw],
            client_address=self._peer,
        )
        asked.arrive(await request.aread())
        asked.end()
        answer = await ask(self._app, asked)
        return httpx2.Response(answer.status, headers=answer.headers, content=answer.body)


async def echo(request: HttpRequest) -> HttpResponse:
    """An endpoint that tells what reached it."""
    told = {
        "method": request.method,
        "path": request.path,
        "tail": request.tail,
        "query": request.query.decode("latin-1"),
        "client_address": request.client_address,
        "request_id": request.request_id,
    }
    return HttpResponse(200, orjson.dumps(told), ((b"content-type", b"application/json"),))
