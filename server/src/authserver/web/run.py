"""Starts the listeners on one loop, and drains them when told to stop."""

import asyncio
import contextlib
import errno
import math
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn

from authserver.telemetry.logs import get_logger
from authserver.web.connections import Connection, Crowd, Timeouts
from authserver.web.server import WebApp

MAX_CONNECTIONS = 2048

_log = get_logger("main")

# The database's, the logs', those of documents being fetched, and connections above the bound that are told so.
_OTHER_DESCRIPTORS = 256
_BACKLOG = 2048
_MAX_PORT = 65535
_TICKS_A_SECOND = 10
_WITHOUT_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_NEVER = 10 * 365 * 24 * 60 * 60


class ListenError(Exception):
    """A listener cannot be opened; the message names its address and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where an application is served.

    Attributes:
        address: ``host:port``; an empty host is every interface, over IPv4 and IPv6.
        name: In messages.
        sock: One that was bound for it already, and is now its own; None: it binds one itself.
    """

    app: Any
    address: str
    name: str
    sock: socket.socket | None = None


class _Server(uvicorn.Server):
    """uvicorn without signal handling of its own: the process has several listeners and one way to stop."""

    def __init__(self, config: uvicorn.Config, crowd: Crowd) -> None:
        super().__init__(config)
        self._crowd = crowd

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            now = asyncio.get_running_loop().time()
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.end_if_late(now)
            self._crowd.report()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._crowd.report()


def bind(listener: Listener) -> socket.socket:
    """Open the socket of a listener.

    Raises:
        ListenError: The address is malformed, taken or not ours.
    """
    host, _, port = listener.address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise ListenError(f"{listener.name} listener: {listener.address!r} is not host:port")
    try:
        sock = _open_socket(host, int(port))
    except OSError as exc:
        raise ListenError(
            f"{listener.name} listener cannot use {listener.address}: {exc.strerror}."
            " Stop what uses that port, or choose another one."
        ) from exc
    sock.setblocking(False)
    return sock


def _open_socket(host: str, port: int) -> socket.socket:
    if host:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return _listen(host, port, family)
    try:
        return _listen("::", port, socket.AF_INET6)
    except OSError as exc:
        if exc.errno not in _WITHOUT_IPV6:
            raise
        return _listen("", port, socket.AF_INET)


def _listen(host: str, port: int, family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Alone, `::` is every interface of both families; a named address is what it says.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def serve_listeners(
    listeners: Sequence[Listener],
    *,
    shutdown_wait: float,
    idle_timeout: float,
    stop: asyncio.Event,
    on_started: Callable[[list[tuple[str, int]]], None] | None = None,
    read_timeout: float = 30,
    write_timeout: float = 30,
    max_connections: int = MAX_CONNECTIONS,
) -> None:
    """Serve until ``stop`` is set, then let requests finish for at most ``shutdown_wait`` seconds.

    Args:
        listeners: What to serve; all sockets are bound before any is served.
        shutdown_wait: Seconds, shared by all listeners; at least one.
        idle_timeout: Seconds that a connection may rest between two requests; 0 is the time for reading.
        stop: Ends it.
        on_started: Is told the bound addresses, in the order of the listeners, once all answer.
        read_timeout: Seconds in which a request must have arrived; 0 is without limit.
        write_timeout: Seconds in which it must have been answered; 0 is without limit.
        max_connections: How many clients each listener serves at once.

    Raises:
        ListenError: A listener cannot be opened.
    """
    most = _within_descriptors(max_connections, len(listeners))
    timeouts = Timeouts(read=read_timeout, write=write_timeout, idle=idle_timeout or read_timeout)
    sockets: list[socket.socket] = []
    try:
        sockets.extend(listener.sock or bind(listener) for listener in listeners)
    except ListenError:
        for sock in sockets:
            sock.close()
        raise
    servers = [_serving(listener, timeouts, shutdown_wait, most) for listener in listeners]
    async with asyncio.TaskGroup() as group:
        for server, sock in zip(servers, sockets, strict=True):
            group.create_task(server.serve(sockets=[sock]))
        try:
            while not all(server.started for server in servers):  # noqa: ASYNC110  uvicorn offers a flag, no event
                await asyncio.sleep(0.005)
            if on_started is not None:
                on_started([sock.getsockname()[:2] for sock in sockets])
            await stop.wait()
        finally:
            for server in servers:
                server.should_exit = True


def _within_descriptors(wanted: int, listeners: int) -> int:
    """Return how many connections a listener can have; the process takes as many descriptors as it may and needs."""
    needed = wanted * listeners + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    most = max(1, (soft - _OTHER_DESCRIPTORS) // listeners)
    _log.warning("the limit of open files bounds the number of connections", max_connections=most, wanted=wanted)
    return most


def _serving(listener: Listener, timeouts: Timeouts, shutdown_wait: float, most: int) -> _Server:
    crowd = Crowd(most=most)
    # Any application can be served; one of ours wants to know of what never reached it, and has it answered as its own.
    app = listener.app if isinstance(listener.app, WebApp) else None
    connection = partial(
        Connection,
        timeouts=timeouts,
        crowd=crowd,
        keep_refusal=app.keep_refusal if app is not None else None,
        common_headers=app.common_headers if app is not None else (),
    )
    config = uvicorn.Config(
        listener.app,
        loop="none",
        http=cast("type[asyncio.Protocol]", connection),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Connections end themselves; this timer of uvicorn's forgets those that sent more than was read.
        timeout_keep_alive=math.ceil(timeouts.idle) + 1 if timeouts.idle > 0 else _NEVER,
        timeout_graceful_shutdown=max(1, math.ceil(shutdown_wait)),
    )
    return _Server(config, crowd)
