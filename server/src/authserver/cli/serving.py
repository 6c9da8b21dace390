"""Starts a server in this process, passes signals on, drains."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace

import uvloop

from authserver.app import Server, build_server
from authserver.config.features import State, check_features, self_check
from authserver.config.loader import LoadedConfig, with_session_secret
from authserver.config.model import Config
from authserver.config.notices import DEPRECATED, Notice, registration_notices
from authserver.core import Clock, Core, open_core, open_keys
from authserver.keys.keyring import Keyring
from authserver.maintenance.seed import seed_providers, seed_resources
from authserver.protocol.errors import SigningUnavailable
from authserver.public_app import Limits
from authserver.resources.records import BackendKind
from authserver.resources.store import find_resource_by_slug
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.exporting import Exports, exporting, new_instance
from authserver.telemetry.installed import version
from authserver.telemetry.logs import configure_logging, flush_logs, get_logger
from authserver.tokens.store import has_issued
from authserver.web.run import Listener, serve_listeners

_log = get_logger("main")

_LOG_GATHER_SECONDS = 0.05
_OBJECTS_BETWEEN_COLLECTIONS = 20_000

Started = Callable[[list[tuple[str, int]]], None]


def run_server(loaded: LoadedConfig, *, on_started: Callable[[Core], None] | None = None) -> None:
    """Serve in this process until told to stop.

    Args:
        loaded: The configuration.
        on_started: Is called on the loop once all listeners answer.
    """
    begin_log(loaded.config)
    with exporting(loaded.config.observability, instance=new_instance()) as exports:
        uvloop.run(_serve(loaded, exports, on_started))


def begin_log(config: Config) -> None:
    """Have lines go where the configuration says."""
    logging = config.observability.logging
    configure_logging(
        level=logging.level,
        line_format="text" if logging.format == "text" else "json",
        add_source=logging.add_source,
        gather_seconds=_LOG_GATHER_SECONDS,
    )


def announce(loaded: LoadedConfig) -> None:
    """Begin the log with what there is to say at a start, in its order.

    Raises:
        ConfigError: A feature is half configured.
    """
    config = loaded.config
    _log.info("starting authserver", version=version(), issuer=config.server.issuer, address=config.server.address)
    deprecations = [notice for notice in loaded.notices if notice.message == DEPRECATED]
    _say(notice for notice in loaded.notices if notice not in deprecations)
    _log.info(check_features(config))
    for feature in self_check(config):
        if feature.state is State.ENABLED:
            _log.info("feature enabled", feature=feature.name, detail=feature.detail)
    _say(deprecations)


def log_listening(addresses: Iterable[tuple[str, int]]) -> None:
    """Say where requests are taken from now on."""
    for host, port in addresses:
        _log.info("http server listening", address=f"{host}:{port}")


@contextlib.asynccontextmanager
async def opened(config: Config, *, migrate: bool) -> AsyncIterator[Core]:
    """Open what a server works with, and close it in the end."""
    core = await open_core(config, clock=Clock(), migrate=migrate)
    try:
        yield core
    finally:
        await core.trail.flush()
        await core.close()
        flush_logs()


async def prepare_once(config: Config) -> None:
    """Do what is to be done once before workers serve: migrations, the first key, the rows of the configuration."""
    async with opened(config, migrate=True) as core:
        await (await _prepare(core)).close()


async def build(core: Core, limits: Limits, exports: Exports) -> tuple[Keyring, Server]:
    """Put a worker's server together; all else was done before."""
    keyring = await open_keys(core.config, now=core.clock(), core=core)
    await core.mode.refresh()
    return keyring, await build_server(core, keyring, limits, exports.tracer)


async def _prepare(core: Core) -> Keyring:
    config = core.config
    # Keys are made in a thread, whose lines do not wait behind those that were gathered here.
    flush_logs()
    keyring = await open_keys(config, now=core.clock(), core=core)
    if keyring.is_new and await has_issued(core.db):
        _log.error("the signing keys are gone: what was issued before this start can no longer be verified")
    await seed_providers(core.db, core.broker_providers, config.broker_providers, now=core.clock())
    await seed_resources(core.db, core.resources, core.broker_providers, config.resources, now=core.clock())
    await core.mode.refresh()
    _say(registration_notices(config, core.mode.current))
    await _check_default_resource(core)
    return keyring


