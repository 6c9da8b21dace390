"""Drives an application as a web server would: one request in, one answer out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from authserver.web.http import HttpRequest, HttpResponse
from authserver.web.server import WebApp

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
    """Send a request and return the answer; an answer that never came has status 0.

    Args:
        app: The application.
        method: As sent.
        target: The path as sent, with its query.
        headers: Names in lower case.
        parts: The body as it arrives; after the last part the client goes away.
        peer: The TCP peer.
    """
    raw, _, query = (target if isinstance(target, bytes) else target.encode()).partition(b"?")
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    pending = [
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)
    ]
    answer = Answer()

    async def receive() -> Mapping[str, Any]:
        return pending.pop(0) if pending else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0
            answer.status, answer.headers = message["status"], message["headers"]
        else:
            answer.body += message["body"]

    scope = {
        "type": "http",
        "method": method,
        "path": raw.decode("latin-1"),
        "raw_path": raw,
        "query_string": query,
        "headers": pairs,
        "client": None if peer is None else (peer, 50000),
    }
    await app(scope, receive, send)
    return answer


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
