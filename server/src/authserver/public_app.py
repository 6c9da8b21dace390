"""What the public listener serves, put together: a bill of materials."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

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
from authserver.config.model import Config
from authserver.core import Core
from authserver.discovery.capabilities import CurrentCapabilities
from authserver.discovery.key_set import KeySet
from authserver.discovery.routes import DiscoveryRoutes, HealthRoutes, document_routes
from authserver.keys.keyring import Keyring
from authserver.login.local import LocalLogin
from authserver.login.lockout import Lockout
from authserver.login.nonces import LoginNonces
from authserver.login.routes import LoginPages
from authserver.login.sessions import Sessions
from authserver.login.shared_lockout import SharedLockout
from authserver.login.site import Site, site_of
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.fronting import FrontingLinks
from authserver.telemetry.installed import version
from authserver.telemetry.tracing import Tracer
from authserver.tokens.device_authorization import DeviceAuthorizationEndpoint, device_authorization_routes
from authserver.tokens.endpoint import TokenEndpoint
from authserver.tokens.families import Families
from authserver.tokens.grants.entry import Grant, GrantParts
from authserver.tokens.grants.table import build_grants
from authserver.tokens.introspection import IntrospectionEndpoint
from authserver.tokens.issuing import TokenIssuer
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.redemption import Redemption
from authserver.tokens.revocation import RevocationEndpoint
from authserver.tokens.routes import token_routes
from authserver.traces.recorder import TraceRecorder
from authserver.web.http import Route
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicParts:
    """What several endpoints of the public listener lean on.

    Attributes:
        policy: Who may register.
        clients: Finds the client of a request.
        checker: Checks what is asked for, with the browser or without.
    """

    core: Core
    keyring: Keyring
    limits: Limits
    site: Site
    catalog: ResourceCatalog
    fronting_links: FrontingLinks
    idps: IdpRegistry
    agents: AgentListing
    policy: RegistrationPolicy
    clients: ClientResolver
    authenticator: ClientAuthenticator
    sessions: Sessions
    consent_links: ConsentLinks
    checker: RequestChecker
    proofs: ProofChecker
    devices: Devices


def build_public_parts(core: Core, keyring: Keyring, limits: Limits) -> PublicParts:
    """Return the parts, each complete."""
    config, db = core.config, core.db
    site = site_of(config.server.issuer)
    catalog = ResourceCatalog(db)
    policy = RegistrationPolicy(
        core.mode,
        approved_redirects=config.dcr.approved_redirects,
        default_scope=config.oauth.default_client_scope,
    )
    rules = RequestRules(
        require_scope=config.oauth.require_scope,
        default_resource=config.oauth.default_resource,
        dpop_enabled=config.dpop.enabled,
    )
    return PublicParts(
        core=core,
        keyring=keyring,
        limits=limits,
        site=site,
        catalog=catalog,
        fronting_links=FrontingLinks(db),
        idps=IdpRegistry(db),
        agents=AgentListing(db),
        policy=policy,
        clients=_clients(core, policy, limits),
        authenticator=_authenticator(core, limits),
        sessions=Sessions(db, config.session, site=site),
        consent_links=ConsentLinks(config.session, issuer=config.server.issuer),
        checker=RequestChecker(catalog, rules),
        proofs=ProofChecker(db, catalog, config),
        devices=Devices(db=db, trail=core.trail, clock_ms=core.clock.milliseconds, config=config.device),
    )


def build_public_grants(parts: PublicParts) -> Mapping[str, Grant]:
    """Return the grants that are served, by their type."""
    core = parts.core
    families = Families(core.db, core.trail)
    issuer = TokenIssuer(
        parts.keyring, parts.catalog, issuer=core.config.server.issuer, clock_ms=core.clock.milliseconds
    )
    return build_grants(
        GrantParts(
            config=core.config,
            db=core.db,
            issuer=issuer,
            keyring=parts.keyring,
            catalog=parts.catalog,
            fronting_links=parts.fronting_links,
            consent_links=parts.consent_links,
            families=families,
            redemption=_redemption(parts, issuer, families),
            devices=parts.devices,
            proofs=parts.proofs,
            trail=core.trail,
            http=core.http,
            idps=parts.idps,
        )
    )


def build_public_app(
    parts: PublicParts,
    grants: Mapping[str, Grant],
    health: HealthRoutes,
    traces: TraceRecorder,
    tracer: Tracer | None,
) -> WebApp:
    """Return what clients and browsers reach.

    Args:
        parts: What it is made of.
        grants: By their type.
        health: Served here too.
        traces: Keeps refusals, unless that is switched off.
        tracer: Traces requests; None when they are not traced.
    """
    config, clock = parts.core.config, parts.core.clock
    routes = [
        *_discovery_routes(parts, grants),
        *health.routes(),
        *_token_routes(parts, grants),
        *registration_routes(
            Registration(parts.core.db, parts.core.trail, parts.core.secrets, parts.policy, parts.core.served),
            parts.limits.registrations,
            clock=clock,
            root_alias=config.server.root_aliases,
        ),
        *_page_routes(parts),
    ]
    if config.server.openapi:
        routes += document_routes(version())
    if config.device.enabled:
        routes += _device_routes(parts)
    return WebApp(
        routes,
        issuer=config.server.issuer,
        allowed_origins=config.server.allowed_origins,
        trusted_proxies=config.server.trusted_proxies,
        is_secure=config.session.secure,
        limits=parts.limits.requests,
        component="http",
        keep_refusal=traces.put if config.traces.enabled else None,
        tracer=tracer,
        joins_traces=True,
    )


def _clients(core: Core, policy: RegistrationPolicy, limits: Limits) -> ClientResolver:
    cimd = core.config.cimd
    documents = MetadataDocuments(core.http, cimd, core.served) if cimd.enabled else None
    return ClientResolver(core.db, core.trail, documents, policy, forget_approved_redirects, limits.registrations)


def _authenticator(core: Core, limits: Limits) -> ClientAuthenticator:
    keys = ClientKeys(core.http, core.config.cimd)
    assertions = ClientAssertions(core.db, keys, issuer=core.config.server.issuer)
    return ClientAuthenticator(core.db, core.secrets, assertions, limits.clients)


def _redemption(parts: PublicParts, issuer: TokenIssuer, families: Families) -> Redemption:
    dcr = parts.core.config.dcr
    return Redemption(
        db=parts.core.db,
        issuer=issuer,
        catalog=parts.catalog,
        families=families,
        proofs=parts.proofs,
        trail=parts.core.trail,
        token_lifetime=dcr.default_token_expiry,
        refresh_lifetime=dcr.default_refresh_expiry,
    )


def _discovery_routes(parts: PublicParts, grants: Mapping[str, Grant]) -> list[Route]:
    core, config = parts.core, parts.core.config
    return DiscoveryRoutes(
        issuer=config.server.issuer,
        key_set=KeySet(keyring=parts.keyring, agents=parts.agents if config.agents.enable_jwks_listing else None),
        catalog=parts.catalog,
        capabilities=CurrentCapabilities(config, parts.catalog, core.mode, grant_types=tuple(grants)),
        binds_tokens=config.dpop.enabled,
        clock=core.clock,
    ).routes()


def _token_routes(parts: PublicParts, grants: Mapping[str, Grant]) -> list[Route]:
    core, server = parts.core, parts.core.config.server
    authenticator = parts.authenticator
    return token_routes(
        TokenEndpoint(grants, authenticator, parts.proofs, core.trail),
        IntrospectionEndpoint(core.db, server.issuer, parts.keyring, authenticator, parts.catalog, core.trail),
        RevocationEndpoint(core.db, server.issuer, parts.keyring, authenticator, core.trail),
        clock=core.clock,
        root_aliases=server.root_aliases,
    )


def _page_routes(parts: PublicParts) -> list[Route]:
    """Return the pages on which users sign in and allow."""
    core, config = parts.core, parts.core.config
    site, clock, sessions, catalog = parts.site, core.clock, parts.sessions, parts.catalog
    decisions = Decisions(db=core.db, trail=core.trail, clock_ms=clock.milliseconds)
    linked = LinkedConsent(
        site=site, clock=clock, links=parts.consent_links, decisions=decisions, sessions=sessions, catalog=catalog
    )
    pages = AuthorizationPages(
        issuer=config.server.issuer,
        site=site,
        clock=clock,
        clients=parts.clients,
        checker=parts.checker,
        decisions=decisions,
        sessions=sessions,
        demands=SignInDemands(config.session),
        catalog=catalog,
        linked=linked,
    )
    local = LocalLogin(core.db, core.accounts, core.trail, parts.limits.lockout)
    login = LoginPages(
        local if config.oidc.show_local_login else None,
        sessions,
        LoginNonces(config.session, site=site),
        site=site,
        clock=clock,
    )
    return [*pages.routes(), *login.routes()]


def _device_routes(parts: PublicParts) -> list[Route]:
    clock, limits = parts.core.clock, parts.limits.devices
    pages = DevicePages(
        site=parts.site,
        clock=clock,
        devices=parts.devices,
        sessions=parts.sessions,
        catalog=parts.catalog,
        limits=limits,
    )
    endpoint = DeviceAuthorizationEndpoint(
        issuer=parts.core.config.server.issuer,
        clients=parts.clients,
        authenticator=parts.authenticator,
        checker=parts.checker,
        devices=parts.devices,
        limits=limits,
    )
    return [*pages.routes(), *device_authorization_routes(endpoint, clock=clock)]
