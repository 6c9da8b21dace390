"""What the server and the command line share: the database, the clock, and what operators may do."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authserver.admin.operators import OperatorAdministration
from authserver.admin.parts import AdminParts
from authserver.audit.events import Action
from authserver.audit.reading import AuditReading
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail
from authserver.broker.administration import BrokerProviderAdministration
from authserver.broker.grant_administration import BrokerGrantAdministration
from authserver.broker.store import hold_provider
from authserver.clients.administration import ClientAdministration, ClientTokens
from authserver.clients.mode import RegistrationMode
from authserver.clients.secrets import ClientSecrets
from authserver.clients.served import ServedMetadata
from authserver.clients.store import find_client
from authserver.config.loader import process_environment
from authserver.config.model import Config
from authserver.encryption.encryptor import Encryptor
from authserver.encryption.opening import open_encryptor
from authserver.keys.administration import KeyAdministration, KeyEvent
from authserver.keys.keyring import Keyring, open_keyring
from authserver.keys.opening import open_key_store
from authserver.outbound.client import OutboundClient
from authserver.resources.administration import ResourceAdministration
from authserver.resources.fronting_administration import FrontingAdministration
from authserver.resources.policy_lists import PolicyLists
from authserver.storage.database import Database, Reader, Writer
from authserver.storage.opening import open_database
from authserver.storage.totals import Totals
from authserver.telemetry.installed import version
from authserver.tokens.administration import IssuanceAdministration
from authserver.tokens.consent_revocation import ConsentRevocation
from authserver.tokens.family_administration import TokenAdministration
from authserver.tokens.grants.table import ENABLING_VARIABLES, served_grants
from authserver.tokens.withdrawal import Withdrawal
from authserver.traces.reading import TraceReading
from authserver.users.accounts import Accounts, UserTokens
from authserver.users.passwords import Passwords
from authserver.users.store import find_user
from authserver.xaa.administration import IdpAdministration
from authserver.xaa.policy_administration import MappingAdministration, PolicyAdministration
from authserver.xaa.provider_keys import ProviderKeys

if TYPE_CHECKING:
    from authserver.admin.simulation import Simulator


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
    broker_providers: BrokerProviderAdministration
    broker_grants: BrokerGrantAdministration
    idps: IdpAdministration
    xaa_policies: PolicyAdministration
    subject_mappings: MappingAdministration
    fronting: FrontingAdministration
    policy_lists: PolicyLists
    consents: ConsentRevocation
    issuances: IssuanceAdministration
    operators: OperatorAdministration
    tokens: TokenAdministration
    secrets: ClientSecrets
    served: ServedMetadata
    http: OutboundClient
    encryptor: Encryptor | None

    async def close(self) -> None:
        """Close the database, and what is open to a vault."""
        await self.db.close()
        if self.encryptor is not None:
            await self.encryptor.close()


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
    encryptor = await open_encryptor(config.data_encryption, process_environment())
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

    async def provider_held(tx: Writer, provider_id: str) -> bool:
        return await hold_provider(tx, provider_id) is not None

    keys = ProviderKeys(http, cache_ttl=config.xaa.jwks_cache_ttl)
    return Core(
        config=config,
        clock=clock,
        db=db,
        trail=trail,
        mode=mode,
        accounts=Accounts(db, trail, Passwords(), user_tokens),
        clients=ClientAdministration(db, trail, secrets, served, client_tokens),
        resources=ResourceAdministration(db, trail, client_exists, provider_held),
        broker_providers=BrokerProviderAdministration(db=db, trail=trail, encryptor=encryptor),
        broker_grants=BrokerGrantAdministration(db=db, trail=trail, encryptor=encryptor, clock_ms=clock.milliseconds),
        idps=IdpAdministration(db, trail, http, keys, own_issuer=config.server.issuer),
        xaa_policies=PolicyAdministration(db, trail),
        subject_mappings=MappingAdministration(db, trail, user_exists),
        fronting=FrontingAdministration(db=db, trail=trail),
        policy_lists=PolicyLists(db=db, trail=trail, client_exists=client_exists),
        consents=ConsentRevocation(db=db, trail=trail),
        issuances=IssuanceAdministration(db=db, trail=trail),
        operators=OperatorAdministration(db, trail),
        tokens=TokenAdministration(db=db, trail=trail),
        secrets=secrets,
        served=served,
        http=http,
        encryptor=encryptor,
    )


async def open_keys(config: Config, *, now: int, core: Core | None = None, makes_first: bool = True) -> Keyring:
    """Open the signing keys.

    Args:
        config: The configuration.
        now: Seconds since the epoch.
        core: Where keys live that are not files; None: they are files.
        makes_first: Whether the first one is made when there is none.

    Raises:
        KeyStoreError: They cannot be read or written, or there is none and none is made.
    """
    store = await open_key_store(config, core.db if core else None, core.encryptor if core else None)
    return await open_keyring(store, now=now, makes_first=makes_first)


def administer_keys(core: Core, keyring: Keyring) -> KeyAdministration:
    """Return what operators may do with signing keys."""

    def prepare(event: KeyEvent, operator: str, text: str, now: int) -> Callable[[Writer], Awaitable[None]]:
        row = AuditEvent(Action(event), actor_id=operator, detail=text)
        return lambda tx: core.trail.append(tx, row, now=now)

    return KeyAdministration(db=core.db, keyring=keyring, prepare=prepare)


def build_admin_parts(
    core: Core, *, keys: Callable[[], Awaitable[KeyAdministration]], simulator: "Callable[[], Simulator]"
) -> AdminParts:
    """Return what the endpoints of the admin API work with, in a server or behind a command."""
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
        keys=keys,
        mode=core.mode,
        clients=core.clients,
        operators=core.operators,
        accounts=core.accounts,
        tokens=core.tokens,
        traces=TraceReading(core.db, core.config.traces),
        resources=core.resources,
        broker_providers=core.broker_providers,
        broker_grants=core.broker_grants,
        policy_lists=core.policy_lists,
        fronting=core.fronting,
        consents=core.consents,
        issuances=core.issuances,
        simulator=simulator,
        idps=core.idps,
        xaa_policies=core.xaa_policies,
        subject_mappings=core.subject_mappings,
        totals=Totals(core.db),
    )
