"""What is stored about a client."""

from dataclasses import dataclass, field
from enum import StrEnum

from authserver.protocol.client_metadata import NONE


class ClientStatus(StrEnum):
    """Whether a client may act (domain model §1). ``revoked`` is final."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class RegistrationSource(StrEnum):
    """How a client came to be registered."""

    ADMIN = "admin"
    DCR = "dcr"
    CIMD = "cimd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A registered client.

    Attributes:
        id: 22 base64url characters, or what the operator chose; for CIMD the URL of the metadata document.
        secret_hash: The hash with its scheme in front, empty without a secret.
        jwks: Its key set as JSON text. At most one of ``jwks`` and ``jwks_uri`` is given.
        jwks_uri: Where its key set is fetched.
        name: As the client states it; nothing vouches for it.
        cimd_url: The metadata document's URL, empty for other sources.
        cimd_fetched_at: When the document was last read with success.
        scope: The ceiling as a scope string, empty when none was set.
        application_type: ``web`` or ``native``; None when not stated, which reads as ``web``.
        version: The optimistic lock, raised by every update.
        came_unproved: Of a client that may choose, that it proved nothing in this request. Never stored.
    """

    id: str
    secret_hash: str
    jwks: str | None
    jwks_uri: str | None
    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    response_types: tuple[str, ...]
    token_endpoint_auth_method: str
    status: ClientStatus
    registration_source: RegistrationSource
    cimd_url: str
    cimd_fetched_at: int | None
    scope: str
    application_type: str | None
    is_agent: bool
    agent_description: str
    dpop_bound_access_tokens: bool
    version: int
    issued_at: int
    updated_at: int
    came_unproved: bool = field(default=False, compare=False)

    @property
    def is_public(self) -> bool:
        """Whether it proved nothing: it has nothing to prove itself with, whatever it registered, or did not use it."""
        return self.came_unproved or not (self.secret_hash or self.has_keys)

    @property
    def has_keys(self) -> bool:
        """Whether it may prove itself by a signature."""
        return self.jwks is not None or self.jwks_uri is not None

    @property
    def needs_no_proof(self) -> bool:
        """Whether it may come without proof: it is public, or it registered keys to be used or not (CM-08)."""
        return not self.secret_hash and (not self.has_keys or self.token_endpoint_auth_method == NONE)

    @property
    def is_active(self) -> bool:
        """Whether it may act at all."""
        return self.status is ClientStatus.ACTIVE

    @property
    def scopes(self) -> frozenset[str]:
        """The names of the ceiling; empty when none was set."""
        return frozenset(self.scope.split())

    def has_grant(self, grant_type: str) -> bool:
        """Whether it registered for a grant."""
        return grant_type in self.grant_types
