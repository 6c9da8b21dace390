"""Starts the listeners on one loop, and drains them when told to stop."""

import asyncio
import contextlib
import errno
import math
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from authserver.telemetry.logs import get_logger
from authserver.web.connections import Connection
from authserver.web.crowd import Crowd, Timeouts
from authserver.web.server import WebApp

MAX_CONNECTIONS = 2048

_log = get_logger("main")

# The database's, the logs', those of documents being fetched, and connections above the bound that are told so.
_OTHER_DESCRIPTORS = 256
_BACKLOG = 2048
_MAX_PORT = 65535
_TICK_SECONDS = 1.0
_WITHOUT_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class ListenError(Exception):
    """A listener cannot be opened; the message names its address and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where an application is served.

    Attributes:
        app: What is served; None as long as it is missing.
        address: ``host:port``; an empty host is every interface, over IPv4 and IPv6.
        name: In messages.
        sock: One that was bound for it already, and is now its own; None: it binds one itself.
    """

    app: WebApp | None
    address: str
    name: str
    sock: socket.socket | None = None


class _Server:
    """Serves one listener."""

    def __init__(self, listener: Listener, sock: socket.socket, timeouts: Timeouts, most: int) -> None:
        self._listener = listener
        self._sock = sock
        self._timeouts = timeouts
        self._crowd = Crowd(most=most)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Take connections from now on."""
        app = self._listener.app
        if app is None:
            raise RuntimeError(f"the {self._listener.name} listener has no application")
        loop = asyncio.get_running_loop()
        self.tick(loop.time())
        self._server = await loop.create_server(
            lambda: Connection(app, self._crowd, self._timeouts), sock=self._sock, backlog=_BACKLOG
        )

    def tick(self, now: float) -> None:
        """Do what is to be done once a second.

        Args:
            now: The loop's time.
        """
        self._crowd.date = f"date: {formatdate(usegmt=True)}\r\n".encode("ascii")
        for connection in tuple(self._crowd.connections):
            connection.end_if_late(now)
        self._crowd.report()

    async def drain(self, seconds: float) -> None:
        """Take no more connections, and have what was asked answered; what takes longer is given up."""
        if self._server is not None:
            self._server.close()
        self._crowd.is_draining = True
        for connection in tuple(self._crowd.connections):
            connection.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._crowd.settled()
        except TimeoutError:
            _log.error("requests given up at the end", listener=self._listener.name, requests=len(self._crowd.tasks))
            await self._crowd.give_up()
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
    timeouts = Timeouts(
        read=read_timeout or math.inf, write=write_timeout or math.inf, idle=idle_timeout or read_timeout or math.inf
    )
    sockets: list[socket.socket] = []
    try:
        sockets.extend(listener.sock or bind(listener) for listener in listeners)
    except ListenError:
        for sock in sockets:
            sock.close()
        raise
    servers = [_Server(listener, sock, timeouts, most) for listener, sock in zip(listeners, sockets, strict=True)]
    try:
        addresses = [sock.getsockname()[:2] for sock in sockets]
        for server in servers:
            await server.start()
        if on_started is not None:
            on_started(addresses)
        await _tick_until(stop, servers)
    finally:
        wait = max(1.0, shutdown_wait)
        over = asyncio.Event()
        # Times hold to the end: else a client that reads nothing would hold it up.
        ticking = asyncio.create_task(_tick_until(over, servers))
        await asyncio.gather(*(server.drain(wait) for server in servers))
        over.set()
        await ticking
        for sock in sockets:
            sock.close()


async def _tick_until(stop: asyncio.Event, servers: Sequence[_Server]) -> None:
    """Have the servers look after their connections once a second."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TICK_SECONDS)
        for server in servers:
            server.tick(loop.time())


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