def public_listener(config: Config) -> Listener:
    """Return the listener for clients, its application still missing."""
    return Listener(app=None, address=config.server.address, name="public")


def admin_listener(config: Config) -> Listener:
    """Return the listener for operators, its application still missing."""
    return Listener(app=None, address=config.admin.address, name="admin")


async def run(
    core: Core,
    keyring: Keyring,
    server: Server,
    listeners: Sequence[Listener],
    *,
    exports: Exports,
    started: Started,
    stop: asyncio.Event,
) -> None:
    """Serve until ``stop`` is set or a signal comes, then drain.

    Args:
        core: Opened.
        keyring: Reloaded at SIGHUP.
        server: What is served; its changes are watched meanwhile.
        listeners: Where.
        exports: What is told to collectors.
        started: Is told the addresses once all listeners answer.
        stop: Ends it.
    """
    config = core.config
    _obey_signals(core, keyring, stop)
    await server.watcher.start()
    # Once more, now that later changes are watched: one could have come in between.
    await core.mode.refresh()
    await keyring.obey(core.clock())
    work = [server.watcher.run(), server.sealer.run(), *(courier.run() for courier in server.couriers)]
    if exports.has_metrics:
        work.append(server.figures.run())
    tasks = [asyncio.create_task(each) for each in work]
    # What is there by now stays: looking through it again and again would hold up requests.
    gc.freeze()
    # Requests leave hardly anything that only a collection would free; one after every 700 objects, as Python would have it,
    # looks at those of all requests under way, again and again.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
    try:
        await serve_listeners(
            listeners,
            shutdown_wait=config.server.shutdown_wait,
            idle_timeout=config.server.idle_timeout,
            read_timeout=config.server.read_timeout,
            write_timeout=config.server.write_timeout,
            max_connections=config.server.max_connections,
            stop=stop,
            on_started=started,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await server.traces.close()
        await core.trail.flush()
        # What is left for another process, or the next start, is sealed then.
        with contextlib.suppress(StorageUnavailable, SigningUnavailable):
            await server.sealer.seal_all()
        await keyring.close()


def _obey_signals(core: Core, keyring: Keyring, stop: asyncio.Event) -> None:
    """Reload the keys at SIGHUP, set ``stop`` at SIGINT and SIGTERM."""
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        _log.info("SIGHUP received, reloading signing keys")
        task = asyncio.ensure_future(keyring.reload(core.clock()))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def finish() -> None:
        _log.info("shutting down")
        stop.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, finish)


async def _serve(loaded: LoadedConfig, exports: Exports, on_started: Callable[[Core], None] | None) -> None:
    """Start in the order of cli.md §3, serve, drain."""
    config = with_session_secret(loaded.config)
    announce(loaded)
    async with opened(config, migrate=True) as core:
        keyring = await _prepare(core)
        server = await build_server(core, keyring, tracer=exports.tracer)
        listeners = [replace(public_listener(config), app=server.public)]
        if config.admin.enabled:
            listeners.append(replace(admin_listener(config), app=server.admin))

        def started(addresses: list[tuple[str, int]]) -> None:
            log_listening(addresses)
            if on_started is not None:
                on_started(core)

        await run(core, keyring, server, listeners, exports=exports, started=started, stop=asyncio.Event())
    _log.info("stopped gracefully")


async def _check_default_resource(core: Core) -> None:
    """Warn of a default that names nothing (ruling R38): requests without ``resource`` will fail."""
    slug = core.config.oauth.default_resource
    if not slug:
        return
    resource = await find_resource_by_slug(core.db, slug)
    if resource is None or resource.backend_kind is not BackendKind.MINT:
        _log.warning("oauth.default_resource names no Mint resource", slug=slug)


def _say(notices: Iterable[Notice]) -> None:
    for notice in notices:
        getattr(_log, notice.level)(notice.message, **notice.fields)
