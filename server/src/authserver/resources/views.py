"""How a resource is shown to operators, by the command line and the admin API alike."""

from typing import NotRequired

# Not typing's: pydantic reads these on Python 3.11 too.
from typing_extensions import TypedDict

from authserver.protocol.times import spell_time
from authserver.resources.records import BackendKind, FrontingLink, Resource, ResourceScope


class ScopeView(TypedDict):
    """One entry of a catalogue; what is empty is left out."""

    name: str
    description: NotRequired[str]
    upstream: NotRequired[str]


class ExchangeView(TypedDict):
    """Who may exchange tokens for the resource."""

    allowed_client_ids: list[str]


class RuntimeView(TypedDict):
    """Who acts as the resource."""

    client_ids: list[str]


class ConnectView(TypedDict):
    """Where the Connect flow may return to."""

    allowed_return_urls: list[str]


class DPoPView(TypedDict):
    """Whether its tokens must be bound to a key."""

    required: bool


class PolicyView(TypedDict):
    """What an operator declared about a resource; ``connect`` for broker resources alone."""

    exchange: ExchangeView
    runtime: RuntimeView
    connect: NotRequired[ConnectView]
    dpop: NotRequired[DPoPView]


class ResourceView(TypedDict):
    """A protected resource."""

    id: str
    slug: str
    uri: str
    display_name: str
    backend_kind: str
    broker_provider_id: str
    scopes: list[ScopeView]
    policy: PolicyView
    created_at: str
    updated_at: str


class FrontingLinkView(TypedDict):
    """A fronting link."""

    source_slug: str
    target_slug: str
    scope_map: dict[str, list[str]]
    created_at: str
    created_by: str


def build_resource(resource: Resource) -> ResourceView:
    """Return the object that stands for a resource in JSON."""
    policy: PolicyView = {
        "exchange": {"allowed_client_ids": list(resource.policy.exchange_allowed_client_ids)},
        "runtime": {"client_ids": list(resource.policy.runtime_client_ids)},
    }
    if resource.policy.dpop_required:
        policy["dpop"] = {"required": True}
    if resource.backend_kind is BackendKind.BROKER:
        policy["connect"] = {"allowed_return_urls": list(resource.policy.connect_allowed_return_urls)}
    return {
        "id": resource.id,
        "slug": resource.slug,
        "uri": resource.uri,
        "display_name": resource.display_name,
        "backend_kind": str(resource.backend_kind),
        "broker_provider_id": resource.broker_provider_id or "",
        "scopes": [_build_scope(scope) for scope in resource.scopes],
        "policy": policy,
        "created_at": spell_time(resource.created_at),
        "updated_at": spell_time(resource.updated_at),
    }


def build_link(link: FrontingLink) -> FrontingLinkView:
    """Return the object that stands for a fronting link in JSON."""
    return {
        "source_slug": link.source,
        "target_slug": link.target,
        "scope_map": {source: list(targets) for source, targets in link.scope_map.items()},
        "created_at": spell_time(link.created_at),
        "created_by": link.created_by,
    }


def _build_scope(scope: ResourceScope) -> ScopeView:
    view: ScopeView = {"name": scope.name}
    if scope.description:
        view["description"] = scope.description
    if scope.upstream:
        view["upstream"] = scope.upstream
    return view
