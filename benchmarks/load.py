"""The load: N keep-alive connections on raw sockets, each of which goes through its requests again and again.

Cheap enough not to be what is measured: a request costs about 30 microseconds here, on another core than the server's.
"""

import asyncio
import re
import shutil
import statistics
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass
from hashlib import sha256
from typing import cast
from urllib.parse import quote, urlencode

import orjson
import uvloop

from machine import cpu_seconds

VERIFIER = "benchmark-" * 5
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
_WARM_UP_SECONDS = 0.3
_PATIENCE_SECONDS = 10
_CODE = re.compile(rb"[?&]code=([^&\s]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Answer = tuple[bytes, bytes]
"""The head and the body."""
Requests = Generator[bytes, Answer, None]
"""Yields requests and is sent the answers; begins again when it ends."""


class UnexpectedAnswerError(Exception):
    """The server did not answer as the flow needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a server offers what, and as whom to ask.

    Attributes:
        paths: ``authorize``, ``token`` and ``jwks``.
        cookie: What the browser of a signed-in user who has consented before sends.
        pids: The processes whose CPU time counts.
    """

    port: int
    paths: dict[str, str]
    client_id: str
    redirect_uri: str
    scope: str
    resource: str | None
    cookie: str
    pids: tuple[int, ...]

    def authorize_query(self) -> str:
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": "af0ifjsldkj",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **({"resource": self.resource} if self.resource else {}),
        }
        return urlencode(query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run measured; times of single requests in milliseconds, CPU of the server in microseconds."""

    rounds_per_second: float
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float


def _get(target: Target, path: str, cookie: str = "") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: localhost:{target.port}", *([f"Cookie: {cookie}"] if cookie else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def _post(target: Target, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost:{target.port}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def whole_flow(target: Target) -> Requests:
    """A code for a user who is signed in and has consented, its redemption, one refresh."""
    authorize = _get(target, f"{target.paths['authorize']}?{target.authorize_query()}", target.cookie)
    common = f"&client_id={quote(target.client_id)}"
    redeem = f"grant_type=authorization_code&redirect_uri={quote(target.redirect_uri, safe='')}"
    redeem_body = f"{redeem}&code_verifier={VERIFIER}{common}&code=".encode()
    refresh_body = f"grant_type=refresh_token{common}&refresh_token=".encode()
    while True:
        head, _ = yield authorize
        code = _CODE.search(head)
        if code is None:
            raise UnexpectedAnswerError(f"no code: {head.decode()}")
        head, body = yield _post(target, target.paths["token"], redeem_body + code[1])
        refresh_token = _tokens(head, body)["refresh_token"].encode()
        head, body = yield _post(target, target.paths["token"], refresh_body + refresh_token)
        if _tokens(head, body)["refresh_token"].encode() == refresh_token:
            raise UnexpectedAnswerError("the refresh token was not rotated")


def _tokens(head: bytes, body: bytes) -> dict[str, str]:
    if head[9:12] != b"200":
        raise UnexpectedAnswerError(f"no tokens: {head.decode()} {body.decode()}")
    tokens: dict[str, str] = orjson.loads(body)
    return tokens


def static_document(target: Target) -> Requests:
    """The JWKS, for machines without wrk."""
    request = _get(target, target.paths["jwks"])
    while True:
        head, _ = yield request
        if head[9:12] != b"200":
            raise UnexpectedAnswerError(head.decode())


class _Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the answer to the last has come."""

    def __init__(self, requests: Requests, record: Callable[[float], None], failed: asyncio.Future[None]) -> None:
        self._requests = requests
        self._record = record
        self._failed = failed
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send(next(self._requests))

    def _send(self, request: bytes) -> None:
        assert self._transport is not None
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
            self._fail(UnexpectedAnswerError(f"no length: {head.decode()}"))
        elif len(body) >= int(length[1]):
            self._record(time.perf_counter() - self._sent_at)
            self._buffer = b""
            try:
                self._send(self._requests.send((head, body)))
            except UnexpectedAnswerError as exc:
                self._fail(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(UnexpectedAnswerError(f"the server closed a connection: {exc}"))

    def _fail(self, exc: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(exc)


def measure(
    target: Target,
    requests: Callable[[Target], Requests],
    *,
    requests_per_round: int,
    connections: int,
    seconds: float,
) -> Sample:
    """Load a server for a while, after a warm-up, and measure."""
    return uvloop.run(_measure(target, requests, requests_per_round, connections, seconds))


async def _measure(
    target: Target, requests: Callable[[Target], Requests], requests_per_round: int, connections: int, seconds: float
) -> Sample:
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    latencies: list[float] = []
    transports = [
        (
            await loop.create_connection(
                lambda: _Connection(requests(target), latencies.append, failed), "127.0.0.1", target.port
            )
        )[0]
        for _ in range(connections)
    ]
    await asyncio.wait([failed], timeout=_WARM_UP_SECONDS)
    latencies.clear()
    cpu, started = cpu_seconds(target.pids), time.perf_counter()
    await asyncio.wait([failed], timeout=seconds)
    cpu, elapsed, measured = cpu_seconds(target.pids) - cpu, time.perf_counter() - started, list(latencies)
    if failed.done():
        failed.result()
    for transport in transports:
        transport.close()
    failed.cancel()
    # The server settles what is under way before it is the next one's turn.
    await asyncio.sleep(0.05)
    return _sample(measured, elapsed, cpu, requests_per_round)


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


def measure_flow(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure the whole flow."""
    return measure(target, whole_flow, requests_per_round=3, connections=connections, seconds=seconds)


def measure_jwks(target: Target, *, connections: int, seconds: float) -> Sample:
    """Measure the JWKS, with wrk where it is installed: Python cannot ask as fast as a server answers this."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return measure(target, static_document, requests_per_round=1, connections=connections, seconds=seconds)
    url = f"http://127.0.0.1:{target.port}{target.paths['jwks']}"
    duration = max(1, round(seconds))
    command = [wrk, "-t1", f"-c{connections}", f"-d{duration}s", "--latency", url]
    cpu = cpu_seconds(target.pids)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=duration + _PATIENCE_SECONDS)
    cpu = cpu_seconds(target.pids) - cpu
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
