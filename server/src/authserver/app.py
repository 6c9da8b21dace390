"""Puts the server together: a bill of materials. The only module that knows all the parts, and that reads the clock."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from authserver.audit.trail import AuditTrail
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
from authserver.clients.administration import ClientAdministration, ClientTokens
from authserver.clients.agents import AgentListing
from authserver.clients.assertions import ClientAssertions
from authserver.clients.authentication import ClientAuthenticator
from authserver.clients.client_keys import ClientKeys
from authserver.clients.limits import ClientRates, RegistrationLimits
from authserver.clients.lookup import ClientResolver
from authserver.clients.metadata_documents import MetadataDocuments
from authserver.clients.mode import DcrMode, RegistrationMode
from authserver.clients.registration import Registration, RegistrationPolicy
from authserver.clients.routes import registration_routes
from authserver.clients.secrets import ClientSecrets
from authserver.clients.served import ServedMetadata
from authserver.clients.store import find_client
from authserver.config.model import Config
from authserver.discovery.key_set import KeySet
from authserver.discovery.metadata import Capabilities
from authserver.discovery.routes import DiscoveryRoutes, HealthRoutes
from authserver.discovery.scraping import ScrapeRoutes
from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keyring import Keyring, open_keyring
from authserver.keys.keystore import retention_seconds
from authserver.login.local import LocalLogin
from authserver.login.lockout import Lockout
from authserver.login.nonces import LoginNonces
from authserver.login.routes import LoginPages
from authserver.login.sessions import Sessions
from authserver.login.shared_lockout import SharedLockout
from authserver.login.site import site_of
from authserver.outbound.client import OutboundClient
from authserver.protocol.jose import Algorithm
from authserver.resources.administration import ResourceAdministration
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.fronting import FrontingLinks
from authserver.resources.fronting_administration import FrontingAdministration
from authserver.storage.changes import ChangeWatcher
from authserver.storage.database import Database, Reader, StorageUnavailable
from authserver.storage.opening import open_database
from authserver.tokens.consent_revocation import ConsentRevocation
from authserver.tokens.device_authorization import DeviceAuthorizationEndpoint, device_authorization_routes
from authserver.tokens.endpoint import TokenEndpoint
from authserver.tokens.families import Families
from authserver.tokens.grants.entry import GrantParts
from authserver.tokens.grants.table import ENABLING_VARIABLES, build_grants, served_grants
from authserver.tokens.introspection import IntrospectionEndpoint
from authserver.tokens.issuing import TokenIssuer
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.redemption import Redemption
from authserver.tokens.revocation import RevocationEndpoint
from authserver.tokens.routes import token_routes
from authserver.tokens.withdrawal import Withdrawal
from authserver.traces.recorder import TraceRecorder
from authserver.users.accounts import Accounts, UserTokens
from authserver.users.passwords import Passwords
from authserver.users.store import find_user
from authserver.web.http import Route
from authserver.web.limits import Buckets, MakeBuckets, TokenBuckets
from authserver.web.server import WebApp
from authserver.web.shared_limits import SharedBuckets
from authserver.xaa.administration import IdpAdministration
from authserver.xaa.policy_administration import MappingAdministration, PolicyAdministration
from authserver.xaa.provider_keys import ProviderKeys
from authserver.xaa.registry import IdpRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time, in the two units that are asked for."""

    milliseconds: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def __call__(self) -> int:
        """Return seconds since the epoch."""
        return self.milliseconds() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What the server and the command line share: the database and what operators may do to it."""

    config: Config
    clock: Clock
    db: Database
    trail: AuditTrail
    mode: RegistrationMode
    accounts: Accounts
    clients: ClientAdministration
    resources: ResourceAdministration
    idps: IdpAdministration
    xaa_policies: PolicyAdministration
    subject_mappings: MappingAdministration
    fronting: FrontingAdministration
    consents: ConsentRevocation
    secrets: ClientSecrets
    served: ServedMetadata
    http: OutboundClient


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
    """

    public: WebApp
    admin: WebApp
    watcher: ChangeWatcher
    traces: TraceRecorder


