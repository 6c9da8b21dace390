"""What the operators' listener serves, put together: health, metrics and the admin API."""

import time
from urllib.parse import urlsplit

from authserver.admin.access import Access
from authserver.admin.parts import AdminParts
from authserver.admin.routes import AdminRoutes
from authserver.admin.simulation import Simulator
from authserver.admin.token_inspection import TokenInspector
from authserver.audit.reading import AuditReading
from authserver.core import Core, administer_keys
from authserver.discovery.routes import HealthRoutes
from authserver.discovery.scraping import ScrapeRoutes
from authserver.keys.keyring import Keyring
from authserver.telemetry.installed import version
from authserver.web.http import ErrorShape
from authserver.web.limits import TokenBuckets
from authserver.web.server import WebApp


def build_admin_app(core: Core, keyring: Keyring, simulator: Simulator, health: HealthRoutes) -> WebApp:
    """Return what operators reach."""
    config, db, parts = core.config, core.db, _parts(core, keyring, simulator)
    access = Access(config.admin.api_key, core.operators, core.trail, clock=core.clock, monotonic=time.monotonic)
    base_path = urlsplit(config.server.issuer).path.rstrip("/")
    routes = [*health.routes(), *AdminRoutes(parts=parts, access=access, base_path=base_path).routes()]
    metrics = config.observability.metrics
    if metrics.provider in {"prometheus", "both"}:
        routes += ScrapeRoutes(
            db=db,
            path=metrics.path,
            destinations=config.audit.destinations,
            clock=core.clock,
            monotonic=time.monotonic,
        ).routes()
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
    )


def _parts(core: Core, keyring: Keyring, simulator: Simulator) -> AdminParts:
    bounds = core.config.admin
    return AdminParts(
        config=core.config,
        db=core.db,
        clock=core.clock,
        clock_ms=core.clock.milliseconds,
        started_at=core.clock(),
        version=version(),
        trail=core.trail,
        audit=AuditReading(
            db=core.db, default_lookback=bounds.audit_default_lookback, max_lookback=bounds.audit_max_lookback
        ),
        keys=administer_keys(core, keyring),
        mode=core.mode,
        clients=core.clients,
        operators=core.operators,
        accounts=core.accounts,
        tokens=core.tokens,
        resources=core.resources,
        policy_lists=core.policy_lists,
        fronting=core.fronting,
        consents=core.consents,
        issuances=core.issuances,
        simulator=simulator,
        inspector=TokenInspector(db=core.db, keyring=keyring, issuer=core.config.server.issuer),
        idps=core.idps,
        xaa_policies=core.xaa_policies,
        subject_mappings=core.subject_mappings,
    )
