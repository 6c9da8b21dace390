"""A receiver of audit events on loopback: keeps what was posted, and answers what a test lays out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.tests.fakes.listening import listening


@dataclass
class Posted:
    """A request that arrived whole."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class AuditReceiver:
    """What arrived, and what is answered.

    Attributes:
        statuses: The answers to come, one each; after the last of them, 200.
        gate: When given, answers wait until it is set.
        acknowledged: What was answered with 200, in its order.
    """

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    posted: list[Posted] = field(default_factory=list)
    acknowledged: list[Posted] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/audit"

    async def wait_for(self, number: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(30):
            while len(self.posted) < number:
                self.arrival.clear()
                await self.arrival.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name
            }
            posted = Posted(headers, await reader.readexactly(int(headers["content-length"])))
            self.posted.append(posted)
            self.arrival.set()
            if self.gate is not None:
                await self.gate.wait()
            status = self.statuses.pop(0) if self.statuses else 200
            if status == 200:
                self.acknowledged.append(posted)
            more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{more}Connection: close\r\n\r\n".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass


@contextlib.asynccontextmanager
async def audit_receiver(port: int = 0) -> AsyncIterator[AuditReceiver]:
    """Run a receiver."""
    receiver = AuditReceiver()
    async with listening(receiver.serve, port) as receiver.port:
        yield receiver