async def open_core(config: Config, *, clock: Clock, migrate: bool, http: OutboundClient | None = None) -> Core:
    """Open the database, with pending migrations applied if asked, and what operators work with.

    Args:
        config: The configuration.
        clock: The time.
        migrate: Whether pending migrations are applied.
        http: Fetches what others publish; None makes one.

    Raises:
        MigrationError: A migration does not apply.
        StorageUnavailable: The database cannot be opened.
    """
    http = http or OutboundClient()
    db = await open_database(config.storage, migrate_at=clock() if migrate else None)
    trail = AuditTrail(db, clock.milliseconds)
    mode = RegistrationMode(db, trail, config.dcr.mode)
    secrets = ClientSecrets(config.client_secret_pepper)
    withdrawal = Withdrawal(refresh_lifetime=config.dcr.default_refresh_expiry)
    user_tokens = UserTokens(has_live=withdrawal.user_has_live, revoke_all=withdrawal.revoke_user)
    client_tokens = ClientTokens(has_live=withdrawal.client_has_live, revoke_all=withdrawal.revoke_client)
    served = ServedMetadata(
        grant_types=frozenset(served_grants(config)),
        enabling_variables=ENABLING_VARIABLES,
        binds_tokens=config.dpop.enabled,
    )

    async def client_exists(reader: Reader, client_id: str) -> bool:
        return await find_client(reader, client_id) is not None

    async def user_exists(reader: Reader, user_id: str) -> bool:
        return await find_user(reader, user_id) is not None

    keys = ProviderKeys(http, cache_ttl=config.xaa.jwks_cache_ttl)
    return Core(
        config=config,
        clock=clock,
        db=db,
        trail=trail,
        mode=mode,
        accounts=Accounts(db, trail, Passwords(), user_tokens),
        clients=ClientAdministration(db, trail, secrets, served, client_tokens),
        resources=ResourceAdministration(db, trail, client_exists),
        idps=IdpAdministration(db, trail, http, keys, own_issuer=config.server.issuer),
        xaa_policies=PolicyAdministration(db, trail),
        subject_mappings=MappingAdministration(db, trail, user_exists),
        fronting=FrontingAdministration(db=db, trail=trail),
        consents=ConsentRevocation(db=db, trail=trail),
        secrets=secrets,
        served=served,
        http=http,
    )


async def open_keys(config: Config, *, now: int) -> Keyring:
    """Open the signing keys; the first one is made when there is none.

    Raises:
        KeyStoreError: They cannot be read or written.
    """
    retention = retention_seconds(
        config.dcr.default_token_expiry,
        config.client_credentials.token_expiry,
        config.token_exchange.token_expiry,
        config.xaa.token_expiry,
    )
    algorithm: Algorithm = "RS256" if config.signing.algorithm == "RS256" else "ES256"
    store = KeyfileStore(Path(config.signing.key_path), algorithm=algorithm, retention=retention)
    return await open_keyring(store, now=now)


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

    def capabilities() -> Capabilities | Awaitable[Capabilities]:
        scopes = catalog.known_scope_names
        return capabilities_with(scopes) if scopes is not None else read_capabilities()

    async def read_capabilities() -> Capabilities:
        # Degrade rather than fail: a document without scopes still leads a client through (public API §16).
        try:
            return capabilities_with(await catalog.scope_names())
        except StorageUnavailable:
            return capabilities_with(())

    def capabilities_with(scopes: tuple[str, ...]) -> Capabilities:
        is_open = core.mode.current is not DcrMode.ADMIN_ONLY
        return Capabilities(
            grant_types=tuple(grants),
            scopes=scopes,
            registration_is_open=is_open,
            metadata_documents=config.cimd.enabled and is_open,
            binds_tokens=config.dpop.enabled,
            device_authorization=config.device.enabled,
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
        capabilities=capabilities,
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
    watcher.register_tick(lambda: keyring.refresh(clock()))
    traces = TraceRecorder(db, config.traces, clock=clock)
    watcher.register_tick(traces.tick)
    return Server(
        public=_public_app(config, routes, limits, traces if config.traces.enabled else None),
        admin=_admin_app(config, db, health),
        watcher=watcher,
        traces=traces,
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


def _admin_app(config: Config, db: Database, health: HealthRoutes) -> WebApp:
    """Return what the admin listener serves: health and metrics."""
    routes = health.routes()
    metrics = config.observability.metrics
    if metrics.provider in {"prometheus", "both"}:
        routes += ScrapeRoutes(db=db, path=metrics.path, monotonic=time.monotonic).routes()
    rate, burst = config.admin.requests_per_second, config.admin.burst
    return WebApp(
        routes,
        issuer=config.server.issuer,
        is_secure=config.session.secure,
        # Of this process: the listener lives in one worker.
        limits=TokenBuckets(rate=rate, burst=burst) if rate > 0 and burst > 0 else None,
        limited_by="admin.requests_per_second, admin.burst",
        component="admin-http",
    )
