"""What the endpoints of the admin API work with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authserver.admin.operators import OperatorAdministration
from authserver.audit.reading import AuditReading
from authserver.audit.trail import AuditTrail
from authserver.broker.administration import BrokerProviderAdministration
from authserver.broker.grant_administration import BrokerGrantAdministration
from authserver.clients.administration import ClientAdministration
from authserver.clients.mode import RegistrationMode
from authserver.config.model import Config
from authserver.keys.administration import KeyAdministration
from authserver.resources.administration import ResourceAdministration
from authserver.resources.fronting_administration import FrontingAdministration
from authserver.resources.policy_lists import PolicyLists
from authserver.storage.database import Database
from authserver.storage.totals import Totals
from authserver.tokens.administration import IssuanceAdministration
from authserver.tokens.consent_revocation import ConsentRevocation
from authserver.tokens.family_administration import TokenAdministration
from authserver.traces.reading import TraceReading
from authserver.users.accounts import Accounts
from authserver.xaa.administration import IdpAdministration
from authserver.xaa.policy_administration import MappingAdministration, PolicyAdministration

if TYPE_CHECKING:
    # The grants behind it: no command waits for them.
    from authserver.admin.simulation import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """The parts that ``core.py`` hands to the admin API; an endpoint that needs one more adds it here and there.

    Attributes:
        clock: Seconds since the epoch.
        clock_ms: Milliseconds of it.
        started_at: When this process began to serve.
        version: Of this program.
        keys: Returns the signing keys; opens them for a command, when an endpoint first asks.
        simulator: Returns what answers questions; a server has it, a command has not.
    """

    config: Config
    db: Database
    clock: Callable[[], int]
    clock_ms: Callable[[], int]
    started_at: int
    version: str
    trail: AuditTrail
    audit: AuditReading
    keys: Callable[[], Awaitable[KeyAdministration]]
    mode: RegistrationMode
    clients: ClientAdministration
    operators: OperatorAdministration
    resources: ResourceAdministration
    broker_providers: BrokerProviderAdministration
    broker_grants: BrokerGrantAdministration
    policy_lists: PolicyLists
    fronting: FrontingAdministration
    consents: ConsentRevocation
    issuances: IssuanceAdministration
    simulator: Callable[[], "Simulator"]
    idps: IdpAdministration
    xaa_policies: PolicyAdministration
    subject_mappings: MappingAdministration
    accounts: Accounts
    tokens: TokenAdministration
    traces: TraceReading
    totals: Totals
