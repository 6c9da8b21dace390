"""Answers that go on: a stream whose parts are written as they come, until the connection ends."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

Stream = AsyncGenerator[bytes, None]
"""Yields at least every few seconds, if only nothing: between two parts it is asked whether to go on."""


async def pour(stream: Stream, transport: asyncio.Transport, may_go_on: Callable[[], bool]) -> None:
    """Write what a stream yields, and end the connection behind it: its end is how the client knows.

    Args:
        stream: What is written.
        transport: Where to.
        may_go_on: Asked before each part.
    """
    try:
        async with contextlib.aclosing(stream) as parts:
            async for part in parts:
                if transport.is_closing() or not may_go_on():
                    return
                if part:
                    transport.write(part)
    finally:
        transport.close()
