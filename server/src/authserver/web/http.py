"""A request and a response, as small as can be: every endpoint of both listeners maps the one to the other."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

NO_STORE = (b"cache-control", b"no-store")
JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; charset=utf-8")

MAX_TARGET_BYTES = 32 * 1024
"""The longest path and query. A request for sign-in carries another one inside, escaped twice."""

_LENGTH = re.compile(r"[0-9]{1,19}")


class BodyTooLarge(Exception):  # noqa: N818  a state of the request, answered as a refusal
    """The body is longer than the endpoint reads."""


class Disconnected(Exception):  # noqa: N818  a state of the request
    """The client went away before its body was complete: there is nobody to answer."""


class HttpRequest:
    """One request. Built once, by ``web/server.py``.

    Attributes:
        method: Upper case.
        path: Decoded, without query; below the issuer's own path when it has one.
        query: Raw.
        headers: Pairs with lower-case names, as received.
        client_address: The TCP peer, or what a trusted proxy says.
        request_id: Echoed as ``X-Request-ID``.
        tail: What follows the prefix of a prefix route, else empty.
    """

    __slots__ = ("_receive", "client_address", "headers", "method", "path", "query", "request_id", "tail")

    def __init__(
        self,
        *,
        method: str,
        path: str,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        receive: Receive,
        client_address: str = "",
        request_id: str = "",
        tail: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.client_address = client_address
        self.request_id = request_id
        self.tail = tail
        self._receive = receive

    def header(self, name: bytes) -> str | None:
        """Return the first value of a header, or None.

        Args:
            name: In lower case.
        """
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def header_values(self, name: bytes) -> list[str]:
        """Return every value of a header, in the order received."""
        return [value.decode("latin-1") for key, value in self.headers if key == name]

    async def body(self, *, max_bytes: int) -> bytes:
        """Return the body, read once.

        Raises:
            BodyTooLarge: It is longer than ``max_bytes``; no more than that was kept.
            Disconnected: The client went away.
        """
        length = self.header(b"content-length")
        if length is not None and _LENGTH.fullmatch(length) and int(length) > max_bytes:
            raise BodyTooLarge
        body, more = await self._next_part()
        if more:
            parts, size = [body], len(body)
            while more and size <= max_bytes:
                part, more = await self._next_part()
                parts.append(part)
                size += len(part)
            body = b"".join(parts)
        if len(body) > max_bytes:
            raise BodyTooLarge
        return body

    async def _next_part(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        return message.get("body", b""), bool(message.get("more_body"))


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer. The headers that every response carries are added by ``web/server.py``.

    Attributes:
        headers: Pairs with lower-case names.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


Endpoint = Callable[[HttpRequest], Awaitable[HttpResponse]]


class Cors(StrEnum):
    """Which pages of other origins may read an answer (public API §1.5)."""

    PUBLIC = "public"
    LISTED = "listed"
    NEVER = "never"


class ErrorShape(StrEnum):
    """How a refusal of this route is worded: the OAuth body, a page, or plain text."""

    OAUTH = "oauth"
    PAGE = "page"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an endpoint answers.

    Attributes:
        path: Exact; with ``is_prefix`` everything below it, too.
        endpoints: Method to endpoint; ``HEAD`` comes with ``GET``.
        template: The path with its parameters named, for metrics; the path itself when empty.
        is_limited: Whether the throughput limiter counts it.
    """

    path: str
    endpoints: Mapping[str, Endpoint]
    template: str = ""
    is_prefix: bool = False
    cors: Cors = Cors.NEVER
    errors: ErrorShape = ErrorShape.PLAIN
    is_limited: bool = True
