"""A request and a response, as small as can be: every endpoint of both listeners maps the one to the other."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from authserver.web.streaming import Rest, Stream

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


def _wait_for_no_more() -> None:
    """Nobody has to be told that more of a body is wanted."""


class HttpRequest:
    """One request, whose body may still be on its way.

    Attributes:
        method: Upper case.
        raw_path: As sent, without query.
        path: Decoded, without query; below the issuer's own path when it has one.
        query: Raw.
        headers: Pairs with lower-case names, as received.
        client_address: The TCP peer, or what a trusted proxy says.
        request_id: Echoed as ``X-Request-ID``.
        tail: What follows the prefix of a prefix route, else empty.
        template: The path with its parameters named, for metrics.
        is_last: Whether the connection ends behind the answer.
        want_more: Called when a part of the body is wanted that has not arrived.
        stream: What follows the answer, if anything does.
        answer_headers: What the endpoint wants in the answer, whatever that will be: a refusal, a fault.
    """

    __slots__ = (
        "_arrived",
        "_arrives",
        "_first",
        "_is_lost",
        "_is_whole",
        "answer_headers",
        "client_address",
        "headers",
        "is_last",
        "method",
        "path",
        "query",
        "raw_path",
        "request_id",
        "stream",
        "tail",
        "template",
        "want_more",
    )

    def __init__(
        self,
        method: str,
        headers: list[tuple[bytes, bytes]],
        raw_path: bytes = b"",
        query: bytes = b"",
        client_address: str = "",
        want_more: Callable[[], None] = _wait_for_no_more,
        *,
        path: str = "",
        request_id: str = "",
    ) -> None:
        """Take the head."""
        self.method = method
        self.raw_path = raw_path
        self.path = path
        self.query = query
        self.headers = headers
        self.client_address = client_address
        self.request_id = request_id
        self.tail = ""
        self.template = ""
        self.stream: Stream | Rest | None = None
        self.is_last = False
        self.answer_headers: tuple[tuple[bytes, bytes], ...] = ()
        self._first = dict(reversed(headers))
        self.want_more = want_more
        self._arrived: bytes | bytearray = b""
        self._arrives: asyncio.Future[None] | None = None
        self._is_whole = False
        self._is_lost = False

    def header(self, name: bytes) -> str | None:
        """Return the first value of a header, or None.

        Args:
            name: In lower case.
        """
        value = self._first.get(name)
        return None if value is None else value.decode("latin-1")

    def header_values(self, name: bytes) -> list[str]:
        """Return every value of a header, in the order received."""
        if name not in self._first:
            return []
        return [value.decode("latin-1") for key, value in self.headers if key == name]

    def arrive(self, part: bytes) -> int:
        """Take a part of the body; return how many bytes wait to be read."""
        if not self._arrived:
            self._arrived = part
        else:
            if isinstance(self._arrived, bytes):
                self._arrived = bytearray(self._arrived)
            self._arrived += part
        self._wake()
        return len(self._arrived)

    def end(self) -> None:
        """Know that the body has arrived."""
        self._is_whole = True
        self._wake()

    def lose(self) -> None:
        """Know that the client went away: nothing more is read."""
        self._is_lost = True
        self._wake()

    async def body(self, *, max_bytes: int) -> bytes:
        """Return the body, read once.

        Raises:
            BodyTooLarge: It is longer than ``max_bytes``; no more than that was kept.
            Disconnected: The client went away.
        """
        if self._is_whole and not self._is_lost:
            # As is usual of a form, which comes in one piece with its head.
            body, self._arrived = self._arrived, b""
            if len(body) > max_bytes:
                raise BodyTooLarge
            return bytes(body)
        length = self.header(b"content-length")
        if length is not None and _LENGTH.fullmatch(length) and int(length) > max_bytes:
            raise BodyTooLarge
        body, more = await self.next_part()
        if more:
            parts, size = [body], len(body)
            while more and size <= max_bytes:
                part, more = await self.next_part()
                parts.append(part)
                size += len(part)
            body = b"".join(parts)
        if len(body) > max_bytes:
            raise BodyTooLarge
        return body

    async def next_part(self) -> tuple[bytes, bool]:
        """Return what has arrived of the body, at least a byte or its end, and whether there is more.

        Raises:
            Disconnected: The client went away.
        """
        if not self._is_whole and not self._is_lost:
            self.want_more()
            while not (self._arrived or self._is_whole or self._is_lost):
                self._arrives = asyncio.get_running_loop().create_future()
                await self._arrives
        if self._is_lost:
            raise Disconnected
        part, self._arrived = bytes(self._arrived), b""
        return part, not self._is_whole

    def _wake(self) -> None:
        if self._arrives is not None and not self._arrives.done():
            self._arrives.set_result(None)


class HttpResponse(NamedTuple):
    """An answer. The headers that every response carries are added by ``web/server.py``.

    Attributes:
        headers: Pairs with lower-case names.
        stream: What follows the body, as it comes; the connection ends behind it.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: Stream | Rest | None = None

    def with_headers(self, *headers: tuple[bytes, bytes]) -> "HttpResponse":
        """Return the same answer with further headers."""
        return self._replace(headers=(*self.headers, *headers))


Endpoint = Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]
"""Answers at once, or waits for something first."""


class Cors(StrEnum):
    """Which pages of other origins may read an answer (public API §1.5)."""

    PUBLIC = "public"
    LISTED = "listed"
    NEVER = "never"


class ErrorShape(StrEnum):
    """How a refusal of this route is worded: the OAuth body, a page, plain text, or problem details (admin API, 2)."""

    OAUTH = "oauth"
    PAGE = "page"
    PLAIN = "plain"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an endpoint answers.

    Attributes:
        path: Exact; with ``is_prefix`` everything below it, too.
        endpoints: Method to endpoint; ``HEAD`` comes with ``GET``.
        template: The path with its parameters named, for metrics; the path itself when empty.
        is_limited: Whether the throughput limiter counts it.
        operations: Method to the name of what is done, for spans; without one there is a span of the request alone.
    """

    path: str
    endpoints: Mapping[str, Endpoint]
    template: str = ""
    is_prefix: bool = False
    cors: Cors = Cors.NEVER
    errors: ErrorShape = ErrorShape.PLAIN
    is_limited: bool = True
    operations: Mapping[str, str] = field(default_factory=dict)
