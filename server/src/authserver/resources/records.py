"""What is known about a protected resource."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class BackendKind(StrEnum):
    """Where a resource's tokens come from."""

    MINT = "mint"
    BROKER = "broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceScope:
    """One entry of a resource's catalogue.

    Attributes:
        name: What clients ask for.
        upstream: What the provider of a broker resource calls it.
        description: What the consent page says.
    """

    name: str
    upstream: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePolicy:
    """What the operator declared about a resource.

    Attributes:
        exchange_allowed_client_ids: Clients that may exchange tokens for this resource.
        runtime_client_ids: Clients that act as this resource, for introspection and as subjects of exchanges.
        connect_allowed_return_urls: Where the Connect flow may return to.
        dpop_required: Whether every token for it must be bound to a key of its client.
    """

    exchange_allowed_client_ids: tuple[str, ...] = ()
    runtime_client_ids: tuple[str, ...] = ()
    connect_allowed_return_urls: tuple[str, ...] = ()
    dpop_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A protected resource.

    Attributes:
        uri: Absolute http(s) URI, or empty; not unique.
        broker_provider_id: Set exactly for broker resources.
        scopes: The catalogue, in the operator's order.
        scope_names: The names of those, in its order.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
    """

    id: str
    slug: str
    display_name: str
    uri: str
    backend_kind: BackendKind
    broker_provider_id: str | None
    scopes: tuple[ResourceScope, ...]
    policy: ResourcePolicy = field(default_factory=ResourcePolicy)
    created_at: int
    updated_at: int
    scope_names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take the names once: requests ask for them."""
        object.__setattr__(self, "scope_names", tuple(scope.name for scope in self.scopes))

    @property
    def title(self) -> str:
        """What a person is shown."""
        return self.display_name or self.slug or self.uri


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontingLink:
    """That a gateway may turn tokens for one Resource into tokens for another, without asking the user.

    Attributes:
        source: Slug of the Resource that the tokens are for.
        target: Slug of the Resource that they are exchanged for.
        scope_map: Scope of the source to the scopes of the target that it stands for; nothing else may be had.
        created_at: Seconds since the epoch.
        created_by: ``admin`` or ``cli``.
    """

    source_id: str
    source: str
    target_id: str
    target: str
    scope_map: Mapping[str, tuple[str, ...]]
    created_at: int
    created_by: str

    @property
    def name(self) -> str:
        """The link in one word, as the audit trail has it."""
        return f"{self.source}->{self.target}"
