"""A small HTTP server on loopback that answers what a test lays out."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import orjson

from server.tests.fakes.listening import listening


@dataclass
class Answer:
    """What a path answers.

    Attributes:
        gate: When given, the answer waits until it is set.
        chunked: Send the body without saying how long it is.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    chunked: bool = False


@dataclass
class DocumentServer:
    """The server's answers by path, and what it was asked."""

    port: int = 0
    scheme: str = "http"
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    fallback: Callable[[str], Answer] | None = None
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def document(self, path: str, **members: object) -> str:
        """Publish a client metadata document; return its URL."""
        url = self.url(path)
        document = {"client_id": url, "client_name": "A client", "redirect_uris": ["http://127.0.0.1/callback"]}
        body = orjson.dumps({name: value for name, value in (document | members).items() if value is not None})
        self.answers[path] = Answer(body=body, headers={"Content-Type": "application/json"})
        return url

    def paths(self) -> list[str]:
        return [request.split(" ")[1] for request in self.requests]

    async def wait_for_requests(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.requests) < number:
                self.arrival.clear()
                await self.arrival.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(head)
            self.arrival.set()
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            path = head.split(" ")[1]
            fallback = self.fallback or (lambda _path: Answer(status=404))
            answer = self.answers.get(path) or fallback(path)
            if answer.gate is not None:
                await answer.gate.wait()
            writer.write(_spell(answer))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.in_flight -= 1


def _spell(answer: Answer) -> bytes:
    headers = {"Connection": "close"} | answer.headers
    if not answer.chunked:
        headers["Content-Length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} Answer", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + answer.body


@asynccontextmanager
async def document_server(
    tls: ssl.SSLContext | None = None, *, addresses: Sequence[str] = ("127.0.0.1",)
) -> AsyncIterator[DocumentServer]:
    """Serve at one port of all addresses."""
    server = DocumentServer(scheme="https" if tls else "http")
    async with AsyncExitStack() as listeners:
        for address in addresses:
            listener = listening(server.serve, server.port, address=address, tls=tls)
            server.port = await listeners.enter_async_context(listener)
        yield server
