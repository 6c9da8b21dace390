"""Servers that commands ask over HTTP, in this process, beside the test."""

import asyncio
import contextlib
import io
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from authserver.app import build_server
from authserver.config.loader import load_config
from authserver.core import Clock, open_core, open_keys
from authserver.telemetry.logs import configure_logging
from authserver.web.run import Listener, serve_listeners

API_KEY = "a key of the tests, long enough"
_BOUND_SECONDS = 60
_MOST_BYTES = 64 * 1024

Tell = Callable[[int], None]


@contextmanager
def _beside(serve: Callable[[Tell, asyncio.Event], Awaitable[None]]) -> Iterator[str]:
    """Run a server in a thread, on a loop of its own, until the block ends; yield its URL once it tells its port."""
    port: Future[int] = Future()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        ending.append((asyncio.get_running_loop(), stop))
        await serve(port.set_result, stop)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as exc:  # the test tells of it
            if port.done():
                raise
            port.set_exception(exc)

    thread = threading.Thread(target=work, name="server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{port.result(_BOUND_SECONDS)}"
    finally:
        for loop, stop in ending:
            if thread.is_alive():
                loop.call_soon_threadsafe(stop.set)
        thread.join(_BOUND_SECONDS)
        assert not thread.is_alive()


@contextmanager
def admin_listener(environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the admin API of a migrated database as the environment configures it; yield its URL."""

    async def serve(tell: Tell, stop: asyncio.Event) -> None:
        own = {"AUTHPLANE_ADMIN_API_KEY": API_KEY, "AUTHPLANE_SESSION_SECRET": "a secret of the tests, long enough"}
        config = load_config(None, {**environment, **own}).config
        # What commands print is not mixed with what the server logs.
        configure_logging(stream=io.BytesIO())
        core = await open_core(config, clock=Clock(), migrate=False)
        await core.mode.refresh()
        keyring = await open_keys(config, now=core.clock(), core=core)
        server = await build_server(core, keyring)
        await serve_listeners(
            [Listener(app=server.admin, address="127.0.0.1:0", name="admin")],
            shutdown_wait=1,
            idle_timeout=1,
            stop=stop,
            on_started=lambda addresses: tell(addresses[0][1]),
        )
        await server.traces.close()
        await core.trail.flush()
        await keyring.close()
        await core.close()

    with _beside(serve) as url:
        yield url


@contextmanager
def answering(answer: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """Answer whatever is sent with these bytes, over TLS if asked; yield the URL, and what was sent."""
    received: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            connection.settimeout(_BOUND_SECONDS)
            # Who does not like the certificate, or what is answered, goes.
            with contextlib.suppress(OSError), connection if tls is None else _wrapped(connection, tls) as peer:
                received.append(peer.recv(_MOST_BYTES))
                peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, name="stranger")
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}", received
        finally:
            # Wakes who waits for a connection.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(_BOUND_SECONDS)
            assert not thread.is_alive()


@contextmanager
def _wrapped(connection: socket.socket, tls: ssl.SSLContext) -> Iterator[socket.socket]:
    with connection, tls.wrap_socket(connection, server_side=True) as peer:
        yield peer
