"""A server on loopback, of which nothing is left when it stops."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(
    serve: Serve, port: int = 0, *, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Listen, and yield the port. A connection is closed when ``serve`` returns, and cut at the end in any case."""
    writers: list[asyncio.StreamWriter] = []
    under_way: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    # No coroutine: one that is cancelled before its first step would leave its connection open.
    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.create_task(serve(reader, writer))
        under_way[task] = writer
        task.add_done_callback(lambda task: under_way.pop(task).close())

    listener = await asyncio.start_server(begin, address, port, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in under_way:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*under_way, return_exceptions=True)
