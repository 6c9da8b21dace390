"""What a grant is, what it is built from, and what the table of grants says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from authserver.audit.events import Action
from authserver.audit.trail import AuditTrail
from authserver.authorization.devices import Devices
from authserver.authorization.tickets import ConsentLinks
from authserver.clients.records import Client
from authserver.config.declaring import value_at
from authserver.config.model import Config
from authserver.keys.keyring import Keyring
from authserver.outbound.client import OutboundClient
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.fronting import FrontingLinks
from authserver.storage.database import Database
from authserver.telemetry.metrics import Counter
from authserver.tokens.families import Families
from authserver.tokens.issuing import TokenIssuer
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import TokenRequest, TokenResponse
from authserver.tokens.redemption import Redemption
from authserver.web.forms import Form
from authserver.xaa.registry import IdpRegistry


class Grant(Protocol):
    """A handler of one ``grant_type``.

    Attributes:
        allows_public_clients: Whether a client without a secret or keys may use it.
        needs_registration: Whether a client must be registered for it before anything of the request is looked at.
        denied: The audit action of a refusal.
        denied_total: Counts refusals by their reason; None for a grant that the contract gives no such counter.
    """

    @property
    def allows_public_clients(self) -> bool: ...  # noqa: D102  stated above
    @property
    def needs_registration(self) -> bool: ...  # noqa: D102  stated above
    @property
    def denied(self) -> Action: ...  # noqa: D102  stated above
    @property
    def denied_total(self) -> Counter | None: ...  # noqa: D102  stated above

    def check_form(self, form: Form) -> None:
        """Check what must be there before anything is looked at; such a refusal is in no audit row.

        Raises:
            OAuthError: It is not.
        """
        ...

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Serve a request of an authenticated client, or refuse it. What it returns has been committed.

        Raises:
            OAuthError: The request is refused.
            StorageUnavailable: Nothing was spent or written.
        """
        ...


@runtime_checkable
class ReadsWithClient(Protocol):
    """A grant that reads what a request presents together with its client: one read in place of two."""

    async def find_client(self, request: TokenRequest, client_id: str) -> Client | None:
        """Look the client up, as ``clients.store.find_client``, and keep in the request what was read with it.

        Nothing is done with that before the client has proved itself. It is not asked when an assertion proves the client.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantParts:
    """What grants are built from."""

    config: Config
    db: Database
    issuer: TokenIssuer
    keyring: Keyring
    catalog: ResourceCatalog
    fronting_links: FrontingLinks
    consent_links: ConsentLinks
    families: Families
    redemption: Redemption
    devices: Devices
    proofs: ProofChecker
    trail: AuditTrail
    http: OutboundClient
    idps: IdpRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What switches a grant on.

    Attributes:
        feature: Its name in the refusal.
        key: The configuration key, of a section of its own.
    """

    feature: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEntry:
    """A line of the table.

    Attributes:
        grant_type: The value on the wire.
        operation: What spans call it.
        build: Makes the handler when the grant is on.
        switch: None for what is always on.
    """

    grant_type: str
    operation: str
    build: Callable[[GrantParts], Grant]
    switch: Switch | None = None

    def is_on(self, config: Config) -> bool:
        """Whether the operator lets it be served."""
        return self.switch is None or bool(value_at(config, self.switch.key))
