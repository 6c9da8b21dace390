"""Puts the server together: with the modules of its two listeners and `core.py` below it, all that know the parts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from authserver.admin.simulation import Simulator
from authserver.admin_app import build_admin_app
from authserver.audit.chain.sealing import Sealer
from authserver.audit.delivery.opening import open_destinations
from authserver.audit.delivery.sending import Courier
from authserver.config.loader import process_environment
from authserver.core import Core
from authserver.discovery.figures import Figures
from authserver.discovery.routes import HealthRoutes
from authserver.keys.keyring import Keyring
from authserver.keys.keystore import TOPIC as SIGNING_KEYS
from authserver.keys.statements import KeyringSigner
from authserver.public_app import (
    Limits,
    PublicParts,
    build_limits,
    build_public_app,
    build_public_grants,
    build_public_parts,
)
from authserver.storage.changes import ChangeWatcher
from authserver.telemetry.tracing import Tracer
from authserver.traces.recorder import TraceRecorder
from authserver.web.server import WebApp


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server ready to listen.

    Attributes:
        watcher: Has the changes of other processes obeyed; to be run beside the listeners.
        traces: Keeps refusals; to be closed before the database.
        sealer: Seals the audit trail; to be run beside the listeners, and asked once more in the end.
        couriers: Deliver it; to be run beside the listeners.
        figures: Keeps the gauges fresh; to be run where somebody is told the metrics without asking.
    """

    public: WebApp
    admin: WebApp
    watcher: ChangeWatcher
    traces: TraceRecorder
    sealer: Sealer
    couriers: Sequence[Courier]
    figures: Figures


async def build_server(
    core: Core, keyring: Keyring, limits: Limits | None = None, tracer: Tracer | None = None
) -> Server:
    """Wire every part to what it needs.

    Args:
        core: Opened.
        keyring: Signs.
        limits: Those that several processes share; None makes some for this one.
        tracer: Traces requests; None when they are not traced.
    """
    couriers = _couriers(core)
    parts = build_public_parts(core, keyring, limits or build_limits(core.config, are_shared=False))
    grants = build_public_grants(parts)
    health = HealthRoutes(db=core.db, clock=core.clock)
    simulator = Simulator(core.db, parts.checker, grants)
    figures = Figures(
        db=core.db, destinations=core.config.audit.destinations, clock=core.clock, monotonic=time.monotonic
    )
    traces = TraceRecorder(core.db, core.config.traces, clock=core.clock)
    return Server(
        public=build_public_app(parts, grants, health, traces, tracer),
        admin=build_admin_app(core, keyring, simulator, figures=figures, tracer=tracer),
        watcher=_watcher(parts, traces),
        traces=traces,
        sealer=Sealer(core.db, KeyringSigner(keyring), core.clock.milliseconds),
        couriers=couriers,
        figures=figures,
    )


def _couriers(core: Core) -> list[Courier]:
    config = core.config
    destinations = open_destinations(config.audit, core.http, process_environment(), issuer=config.server.issuer)
    return [Courier(core.db, destination, core.clock) for destination in destinations]


def _watcher(parts: PublicParts, traces: TraceRecorder) -> ChangeWatcher:
    """Return who has each part obey the changes that concern it."""
    core, keyring = parts.core, parts.keyring
    watcher = ChangeWatcher(core.db)
    watcher.register("resources", parts.catalog.refresh)
    watcher.register("xaa", parts.idps.refresh)
    watcher.register("resources", parts.fronting_links.refresh)
    watcher.register("settings", core.mode.refresh)
    if core.config.agents.enable_jwks_listing:
        watcher.register("clients", parts.agents.refresh)
    watcher.register(SIGNING_KEYS, lambda: keyring.obey(core.clock()))
    watcher.register_tick(lambda: keyring.refresh(core.clock()))
    watcher.register_tick(traces.tick)
    return watcher
