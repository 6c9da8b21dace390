"""Answers that come in parts: those that go on until the connection ends, and those that are too long for one piece."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

Stream = AsyncGenerator[bytes, None]
"""Yields at least every few seconds, if only nothing: between two parts it is asked whether to go on."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The rest of a body that has an end, by which its reader knows that nothing is missing: JSON has one.

    Each part waits until its client has taken those before it, and until everybody else had their turn.
    """

    parts: Stream

    async def read(self) -> bytes:
        """Return all of it, for who keeps it in memory."""
        return b"".join([part async for part in self.parts])


async def pour(stream: Stream, transport: asyncio.Transport, may_go_on: Callable[[], Awaitable[bool]]) -> None:
    """Write what a stream yields, and end the connection behind it: its end is how the client knows.

    Args:
        stream: What is written.
        transport: Where to.
        may_go_on: Asked before each part.
    """
    try:
        async with contextlib.aclosing(stream) as parts:
            async for part in parts:
                if transport.is_closing() or not await may_go_on():
                    return
                if part:
                    transport.write(part)
    finally:
        transport.close()
