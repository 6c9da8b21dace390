"""Puts the server together: a bill of materials. With `core.py` below it, the only module that knows all the parts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from authserver.admin.access import Access
from authserver.admin.parts import AdminParts
from authserver.admin.routes import AdminRoutes
from authserver.admin.simulation import Simulator
from authserver.admin.token_inspection import TokenInspector
from authserver.audit.chain.sealing import Sealer
from authserver.audit.delivery.opening import open_destinations
from authserver.audit.delivery.sending import Courier
from authserver.audit.reading import AuditReading
from authserver.authorization.consent_store import forget_approved_redirects
from authserver.authorization.decisions import Decisions
from authserver.authorization.device_limits import DeviceLimits
from authserver.authorization.device_pages import DevicePages
from authserver.authorization.devices import Devices
from authserver.authorization.linked import LinkedConsent
from authserver.authorization.request import RequestChecker, RequestRules
from authserver.authorization.routes import AuthorizationPages
from authserver.authorization.sign_in import SignInDemands
from authserver.authorization.tickets import ConsentLinks
from authserver.clients.agents import AgentListing
from authserver.clients.assertions import ClientAssertions
from authserver.clients.authentication import ClientAuthenticator
from authserver.clients.client_keys import ClientKeys
from authserver.clients.limits import ClientRates, RegistrationLimits
from authserver.clients.lookup import ClientResolver
from authserver.clients.metadata_documents import MetadataDocuments
from authserver.clients.registration import Registration, RegistrationPolicy
from authserver.clients.routes import registration_routes
from authserver.config.loader import process_environment
from authserver.config.model import Config
from authserver.core import Core, administer_keys
from authserver.discovery.capabilities import CurrentCapabilities
from authserver.discovery.key_set import KeySet
from authserver.discovery.routes import DiscoveryRoutes, HealthRoutes, document_routes
from authserver.discovery.scraping import ScrapeRoutes
from authserver.keys.keyring import Keyring
from authserver.keys.keystore import TOPIC as SIGNING_KEYS
from authserver.keys.statements import KeyringSigner
from authserver.login.local import LocalLogin
from authserver.login.lockout import Lockout
from authserver.login.nonces import LoginNonces
from authserver.login.routes import LoginPages
from authserver.login.sessions import Sessions
from authserver.login.shared_lockout import SharedLockout
from authserver.login.site import site_of
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.fronting import FrontingLinks
from authserver.storage.changes import ChangeWatcher
from authserver.telemetry.installed import version
from authserver.tokens.device_authorization import DeviceAuthorizationEndpoint, device_authorization_routes
from authserver.tokens.endpoint import TokenEndpoint
from authserver.tokens.families import Families
from authserver.tokens.grants.entry import GrantParts
from authserver.tokens.grants.table import build_grants
from authserver.tokens.introspection import IntrospectionEndpoint
from authserver.tokens.issuing import TokenIssuer
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.redemption import Redemption
from authserver.tokens.revocation import RevocationEndpoint
from authserver.tokens.routes import token_routes
from authserver.traces.recorder import TraceRecorder
from authserver.web.http import ErrorShape, Route
from authserver.web.limits import Buckets, MakeBuckets, TokenBuckets
from authserver.web.server import WebApp
from authserver.web.shared_limits import SharedBuckets
from authserver.xaa.registry import IdpRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often who may do what; made before worker processes part, so that they count together.

    Attributes:
        requests: For each address, every request; None when that is not limited.
    """

    requests: Buckets | None
    clients: ClientRates
    registrations: RegistrationLimits
    devices: DeviceLimits
    lockout: Lockout | SharedLockout


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server ready to listen.

    Attributes:
        watcher: Has the changes of other processes obeyed; to be run beside the listeners.
        traces: Keeps refusals; to be closed before the database.
        sealer: Seals the audit trail; to be run beside the listeners, and asked once more in the end.
        couriers: Deliver it; to be run beside the listeners.
    """

    public: WebApp
    admin: WebApp
    watcher: ChangeWatcher
    traces: TraceRecorder
    sealer: Sealer
    couriers: Sequence[Courier]


def build_limits(config: Config, *, are_shared: bool) -> Limits:
    """Return the limits, of this process or of all that it forks from here on."""
    make: MakeBuckets = SharedBuckets if are_shared else TokenBuckets
    rates = config.rate_limit
    return Limits(
        requests=make(rate=rates.requests_per_second, burst=rates.burst) if rates.enabled else None,
        clients=ClientRates(rates, monotonic=time.monotonic, make=make),
        registrations=RegistrationLimits(config.dcr, monotonic=time.monotonic, make=make),
        devices=DeviceLimits(monotonic=time.monotonic, make=make),
        lockout=SharedLockout(rates) if are_shared else Lockout(rates),
    )


async def build_server(core: Core, keyring: Keyring, limits: Limits | None = None) -> Server:
    """Wire every part to what it needs.

    Args:
        core: Opened.
        keyring: Signs.
        limits: Those that several processes share; None makes some for this one.
    """
    limits = limits or build_limits(core.config, are_shared=False)
    config, clock, db, trail = core.config, core.clock, core.db, core.trail
    site = site_of(config.server.issuer)
    destinations = open_destinations(config.audit, core.http, process_environment(), issuer=config.server.issuer)
    catalog, idps = ResourceCatalog(db), IdpRegistry(db)
    fronting_links = FrontingLinks(db)
    consent_links = ConsentLinks(config.session, issuer=config.server.issuer)
    policy = RegistrationPolicy(
        core.mode,
        approved_redirects=config.dcr.approved_redirects,
        default_scope=config.oauth.default_client_scope,
    )
    http = core.http
    documents = MetadataDocuments(http, config.cimd, core.served) if config.cimd.enabled else None
    resolver = ClientResolver(db, trail, documents, policy, forget_approved_redirects, limits.registrations)
    assertions = ClientAssertions(db, ClientKeys(http, config.cimd), issuer=config.server.issuer)
    authenticator = ClientAuthenticator(db, core.secrets, assertions, limits.clients)
    sessions = Sessions(db, config.session, site=site)
    issuer = TokenIssuer(keyring, catalog, issuer=config.server.issuer, clock_ms=clock.milliseconds)
    proofs = ProofChecker(db, catalog, config)
    devices = Devices(db=db, trail=trail, clock_ms=clock.milliseconds, config=config.device)
    families = Families(db, trail)
    grants = build_grants(
        GrantParts(
            config=config,
            db=db,
            issuer=issuer,
            keyring=keyring,
            catalog=catalog,
            fronting_links=fronting_links,
            consent_links=consent_links,
            families=families,
            redemption=Redemption(
                db=db,
                issuer=issuer,
                catalog=catalog,
                families=families,
                proofs=proofs,
                trail=trail,
                token_lifetime=config.dcr.default_token_expiry,
                refresh_lifetime=config.dcr.default_refresh_expiry,
            ),
            devices=devices,
            proofs=proofs,
            trail=trail,
            http=http,
            idps=idps,
        )
    )

    health = HealthRoutes(db=db, clock=clock)
    checker = RequestChecker(
        catalog,
        RequestRules(
            require_scope=config.oauth.require_scope,
            default_resource=config.oauth.default_resource,
            dpop_enabled=config.dpop.enabled,
        ),
    )
    decisions = Decisions(db=db, trail=trail, clock_ms=clock.milliseconds)
    pages = AuthorizationPages(
        issuer=config.server.issuer,
        site=site,
        clock=clock,
        clients=resolver,
        checker=checker,
        decisions=decisions,
        sessions=sessions,
        demands=SignInDemands(config.session),
        catalog=catalog,
        linked=LinkedConsent(
            site=site, clock=clock, links=consent_links, decisions=decisions, sessions=sessions, catalog=catalog
        ),
    )
    login = LoginPages(
        LocalLogin(db, core.accounts, trail, limits.lockout) if config.oidc.show_local_login else None,
        sessions,
        LoginNonces(config.session, site=site),
        site=site,
        clock=clock,
    )
    agents = AgentListing(db)
    discovery = DiscoveryRoutes(
        issuer=config.server.issuer,
        key_set=KeySet(keyring=keyring, agents=agents if config.agents.enable_jwks_listing else None),
        catalog=catalog,
        capabilities=CurrentCapabilities(config, catalog, core.mode, grant_types=tuple(grants)),
        binds_tokens=config.dpop.enabled,
        clock=clock,
    )
    registration = Registration(db, trail, core.secrets, policy, core.served)
    routes = [
        *discovery.routes(),
        *health.routes(),
        *token_routes(
            TokenEndpoint(grants, authenticator, proofs, trail),
            IntrospectionEndpoint(db, config.server.issuer, keyring, authenticator, catalog, trail),
            RevocationEndpoint(db, config.server.issuer, keyring, authenticator, trail),
            clock=clock,
            root_aliases=config.server.root_aliases,
        ),
        *registration_routes(
            registration,
            limits.registrations,
            clock=clock,
            root_alias=config.server.root_aliases,
        ),
        *pages.routes(),
        *login.routes(),
    ]
    if config.server.openapi:
        routes += document_routes(version())
    if config.device.enabled:
        routes += [
            *DevicePages(
                site=site, clock=clock, devices=devices, sessions=sessions, catalog=catalog, limits=limits.devices
            ).routes(),
            *device_authorization_routes(
                DeviceAuthorizationEndpoint(
                    issuer=config.server.issuer,
                    clients=resolver,
                    authenticator=authenticator,
                    checker=checker,
                    devices=devices,
                    limits=limits.devices,
                ),
                clock=clock,
            ),
        ]
    watcher = ChangeWatcher(db)
    watcher.register("resources", catalog.refresh)
    watcher.register("xaa", idps.refresh)
    watcher.register("resources", fronting_links.refresh)
    watcher.register("settings", core.mode.refresh)
    if config.agents.enable_jwks_listing:
        watcher.register("clients", agents.refresh)
    watcher.register(SIGNING_KEYS, lambda: keyring.obey(clock()))
    watcher.register_tick(lambda: keyring.refresh(clock()))
    traces = TraceRecorder(db, config.traces, clock=clock)
    watcher.register_tick(traces.tick)
    return Server(
        public=_public_app(config, routes, limits, traces if config.traces.enabled else None),
        admin=_admin_app(core, keyring, Simulator(db, checker, grants), health),
        watcher=watcher,
        traces=traces,
        sealer=Sealer(db, KeyringSigner(keyring), clock.milliseconds),
        couriers=[Courier(db, destination, clock) for destination in destinations],
    )


def _public_app(config: Config, routes: list[Route], limits: Limits, traces: TraceRecorder | None) -> WebApp:
    return WebApp(
        routes,
        issuer=config.server.issuer,
        allowed_origins=config.server.allowed_origins,
        trusted_proxies=config.server.trusted_proxies,
        is_secure=config.session.secure,
        limits=limits.requests,
        component="http",
        keep_refusal=traces.put if traces is not None else None,
    )


def _admin_parts(core: Core, keyring: Keyring, simulator: Simulator) -> AdminParts:
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


def _admin_app(core: Core, keyring: Keyring, simulator: Simulator, health: HealthRoutes) -> WebApp:
    """Return what the admin listener serves: health, metrics and the admin API."""
    config, db, parts = core.config, core.db, _admin_parts(core, keyring, simulator)
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
