"""The load: N keep-alive connections on raw sockets, each of which goes through its requests again and again.

Cheap enough not to be what is measured: a request costs about 30 microseconds here, on another core than the server's.
"""

import asyncio
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvloop

from machine import cpu_seconds

WARM_UP_SECONDS = 0.3
PATIENCE_SECONDS = 30
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Answer = tuple[bytes, bytes]
"""The head and the body."""
Requests = Generator[bytes, Answer, None]
"""Yields requests and is sent the answers; the connection closes when it ends."""


class UnexpectedAnswerError(Exception):
    """The server did not answer as the load needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run measured; times of single requests in milliseconds, CPU of the server in microseconds."""

    rounds_per_second: float
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float


class _Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the answer to the last has come."""

    def __init__(self, requests: Requests, record: Callable[[float], None], ended: asyncio.Future[None]) -> None:
        self._requests = requests
        self._record = record
        self._ended = ended
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._go_on(None)

    def _go_on(self, answer: Answer | None) -> None:
        assert self._transport is not None
        try:
            request = next(self._requests) if answer is None else self._requests.send(answer)
        except StopIteration:
            self._end(None)
            return
        except UnexpectedAnswerError as exc:
            self._end(exc)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        length = _LENGTH.search(head)
        body = self._buffer[end + 4 :]
        if length is None:
            self._end(UnexpectedAnswerError(f"no length: {head.decode()}"))
        elif len(body) >= int(length[1]):
            self._record(time.perf_counter() - self._sent_at)
            self._buffer = b""
            self._go_on((head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(UnexpectedAnswerError(f"the server closed a connection: {exc}"))

    def _end(self, exc: Exception | None) -> None:
        if self._ended.done():
            return
        if exc is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(exc)


def measure(
    port: int,
    pids: tuple[int, ...],
    requests: Callable[[], Requests],
    *,
    connections: int,
    seconds: float,
    requests_per_round: int = 1,
) -> Sample:
    """Load a server for a while, after a warm-up, and measure.

    Args:
        port: Where it listens, on loopback.
        pids: The processes whose CPU time counts.
        requests: Makes what one connection sends.
        connections: How many at once.
        seconds: How long.
        requests_per_round: What a round is made of.
    """
    latencies, elapsed, cpu = uvloop.run(_load(port, pids, requests, connections, seconds))
    return _sample(latencies, elapsed, cpu, requests_per_round)


def measure_all(port: int, pids: tuple[int, ...], requests: Callable[[], Requests], *, connections: int) -> Sample:
    """Measure until every connection has sent what it has, from the first request on."""
    latencies, elapsed, cpu = uvloop.run(_load(port, pids, requests, connections, None))
    return _sample(latencies, elapsed, cpu, 1)


def run_all(port: int, requests: Callable[[], Requests], *, connections: int) -> None:
    """Send everything, measuring nothing: what a measure needs beforehand."""
    uvloop.run(_load(port, (), requests, connections, None))


async def _load(
    port: int, pids: tuple[int, ...], requests: Callable[[], Requests], connections: int, seconds: float | None
) -> tuple[list[float], float, float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    cpu, started = cpu_seconds(pids), time.perf_counter()
    transports = []
    for end in ends:
        connection = partial(_Connection, requests(), latencies.append, end)
        transports.append((await loop.create_connection(connection, "127.0.0.1", port))[0])
    if seconds is not None:
        await asyncio.wait(ends, timeout=WARM_UP_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        latencies.clear()
        cpu, started = cpu_seconds(pids), time.perf_counter()
    await asyncio.wait(
        ends, timeout=PATIENCE_SECONDS if seconds is None else seconds, return_when=asyncio.FIRST_EXCEPTION
    )
    used, elapsed, measured = cpu_seconds(pids) - cpu, time.perf_counter() - started, list(latencies)
    for end in ends:
        if end.done():
            end.result()
        else:
            end.cancel()
    for transport in transports:
        transport.close()
    # The server settles what is under way before it is the next one's turn.
    await asyncio.sleep(0.05)
    return measured, elapsed, used


def _sample(latencies: list[float], elapsed: float, cpu: float, requests_per_round: int) -> Sample:
    if len(latencies) < 2:
        raise UnexpectedAnswerError("the server answered too few requests to measure")
    centiles = statistics.quantiles(latencies, n=100)
    rate = len(latencies) / elapsed
    return Sample(
        rounds_per_second=rate / requests_per_round,
        requests_per_second=rate,
        p50_ms=centiles[49] * 1000,
        p99_ms=centiles[98] * 1000,
        cpu_us_per_request=cpu / len(latencies) * 1e6,
    )


def measure_with_wrk(port: int, pids: tuple[int, ...], path: str, *, connections: int, seconds: float) -> Sample | None:
    """Measure a document with wrk, which asks faster than Python can; None where it is not installed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    duration = max(1, round(seconds))
    command = [wrk, "-t1", f"-c{connections}", f"-d{duration}s", "--latency", f"http://127.0.0.1:{port}{path}"]
    cpu = cpu_seconds(pids)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=duration + PATIENCE_SECONDS)
    cpu = cpu_seconds(pids) - cpu
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise UnexpectedAnswerError(done.stdout)
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", done.stdout))
    answered = int(_found(r"(\d+) requests in", done.stdout))
    return Sample(
        rounds_per_second=rate,
        requests_per_second=rate,
        p50_ms=_milliseconds(_found(r"50%\s+([\d.]+\w+)", done.stdout)),
        p99_ms=_milliseconds(_found(r"99%\s+([\d.]+\w+)", done.stdout)),
        cpu_us_per_request=cpu / answered * 1e6,
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise UnexpectedAnswerError(text)
    return match[1]


def _milliseconds(text: str) -> float:
    """Read wrk's spelling of a time: ``812.00us``, ``1.20ms``, ``1.01s``."""
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
