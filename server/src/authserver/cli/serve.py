"""``authserver serve``: starts the listeners, passes signals on, drains."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable

import click

from authserver.app import Clock, Core, Server, build_server, open_core, open_keys
from authserver.cli.installed import version
from authserver.config.features import check_features
from authserver.config.loader import LoadedConfig, load_config, with_session_secret
from authserver.config.model import Config
from authserver.config.notices import Notice, registration_notices
from authserver.keys.keyring import Keyring
from authserver.maintenance.seed import seed_resources
from authserver.resources.records import BackendKind
from authserver.resources.store import find_resource_by_slug
from authserver.telemetry.logs import configure_logging, get_logger
from authserver.web.run import Listener, serve_listeners

_log = get_logger("main")


@click.command("serve")
@click.pass_obj
def command(config_path: str | None) -> None:
    """Run the server until SIGINT or SIGTERM; SIGHUP reloads the signing keys."""
    run_server(load_config(config_path))


def run_server(loaded: LoadedConfig, *, on_started: Callable[[Core], None] | None = None) -> None:
    """Serve until told to stop.

    Args:
        loaded: The configuration.
        on_started: Is called on the loop once all listeners answer.
    """
    # Imported here: the other commands run on the standard loop.
    import uvloop  # noqa: PLC0415

    uvloop.run(_serve(loaded, on_started))


async def _serve(loaded: LoadedConfig, on_started: Callable[[Core], None] | None) -> None:
    """Start in the order of cli.md §3, serve, drain."""
    config = with_session_secret(loaded.config)
    logging = config.observability.logging
    configure_logging(
        level=logging.level, line_format="text" if logging.format == "text" else "json", add_source=logging.add_source
    )
    _log.info("starting authserver", version=version(), issuer=config.server.issuer, address=config.server.address)
    _say(loaded.notices)
    _log.info(check_features(config))
    core = await open_core(config, clock=Clock(), migrate=True)
    try:
        keyring = await open_keys(config, now=core.clock())
        await seed_resources(core.db, core.resources, config.resources, now=core.clock())
        await core.mode.refresh()
        _say(registration_notices(config, core.mode.current))
        await _check_default_resource(core)
        server = await build_server(core, keyring)
        await _run(config, core, keyring, server, on_started)
    finally:
        await core.trail.flush()
        await core.db.close()
    _log.info("stopped gracefully")


async def _run(
    config: Config, core: Core, keyring: Keyring, server: Server, on_started: Callable[[Core], None] | None
) -> None:
    stop = asyncio.Event()
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
    listeners = [Listener(app=server.public, address=config.server.address, name="public")]
    if config.admin.enabled:
        listeners.append(Listener(app=server.admin, address=config.admin.address, name="admin"))

    def started(addresses: list[tuple[str, int]]) -> None:
        for host, port in addresses:
            _log.info("http server listening", address=f"{host}:{port}")
        if on_started is not None:
            on_started(core)

    await server.watcher.start()
    # Once more, now that later changes are watched: one could have come in between.
    await core.mode.refresh()
    watch = asyncio.create_task(server.watcher.run())
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
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


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
