"""``/admin/stats``, ``/admin/system/…`` and ``/admin/auth/verify`` (admin API, 16)."""

from typing import NotRequired

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, endpoint
from authserver.admin.records import Role
from authserver.admin.system import Notice, find_notices, spell_all_units, spell_uptime
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.authorization.family_store import count_families_since
from authserver.broker.store import ACTIVE_GRANTS
from authserver.clients.store import ALL_CLIENTS
from authserver.keys.keystore import KeyStoreError
from authserver.storage.database import Reader, StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.tokens.machine_store import count_machine_tokens_since
from authserver.users.store import ALL_USERS

_log = get_logger("admin")

_DAY = 86_400


class Stats(TypedDict):
    """Some totals; those of tokens are since midnight, UTC, whatever they are called. Connections are active credentials."""

    clients: int
    users: int
    active_tokens_24h: int
    revoked_tokens: int
    connections: int


class Subsystem(TypedDict):
    """A part of the server, and whether it works."""

    name: str
    status: str
    driver: NotRequired[str]


class SystemStatus(TypedDict):
    """How the server is."""

    version: str
    uptime: str
    uptime_secs: int
    subsystems: list[Subsystem]


class Driver(TypedDict):
    """What does it; empty when nothing does."""

    driver: str


class SigningInfo(TypedDict):
    """How tokens are signed."""

    algorithm: str
    key_store: str


class Switch(TypedDict):
    """Whether it is on."""

    enabled: bool


class DpopInfo(TypedDict):
    """Proof of possession."""

    enabled: bool
    require_nonce: bool
    nonce_ttl: str


class ExchangeInfo(TypedDict):
    """Token exchange."""

    enabled: bool
    max_chain_depth: NotRequired[int]


class AgentsInfo(TypedDict):
    """Agents."""

    enabled: bool
    jwks_listing: bool


class DcrInfo(TypedDict):
    """Dynamic registration: the mode in force."""

    mode: str


class SystemConfig(TypedDict):
    """What of the configuration matters to the console; never a secret, a path or an address of a database."""

    issuer: str
    storage: Driver
    encryption: Driver
    signing: SigningInfo
    dcr: DcrInfo
    rate_limit: Switch
    client_credentials: Switch
    oidc: Switch
    dpop: DpopInfo
    token_exchange: ExchangeInfo
    agents: AgentsInfo
    notices: list[Notice]


class Verified(TypedDict):
    """The key is right."""

    valid: bool
    version: str


@endpoint("GET", "/admin/stats", role=Role.READ_ONLY)
async def get_stats(call: Call[None]) -> Stats:
    """Count clients, users, and today's tokens."""
    midnight = call.now - call.now % _DAY

    async def count(reader: Reader) -> tuple[int, int]:
        begun, ended = await count_families_since(reader, midnight)
        issued, revoked = await count_machine_tokens_since(reader, midnight)
        return begun + issued, ended + revoked

    active, revoked = await call.parts.db.survey(count)
    return Stats(
        clients=await call.parts.totals.count(ALL_CLIENTS, now=call.now),
        users=await call.parts.totals.count(ALL_USERS, now=call.now),
        active_tokens_24h=active,
        revoked_tokens=revoked,
        connections=await call.parts.totals.count(ACTIVE_GRANTS, now=call.now),
    )


@endpoint("GET", "/admin/system/status", role=Role.READ_ONLY)
async def get_system_status(call: Call[None]) -> SystemStatus:
    """Tell how the server's parts are; what is unwell is told with 200, too."""
    config, seconds = call.parts.config, max(0, call.now - call.parts.started_at)
    encryption = Subsystem(name="encryption", status="not_configured")
    if config.data_encryption.driver:
        encryption = Subsystem(name="encryption", status="healthy", driver=config.data_encryption.driver)
    return SystemStatus(
        version=call.parts.version,
        uptime=spell_uptime(seconds),
        uptime_secs=seconds,
        subsystems=[
            Subsystem(name="storage", status=await _storage_status(call), driver=config.storage.driver),
            Subsystem(name="signing", status=await _signing_status(call), driver=config.signing.key_store),
            encryption,
        ],
    )


@endpoint("GET", "/admin/system/config", role=Role.READ_ONLY)
async def get_system_config(call: Call[None]) -> SystemConfig:
    """Show what is switched on, and what deserves a look."""
    config, mode = call.parts.config, call.parts.mode.current
    exchange = ExchangeInfo(enabled=config.token_exchange.enabled)
    if config.token_exchange.max_chain_depth:
        exchange["max_chain_depth"] = config.token_exchange.max_chain_depth
    return SystemConfig(
        issuer=config.server.issuer,
        storage=Driver(driver=config.storage.driver),
        encryption=Driver(driver=config.data_encryption.driver),
        signing=SigningInfo(algorithm=config.signing.algorithm, key_store=config.signing.key_store),
        dcr=DcrInfo(mode=mode),
        rate_limit=Switch(enabled=config.rate_limit.enabled),
        client_credentials=Switch(enabled=config.client_credentials.enabled),
        oidc=Switch(enabled=config.oidc.enabled),
        dpop=DpopInfo(
            enabled=config.dpop.enabled,
            require_nonce=config.dpop.require_nonce,
            nonce_ttl=spell_all_units(config.dpop.nonce_ttl),
        ),
        token_exchange=exchange,
        agents=AgentsInfo(enabled=True, jwks_listing=config.agents.enable_jwks_listing),
        notices=find_notices(mode, default_scope=config.oauth.default_client_scope),
    )


@endpoint("POST", "/admin/auth/verify", role=Role.READ_ONLY, resources=())
async def verify_key(call: Call[None]) -> Verified:
    """Tell whether the key is right, as the console asks on each page."""
    event = AuditEvent(Action.ADMIN_UI_LOGIN, actor_id=call.operator.name, detail="api_key_verified")
    await call.parts.trail.record(event, now=call.now)
    return Verified(valid=True, version=call.parts.version)


async def _storage_status(call: Call[None]) -> str:
    try:
        await call.parts.db.ping()
    except StorageUnavailable as exc:
        _log.warning("database does not answer", error=str(exc))
        return "unhealthy"
    return "healthy"


async def _signing_status(call: Call[None]) -> str:
    try:
        (await call.parts.keys()).keyring.current(call.now)
    except KeyStoreError as exc:
        _log.warning("no signing key", error=str(exc))
        return "unhealthy"
    return "healthy"


ENDPOINTS = (get_stats, get_system_status, get_system_config, verify_key)
