"""One client's connection: bounded in what it may send as a head, and in how long a request and its answer may take.

The connections of a listener are bounded in number, too. At the bound, the one that has kept the server waiting longest
makes room: it rests between two requests, or it takes its time over one.
"""

import asyncio
import contextvars
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from authserver.protocol.errors import new_reference
from authserver.telemetry.decisions import Decision, Keep
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import CONNECTIONS_ENDED, HTTP_REQUESTS, OTHER
from authserver.telemetry.notes import refuse
from authserver.telemetry.origin import RequestOrigin, set_origin
from authserver.web.http import MAX_TARGET_BYTES

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200

# More than these wait on one connection only when somebody means harm; each holds memory before it is looked at.
_MAX_PIPELINED = 32
# Connections above the bound that are told so; further ones are closed without a word.
_MAX_SURPLUS = 64
_LINGER_SECONDS = 2.0

_log = get_logger("http")

_PHRASES = {
    400: "Malformed request.",
    414: "Request target too long.",
    431: "Request head too large.",
    503: "Too many connections.",
}
_REASONS = {400: "head_malformed", 414: "target_too_long", 431: "head_too_large", 503: "connections_full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a client may take, in seconds; 0 is without limit.

    Attributes:
        read: For a request, from its first byte to its last.
        write: From there until the answer is complete.
        idle: Between two requests.
    """

    read: float
    write: float
    idle: float


@dataclass(slots=True, kw_only=True)
class Crowd:
    """The connections of one listener.

    Attributes:
        most: How many are served at once.
        waiting: Those from which the server waits for something, longest first.
        ended: Those that were ended without an answer and not reported yet, by reason: how many, and the last one's address.
    """

    most: int
    waiting: "dict[Connection, None]" = field(default_factory=dict)
    ended: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note_end(self, reason: str, address: str) -> None:
        """Count a connection that is ended without an answer.

        Args:
            reason: One of ``CONNECTION_ENDS``.
            address: The client's.
        """
        CONNECTIONS_ENDED.inc(reason)
        self.ended[reason] = (self.ended.get(reason, (0, ""))[0] + 1, address)

    def report(self) -> None:
        """Log what ended since the last report: one line for each reason, however many there were."""
        for reason, (count, address) in self.ended.items():
            _log.info("connections ended", reason=reason, count=count, last_remote_addr=address)
        self.ended.clear()

    def make_room(self, newcomer: "Connection") -> bool:
        """End the connection that has kept us waiting longest; False when the newcomer is the only one that does."""
        longest = next(iter(self.waiting))
        if longest is newcomer:
            return False
        del self.waiting[longest]
        longest.end("room")
        return True


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with the limits that it leaves out.

    It notes when it must be done, and ``end_if_late`` is called once a second: a timer for each request costs more.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        timeouts: Timeouts,
        crowd: Crowd,
        keep_refusal: Keep | None = None,
        common_headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd = crowd
        self._common_headers = common_headers
        self._keep_refusal = keep_refusal
        self._read = timeouts.read if timeouts.read > 0 else math.inf
        self._write = timeouts.write if timeouts.write > 0 else math.inf
        self._idle = timeouts.idle if timeouts.idle > 0 else math.inf
        self._deadline = self.loop.time() + self._read
        self._is_idle = False
        self._is_read = False
        self._is_in_head = False
        self._is_surplus = False
        self._is_refused = False
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._refusal = 400

    def end_if_late(self, now: float) -> None:
        """Close the connection if it should be done.

        Args:
            now: The loop's time.
        """
        if now <= self._deadline:
            return
        if self._is_refused:
            # It got its answer, and a moment to read it.
            self.transport.abort()
        elif self._is_surplus:
            self.end("surplus")
        elif self._is_idle:
            self.end("idle_timeout")
        else:
            self.end("write_timeout" if self._is_read else "read_timeout")

    def end(self, reason: str) -> None:
        """End the connection without an answer.

        Args:
            reason: One of ``CONNECTION_ENDS``.
        """
        self._crowd.note_end(reason, self.client[0] if self.client else "")
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        """Begin, if there is room or some can be made."""
        super().connection_made(transport)
        self._crowd.waiting[self] = None
        surplus = len(self.connections) - self._crowd.most
        if surplus <= 0 or self._crowd.make_room(self):
            return
        # An answer before the request was read would be lost with the connection.
        self._is_surplus = True
        # It holds no place that it could give to the next.
        del self._crowd.waiting[self]
        self._deadline = self.loop.time() + _LINGER_SECONDS
        if surplus > _MAX_SURPLUS:
            self.end("surplus")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._crowd.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; the parser keeps an unfinished head, so that is what must not grow without end."""
        if self._is_refused or self.transport.is_closing():
            return
        if self._is_surplus:
            self._refuse(503)
            return
        self._unset_keepalive_if_required()
        if self._is_idle:
            # Also for bytes that begin nothing, such as empty lines.
            self._is_idle = False
            self._deadline = self.loop.time() + self._read
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        if self._is_in_head:
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > MAX_HEAD_BYTES:
                self._refuse(431)

    def _parse(self, data: bytes) -> None:
        """Parse, without taking up another protocol: clients may offer HTTP/2, and are served HTTP/1.1 (RFC 9110 §7.8).

        The parser cannot be told so. It ends behind the head of such a request, and would take its body for the next one.
        So the request is parsed again without the offer, together with what is behind it. There are only so many in one
        piece, as only so many wait to be answered.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._head_without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode("ascii")
        lines = [
            b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version),
            *(b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._is_read = False
        self._is_in_head = True
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._deadline = self.loop.time() + self._read
        self._wait()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and query.

        Raises:
            ValueError: They are too long; the parser ends with it.
        """
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._refusal = 414
            raise ValueError("target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers behind a chunked body are read past: nothing of ours uses them, and they have no end.

        Raises:
            ValueError: There are too many, or too much of them; as above.
        """
        if not self._is_in_head:
            return
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if len(self.headers) > MAX_HEADERS or self._header_bytes > MAX_HEAD_BYTES:
            self._refusal = 431
            raise ValueError("head too large")

    def on_headers_complete(self) -> None:
        """Hand the request over.

        Raises:
            ValueError: It does not name the host it is for, once (RFC 9112 §3.2), or wants a tunnel; or too many are
                waiting to be answered: then the connection is gone.
        """
        self._is_in_head = False
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("no tunnels")
            return
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            raise ValueError("not one host")
        super().on_headers_complete()
        if len(self.pipeline) > _MAX_PIPELINED:
            self.end("pipeline")
            raise ValueError("too many requests at once")

    def on_message_complete(self) -> None:
        """Start the clock of the answer; after an answer that did not wait for the whole body, that of the next request."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._is_read = True
        if self.cycle.response_complete:
            self._rest()
        else:
            self._deadline = self.loop.time() + self._write
            self._crowd.waiting.pop(self, None)

    def on_response_complete(self) -> None:
        """Go on to what the client sent meanwhile, or wait for its next request."""
        if self.pipeline:
            self._deadline = self.loop.time() + self._write
        elif self._is_read:
            self._rest()
        super().on_response_complete()

    def _rest(self) -> None:
        self._is_idle = True
        self._deadline = self.loop.time() + self._idle
        self._wait()

    def _wait(self) -> None:
        """Go to the end of those whom the server waits for."""
        self._crowd.waiting.pop(self, None)
        self._crowd.waiting[self] = None

    def _refuse(self, status: int) -> None:
        """Answer without looking at the request, and close."""
        if self._is_refused or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # The client would take this for the answer that is still due.
            self.end("malformed")
            return
        request_id, peer = secrets.token_hex(16), self.client[0] if self.client else ""
        reference = new_reference()
        text = f"{_PHRASES[status]} ({reference})\n".encode("ascii")
        lines = [
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii")),
            *(b"%s: %s" % header for header in (*self.server_state.default_headers, *self._common_headers)),
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(text),
            b"cache-control: no-store",
            b"x-request-id: " + request_id.encode("ascii"),
            *((b"retry-after: 1",) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + text)
        # Closed at once, the answer would be lost on a client that is still sending (RFC 9112 §9.6).
        self.transport.write_eof()
        self._is_refused = True
        self._deadline = self.loop.time() + _LINGER_SECONDS
        HTTP_REQUESTS.inc(OTHER, "unmatched", str(status))
        # In a context of its own: what the connection does next belongs to no request of this id.
        decision = Decision("connection", request_id, self._keep_refusal)
        origin = RequestOrigin(ip=peer, request_id=request_id, decision=decision)
        contextvars.Context().run(_note_refusal, status, origin, reference)


def _note_refusal(status: int, origin: RequestOrigin, reference: str) -> None:
    set_origin(origin)
    error, reason = HTTPStatus(status).phrase, _REASONS[status]
    refuse(reference=reference, error=error, reason=reason, description=_PHRASES[status], status=status)
    _log.warning(
        "connection refused", status=status, cause=_PHRASES[status], remote_addr=origin.ip, reference=reference
    )
