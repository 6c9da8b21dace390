"""A web server on loopback that answers whatever bytes an input holds, for client metadata documents."""

import asyncio
import contextlib
from typing import Self


class DocumentServer:
    """Answers every request with ``answer``, head and all, and closes."""

    def __init__(self) -> None:
        self.answer = b""
        self.port = 0
        self._fetched = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    def new_url(self) -> str:
        """Return a client identifier that was not fetched yet."""
        self._fetched += 1
        return f"http://127.0.0.1:{self.port}/{self._fetched}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        writer.close()
