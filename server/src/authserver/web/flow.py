"""Both directions of a connection: whether its client takes what it is sent, and whether what it sends is read."""

import asyncio


class Flow:
    """Whether a client takes what it is sent."""

    __slots__ = ("_taken", "is_clogged")

    def __init__(self) -> None:
        self.is_clogged = False
        self._taken: asyncio.Event | None = None

    def clog(self) -> None:
        """Know that the client takes nothing for the time being."""
        self.is_clogged = True

    def clear(self) -> None:
        """Know that it goes on, or has gone."""
        self.is_clogged = False
        if self._taken is not None:
            self._taken.set()

    async def taken(self) -> None:
        """Let others have their turn, and wait until the client goes on or has gone."""
        await asyncio.sleep(0)
        while self.is_clogged:
            self._taken = asyncio.Event()
            await self._taken.wait()


class Intake:
    """Whether what a client sends is read."""

    __slots__ = ("_is_paused", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_paused = False

    def pause(self) -> None:
        """Read nothing more for the time being."""
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
