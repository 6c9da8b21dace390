"""What the operators' listener serves, put together: metrics and the admin API."""

import time
from urllib.parse import urlsplit

from authserver.admin.access import Access
from authserver.admin.routes import AdminRoutes
from authserver.admin.simulation import Simulator
from authserver.core import Core, administer_keys, build_admin_parts
from authserver.discovery.figures import Figures
from authserver.discovery.scraping import ScrapeRoutes
from authserver.keys.administration import KeyAdministration
from authserver.keys.keyring import Keyring
from authserver.telemetry.tracing import Tracer
from authserver.web.http import ErrorShape
from authserver.web.limits import TokenBuckets
from authserver.web.server import WebApp


def build_admin_app(
    core: Core,
    keyring: Keyring,
    simulator: Simulator,
    *,
    figures: Figures,
    tracer: Tracer | None,
) -> WebApp:
    """Return what operators reach."""
    config = core.config
    keys = administer_keys(core, keyring)

    async def opened_keys() -> KeyAdministration:
        return keys

    parts = build_admin_parts(core, keys=opened_keys, simulator=lambda: simulator)
    access = Access(config.admin.api_key, core.operators, core.trail, clock=core.clock, monotonic=time.monotonic)
    base_path = urlsplit(config.server.issuer).path.rstrip("/")
    routes = AdminRoutes(parts=parts, access=access, base_path=base_path).routes()
    metrics = config.observability.metrics
    if metrics.provider in {"prometheus", "both"}:
        routes += ScrapeRoutes(figures=figures, path=metrics.path).routes()
    rate, burst = config.admin.requests_per_second, config.admin.burst
    return WebApp(
        routes,
        issuer=config.server.issuer,
        is_secure=config.session.secure,
        # Of this process: the listener lives in one worker.
        limits=TokenBuckets(rate=rate, burst=burst) if rate > 0 and burst > 0 else None,
        limited_by="admin.requests_per_second, admin.burst",
        component="admin-http",
        errors=ErrorShape.PROBLEM,
        tracer=tracer,
    )
