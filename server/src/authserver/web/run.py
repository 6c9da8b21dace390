"""Starts the listeners on one loop, and drains them when told to stop."""

import asyncio
import contextlib
import importlib.util
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn

_BACKLOG = 2048
_MAX_HEADER_BYTES = 64 * 1024


class ListenError(Exception):
    """A listener cannot be opened; the message names its address and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where an application is served.

    Attributes:
        address: ``host:port``; an empty host is every interface.
    """

    app: Any
    address: str
    name: str


class _Server(uvicorn.Server):
    """uvicorn without signal handling of its own: the process has several listeners and one way to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame


def bind(listener: Listener) -> socket.socket:
    """Open the socket of a listener.

    Raises:
        ListenError: The address is malformed, taken or not ours.
    """
    host, _, port = listener.address.rpartition(":")
    host = host.strip("[]")
    if not port.isdigit():
        raise ListenError(f"{listener.name} listener: {listener.address!r} is not host:port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        raise ListenError(
            f"{listener.name} listener cannot use {listener.address}: {exc.strerror}."
            " Stop what uses that port, or choose another one."
        ) from exc
    sock.setblocking(False)
    return sock


async def serve_listeners(
    listeners: Sequence[Listener],
    *,
    shutdown_wait: float,
    idle_timeout: float,
    stop: asyncio.Event,
    on_started: Callable[[list[tuple[str, int]]], None] | None = None,
) -> None:
    """Serve until ``stop`` is set, then let requests finish for at most ``shutdown_wait`` seconds.

    Args:
        listeners: What to serve; all sockets are bound before any is served.
        shutdown_wait: Seconds, shared by all listeners.
        idle_timeout: Seconds that a connection may rest between two requests.
        stop: Ends it.
        on_started: Is told the bound addresses once all listeners answer.

    Raises:
        ListenError: A listener cannot be opened, or the fast loop and parser are missing.
    """
    _check_installed()
    sockets: list[socket.socket] = []
    try:
        sockets.extend(bind(listener) for listener in listeners)
    except ListenError:
        for sock in sockets:
            sock.close()
        raise
    servers = [_Server(_config(listener, shutdown_wait, idle_timeout)) for listener in listeners]
    tasks = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in zip(servers, sockets, strict=True)]
    while not all(server.started for server in servers):  # noqa: ASYNC110  uvicorn offers a flag, no event
        await asyncio.sleep(0.005)
    if on_started is not None:
        on_started([sock.getsockname()[:2] for sock in sockets])
    await stop.wait()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)


def _config(listener: Listener, shutdown_wait: float, idle_timeout: float) -> uvicorn.Config:
    return uvicorn.Config(
        listener.app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(idle_timeout),
        timeout_graceful_shutdown=max(1, int(shutdown_wait)),
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )


def _check_installed() -> None:
    for name in ("uvloop", "httptools"):
        if importlib.util.find_spec(name) is None:
            raise ListenError(f"the package {name} is not installed; install authplane-server with its dependencies")
