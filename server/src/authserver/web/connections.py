"""One client's connection: reads requests, has them answered, writes the answers; HTTP/1.1 on a socket, and nothing between.

It is bounded in what it may send as a head, and in how long a request and its answer may take.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import cast

import httptools

from authserver.web.crowd import LINGER_SECONDS, MAX_SURPLUS, Crowd, Timeouts
from authserver.web.flow import Flow, Intake
from authserver.web.heads import MAX_HEAD_BYTES, MAX_HEADERS, check_head, new_parser, without_offer
from authserver.web.http import MAX_TARGET_BYTES, HttpRequest
from authserver.web.routing import split_target
from authserver.web.server import Answer, WebApp
from authserver.web.streaming import Rest, pour
from authserver.web.turned_away import turn_away

# More than these wait on one connection only when somebody means harm; each holds memory before it is looked at.
_MAX_PIPELINED = 32
# A body that nobody has read so far is not taken further than that.
_MOST_UNREAD_BYTES = 64 * 1024


class Connection(asyncio.Protocol):
    """Reads requests, has them answered in their order, and writes each answer in one piece.

    It notes when it must be done, and ``end_if_late`` is called once a second: a timer for each request costs more.
    """

    _transport: asyncio.Transport
    _intake: Intake

    def __init__(self, app: WebApp, crowd: Crowd, timeouts: Timeouts) -> None:
        self._app = app
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._deadline = self._loop.time() + timeouts.read
        self._peer = ""
        # What is read: the request whose body comes in, unless it was answered meanwhile.
        self._parser = new_parser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._reading: HttpRequest | None = None
        self._is_in_head = False
        self._is_in_body = False
        self._is_read = False
        self._may_expect = False
        self._in_piece = 0
        self._is_behind_another = False
        # What is answered, and what is to be answered behind it.
        self._answering: HttpRequest | None = None
        self._queue: deque[HttpRequest] = deque()
        self._flow = Flow()
        self._is_idle = False
        self._is_draining = crowd.is_draining
        self._is_surplus = False
        self._is_lingering = False
        self._refusal = 400

    @property
    def _is_busy(self) -> bool:
        """Whether an answer is on its way, or due."""
        return self._answering is not None or bool(self._queue) or self._flow.is_clogged

    @property
    def _is_ending(self) -> bool:
        return self._is_lingering or self._transport.is_closing()

    def drain(self) -> None:
        """End after what was asked is answered."""
        if self._answering is not None or self._queue:
            self._is_draining = True
        else:
            self._transport.close()

    def end_if_late(self, now: float) -> None:
        """Close the connection if it should be done.

        Args:
            now: The loop's time.
        """
        if now <= self._deadline:
            return
        if self._is_lingering:
            # It got its answer, and a moment to read it.
            self._transport.abort()
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
        self._crowd.note_end(reason, self._peer)
        self._transport.abort()

    def cut(self) -> None:
        """End the connection; nobody is to learn of it."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room or some can be made."""
        self._transport = cast("asyncio.Transport", transport)
        self._intake = Intake(self._transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        if self._is_draining:
            # It came before the end was told, and may have asked.
            self._deadline = self._loop.time() + LINGER_SECONDS
        surplus = self._crowd.enter(self) - self._crowd.most
        if surplus <= 0 or self._crowd.make_room(self):
            return
        # An answer before the request was read would be lost with the connection.
        self._is_surplus = True
        # It holds no place that it could give to the next.
        self._crowd.attend(self)
        self._deadline = self._loop.time() + LINGER_SECONDS
        if surplus > MAX_SURPLUS:
            self.end("surplus")

    def connection_lost(self, _exc: Exception | None) -> None:
        """End; who reads a body learns of it."""
        self._crowd.leave(self)
        self._queue.clear()
        self._flow.clear()
        if self._reading is not None:
            self._reading.lose()
        if self._answering is not None:
            self._answering.lose()

    def eof_received(self) -> bool:
        """Answer what was asked; a client may end its own half first. Tell whether the connection is kept for that."""
        # Nothing is queued: as long as something is, nothing is read, and so no end is seen.
        self._is_draining = True
        return self._answering is not None and self._reading is None and not self._is_ending

    def pause_writing(self) -> None:
        """Answer nothing more for the time being: the client does not take what it is sent."""
        self._flow.clog()

    def resume_writing(self) -> None:
        """Go on."""
        self._flow.clear()
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; the parser keeps an unfinished head, so that is what must not grow without end."""
        if self._is_ending:
            return
        if self._is_surplus:
            self._refuse(503)
            return
        if self._is_idle:
            # Also for bytes that begin nothing, such as empty lines.
            self._is_idle = False
            self._deadline = self._loop.time() + self._timeouts.read
        self._in_piece = 0
        self._is_behind_another = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        # Behind the end of another request, how much of the piece belongs to this head is not known; the piece is bounded.
        if self._is_in_head and not self._is_behind_another:
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > MAX_HEAD_BYTES:
                self._refuse(431)

    def _parse(self, data: bytes) -> None:
        """Parse, without taking up another protocol: clients may offer HTTP/2, and are served HTTP/1.1 (RFC 9110 §7.8).

        The parser cannot be told so. It ends behind the head of such a request, and would take its body for the next one.
        So the head is parsed again without the offer, and then what is behind it.
        """
        rest: bytes | memoryview = data
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = memoryview(rest)[offer.args[0] :]
                head = without_offer(self._parser, self._url, self._headers)
                self._parser = new_parser(self)
                self._parser.feed_data(head)
            else:
                return

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = []
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._is_in_head = True
        self._is_in_body = False
        self._is_read = False
        self._deadline = self._loop.time() + self._timeouts.read
        self._crowd.wait_for(self)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path and query.

        Raises:
            ValueError: They are too long; the parser ends with it.
        """
        self._url += url
        if len(self._url) > MAX_TARGET_BYTES:
            self._refusal = 414
            raise ValueError("target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers behind a chunked body are read past: nothing of ours uses them, and they have no end.

        Raises:
            ValueError: There are too many, or too much of them; as above.
        """
        if not self._is_in_head:
            return
        name = name.lower()
        self._headers.append((name, value))
        self._header_bytes += len(name) + len(value)
        if len(self._headers) > MAX_HEADERS or self._header_bytes > MAX_HEAD_BYTES:
            self._refusal = 431
            raise ValueError("head too large")

    def on_headers_complete(self) -> None:
        """Have the request answered, now or when those before it are.

        Raises:
            ValueError: It is none that is served, or wants a tunnel; or too many are waiting to be answered: then the
                connection is gone.
        """
        self._is_in_head = False
        if self._is_ending:
            return
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if self._parser.should_upgrade():
            if method == b"CONNECT":
                raise ValueError("no tunnels")
            return
        check_head(version, self._headers)
        path, query = split_target(self._url)
        # In their order: named, they cost as much again.
        self._reading = request = HttpRequest(
            method.decode("ascii"), self._headers, path, query, self._peer, self._want_more
        )
        request.is_last = version == "1.0" or not self._parser.should_keep_alive()
        self._may_expect = version != "1.0"
        self._is_in_body = True
        self._in_piece += 1
        if len(self._queue) >= _MAX_PIPELINED or self._in_piece > _MAX_PIPELINED + 1:
            self.end("pipeline")
            raise ValueError("too many requests at once")
        if self._is_busy:
            self._queue.append(request)
            self._intake.pause()
        else:
            self._answer(request)

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body over, unless the answer did not wait for it."""
        if self._reading is not None and self._reading.arrive(body) > _MOST_UNREAD_BYTES:
            self._intake.pause()

    def on_message_complete(self) -> None:
        """Start the clock of the answer; after an answer that did not wait for the whole body, that of the next request."""
        if self._parser.should_upgrade():
            return
        self._is_read = True
        self._is_in_body = False
        self._is_behind_another = True
        if self._is_lingering:
            self._transport.close()
            return
        if self._reading is not None:
            self._reading.end()
            self._reading = None
        if self._is_busy:
            self._deadline = self._loop.time() + self._timeouts.write
            self._crowd.attend(self)
        else:
            self._rest()

    def _answer(self, request: HttpRequest) -> None:
        """Have a request answered."""
        self._answering = request
        answer = self._app.serve(request)
        if isinstance(answer, tuple):
            self._send(request, answer)
        else:
            self._crowd.begin(self._loop.create_task(self._answer_later(request, answer)))

    async def _answer_later(self, request: HttpRequest, coming: Awaitable[Answer | None]) -> None:
        try:
            answer = await coming
            # Without an answer there is no connection any more.
            if answer is not None:
                self._send(request, answer)
                self._go_on()
        except BaseException:
            # Nobody would ever answer on it.
            self.cut()
            raise

    def _send(self, request: HttpRequest, answer: Answer) -> None:
        """Send an answer, unless nobody is there any more."""
        self._answering = None
        is_whole = self._reading is not request
        if not is_whole:
            # The rest of its body is for nobody.
            self._reading = None
        if self._transport.is_closing():
            return
        head, body = answer
        stream = request.stream
        is_last = stream is not None or request.is_last or (self._is_draining and not self._queue)
        end = b"connection: close\r\n\r\n" if is_last else b"\r\n"
        self._transport.write(b"".join((head, self._crowd.date, end, body)))
        if stream is not None:
            self._answering = request
            parts, may_go_on = (stream.parts, self._is_taken) if isinstance(stream, Rest) else (stream, self._may_go_on)
            self._crowd.begin(self._loop.create_task(pour(parts, self._transport, may_go_on)))
        elif is_last and is_whole:
            self._transport.close()
        elif is_last:
            self._linger()

    async def _may_go_on(self) -> bool:
        """Give a stream time for its next part, unless the end has come or its client does not take what it is sent."""
        self._deadline = self._loop.time() + self._timeouts.write
        return not self._is_draining and not self._flow.is_clogged

    async def _is_taken(self) -> bool:
        """Wait until the client has taken what it was sent, and give the next part its time."""
        await self._flow.taken()
        self._deadline = self._loop.time() + self._timeouts.write
        return not self._transport.is_closing()

    def _go_on(self) -> None:
        """Go on to what the client sent meanwhile, or wait for its next request."""
        while self._queue and self._answering is None and not self._flow.is_clogged and not self._is_ending:
            self._answer(self._queue.popleft())
        if self._is_ending:
            return
        if self._is_busy:
            self._deadline = self._loop.time() + self._timeouts.write
            return
        self._intake.resume()
        if self._is_read:
            self._rest()

    def _want_more(self) -> None:
        """Let the client send the body that is waited for; some want to be told so once (RFC 9110 §10.1.1)."""
        self._intake.resume()
        if self._may_expect and self._reading is not None:
            self._may_expect = False
            if (self._reading.header(b"expect") or "").lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _rest(self) -> None:
        self._is_idle = True
        self._deadline = self._loop.time() + self._timeouts.idle
        self._crowd.wait_for(self)

    def _refuse(self, status: int) -> None:
        """Answer without looking at the request, and close."""
        if self._is_ending:
            return
        if self._answering is not None or self._queue or self._is_in_body:
            # The client would take this for the answer that is still due, or for one to what it sends next.
            self.end("malformed")
            return
        self._transport.write(turn_away(status, self._app, peer=self._peer, date=self._crowd.date))
        self._linger()

    def _linger(self) -> None:
        """End a connection whose client is still sending: closed at once, the answer would be lost (RFC 9112 §9.6)."""
        self._transport.write_eof()
        self._is_lingering = True
        self._intake.resume()
        self._deadline = self._loop.time() + LINGER_SECONDS
