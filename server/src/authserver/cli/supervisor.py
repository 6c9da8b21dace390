"""Several workers on one port: what they share is made here, before they part."""

import asyncio
import gc
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from authserver.cli.explained import explain
from authserver.cli.worker_group import BEAT_SECONDS, READY, WorkerGroup, beat
from authserver.config.loader import LoadedConfig
from authserver.config.model import Config
from authserver.config.workers import shared_between
from authserver.telemetry.exporting import Exports, exporting, new_instance
from authserver.telemetry.logs import get_logger, name_worker
from authserver.telemetry.sharing import share_metrics, use_share

if TYPE_CHECKING:
    from authserver.public_app import Limits
    from authserver.web.run import Listener

_log = get_logger("main")

# A worker needs one connection to write and one to read.
_LEAST_CONNECTIONS = 2


def supervise(loaded: LoadedConfig, config: Config, count: int) -> None:
    """Serve with several workers until told to stop.

    Args:
        loaded: As loaded, for what the log says about it.
        config: What the workers run on, the session secret in it: they must agree.
        count: How many, at least two.

    Raises:
        ConfigError: A feature is half configured.
        ListenError: A listener cannot be opened.
        WorkersFailed: No worker could be started.
    """
    directory = Path(tempfile.mkdtemp(prefix="authserver-metrics-"))
    try:
        # Before anything imports an instrument: what this module needs of the web is imported where it is used.
        share_metrics(directory, count)
        _supervise(loaded, _for_each(config, count), count, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _supervise(loaded: LoadedConfig, config: Config, count: int, directory: Path) -> None:
    from authserver.cli import serving  # noqa: PLC0415  so does this
    from authserver.public_app import build_limits  # noqa: PLC0415  imports the instruments
    from authserver.telemetry.metrics import create_shares  # noqa: PLC0415  is where they are
    from authserver.web.run import bind  # noqa: PLC0415  counts connections

    create_shares()
    # Of the supervisor, which exports nothing: a thread would not survive in what it forks.
    serving.begin_log(config)
    serving.announce(loaded)
    with WorkerGroup(count, shutdown_wait=config.server.shutdown_wait) as group:
        status = group.run_once(lambda _number, _channel: _explained(lambda: asyncio.run(serving.prepare_once(config))))
        if status != 0:
            # It has said why.
            sys.exit(1)
        listeners = [serving.public_listener(config)]
        if config.admin.enabled:
            listeners.append(serving.admin_listener(config))
        listeners = [replace(listener, sock=bind(listener)) for listener in listeners]
        work = _Work(config, listeners, directory, build_limits(config, are_shared=True), new_instance())
        # What is there now is shared by all; collecting garbage in a worker must not copy it.
        gc.collect()
        gc.freeze()
        group.run(
            work.main,
            on_started=lambda: serving.log_listening(_addresses(listeners)),
            on_stopping=lambda: _close(listeners),
        )
    _log.info("stopped gracefully")


@dataclass(frozen=True, slots=True)
class _Work:
    """What each worker inherits, and does."""

    config: Config
    listeners: "list[Listener]"
    directory: Path
    limits: "Limits"
    instance: str

    def main(self, number: int, channel: socket.socket) -> int:
        """Serve until told to stop; return the exit code."""
        use_share(number)
        name_worker(number)
        return _explained(lambda: self._run(number, channel))

    def _run(self, number: int, channel: socket.socket) -> None:
        with exporting(self.config.observability, instance=self.instance, worker=number) as exports:
            uvloop.run(self._serve(number, channel, exports))

    async def _serve(self, number: int, channel: socket.socket, exports: Exports) -> None:
        from authserver.cli import serving  # noqa: PLC0415  loaded long ago

        stop = asyncio.Event()

        def end_alone() -> None:
            """Follow the supervisor, which says nothing but closes its end when it dies."""
            _log.error("the supervisor is gone, shutting down")
            asyncio.get_running_loop().remove_reader(channel)
            shutil.rmtree(self.directory, ignore_errors=True)
            stop.set()

        def started(_addresses: list[tuple[str, int]]) -> None:
            channel.send(READY)
            go_on()

        def go_on() -> None:
            beat(channel)
            asyncio.get_running_loop().call_later(BEAT_SECONDS, go_on)

        asyncio.get_running_loop().add_reader(channel, end_alone)
        async with serving.opened(self.config, migrate=False) as core:
            keyring, server = await serving.build(core, self.limits, exports)
            apps = (server.public, server.admin)
            listeners = [replace(listener, app=app) for listener, app in zip(self.listeners, apps, strict=False)]
            # The operators' listener lives in the first worker, and in whoever takes its place.
            for listener in listeners[1:] if number else ():
                _close([listener])
            await serving.run(
                core,
                keyring,
                server,
                listeners[:1] if number else listeners,
                exports=exports,
                started=started,
                stop=stop,
            )


def _explained(work: Callable[[], None]) -> int:
    """Do a process's work; return its exit code, after one line on stderr for a failure that has an explanation."""
    try:
        work()
    except Exception as exc:
        message = explain(exc)
        if message is None:
            raise
        sys.stderr.write(f"error: {message}\n")
        return 1
    return 0


def _for_each(config: Config, count: int) -> Config:
    """Return the configuration of one worker: the connections of the server are shared out."""
    limits = config.storage.postgres
    postgres = replace(
        limits,
        max_conns=shared_between(limits.max_conns, count, least=_LEAST_CONNECTIONS),
        min_conns=shared_between(limits.min_conns, count, least=1),
    )
    return replace(config, storage=replace(config.storage, postgres=postgres))


def _addresses(listeners: "list[Listener]") -> list[tuple[str, int]]:
    return [listener.sock.getsockname()[:2] for listener in listeners if listener.sock is not None]


def _close(listeners: "list[Listener]") -> None:
    for listener in listeners:
        if listener.sock is not None:
            listener.sock.close()
