"""One client's connection: bounded in what it may send as a head, and in how long a request and its answer may take."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 200


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
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._read = timeouts.read if timeouts.read > 0 else math.inf
        self._write = timeouts.write if timeouts.write > 0 else math.inf
        self._idle = timeouts.idle if timeouts.idle > 0 else math.inf
        self._deadline = self.loop.time() + self._read
        self._is_idle = False
        self._is_read = False
        self._is_in_head = False
        self._head_bytes = 0

    def end_if_late(self, now: float) -> None:
        """Close the connection if it should be done.

        Args:
            now: The loop's time.
        """
        if now > self._deadline:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; the parser keeps an unfinished head, so that is what must not grow without end."""
        if self._is_idle:
            # Also for bytes that begin nothing, such as empty lines.
            self._is_idle = False
            self._deadline = self.loop.time() + self._read
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("Request head too large.")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._is_read = False
        self._is_in_head = True
        self._head_bytes = 0
        self._deadline = self.loop.time() + self._read

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers behind a chunked body are read past: nothing of ours uses them, and they have no end."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, unless reading its headers would take longer than answering it."""
        self._is_in_head = False
        if len(self.headers) > _MAX_HEADERS:
            # The parser turns it into a 400 that ends the connection.
            raise ValueError("too many headers")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Start the clock of the answer; after an answer that did not wait for the whole body, that of the next request."""
        super().on_message_complete()
        self._is_read = True
        if self.cycle.response_complete:
            self._rest()
        else:
            self._deadline = self.loop.time() + self._write

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

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: clients may offer HTTP/2 (RFC 9113 §3.2 of old), and are served HTTP/1.1."""
