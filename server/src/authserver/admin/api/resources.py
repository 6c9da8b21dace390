"""``/admin/resources`` (admin API, 6)."""

from authserver.admin.endpoint import Call, Query, StrictBody, endpoint
from authserver.admin.records import Role
from authserver.protocol.operator_errors import Forbidden, Invalid, NotFound
from authserver.resources.administration import ResourceDraft, ResourcePatch
from authserver.resources.records import BackendKind, Resource, ResourcePolicy, ResourceScope
from authserver.resources.store import find_resource, find_resource_by_slug, page_resources
from authserver.resources.views import ResourceView, build_resource
from authserver.telemetry.metrics import RESOURCE_SERVER_OPS

_FILTERS = ("backend_kind", "broker_provider_id", "limit", "offset")
MOST_OFFSET = 2**30


class ScopeBody(StrictBody):
    """One entry of a catalogue."""

    name: str | None = None
    description: str | None = None
    upstream: str | None = None


class ClientListBody(StrictBody):
    """Who may exchange."""

    allowed_client_ids: list[str] | None = None


class RuntimeBody(StrictBody):
    """Who acts as the resource."""

    client_ids: list[str] | None = None


class ConnectBody(StrictBody):
    """Where the Connect flow may return to."""

    allowed_return_urls: list[str] | None = None


class DPoPBody(StrictBody):
    """Whether tokens must be bound to a key."""

    required: bool | None = None


class PolicyBody(StrictBody):
    """A whole policy: what is not given is empty."""

    exchange: ClientListBody | None = None
    runtime: RuntimeBody | None = None
    connect: ConnectBody | None = None
    dpop: DPoPBody | None = None


class ResourcePatchBody(StrictBody):
    """What may change; scopes and policy are replaced whole."""

    slug: str | None = None
    backend_kind: str | None = None
    uri: str | None = None
    display_name: str | None = None
    broker_provider_id: str | None = None
    scopes: list[ScopeBody] | None = None
    policy: PolicyBody | None = None


class ResourceBody(ResourcePatchBody):
    """What a resource is registered with; slug and kind are required."""

    broker_provider_slug: str | None = None


@endpoint(
    "GET",
    "/admin/resources",
    role=Role.READ_ONLY,
    refusals=(404,),
    query={
        "backend_kind": Query.TEXT,
        "broker_provider_id": Query.TEXT,
        "limit": Query.NUMBER,
        "offset": Query.NUMBER,
        "slug": Query.TEXT,
    },
)
async def list_resources(call: Call[None]) -> list[ResourceView] | ResourceView:
    """List resources, oldest first; with ``slug``, show that one."""
    slug = call.query.get("slug")
    if slug is not None:
        if any(call.query.get(name) is not None for name in _FILTERS):
            raise Invalid("slug cannot be combined with another parameter")
        return _shown(await find_resource_by_slug(call.parts.db, slug), slug)
    kind = call.query.get("backend_kind")
    if kind is not None and kind not in set(BackendKind):
        raise Invalid("backend_kind must be mint or broker")
    page = await page_resources(
        call.parts.db,
        limit=call.number("limit", default=100, least=1, most=500),
        offset=call.number("offset", default=0, least=0, most=MOST_OFFSET),
        backend_kind=kind,
        broker_provider_id=call.query.get("broker_provider_id"),
    )
    RESOURCE_SERVER_OPS.inc("list")
    return [build_resource(resource) for resource in page]


@endpoint("POST", "/admin/resources", role=Role.OPERATOR, status=201, refusals=(404, 409))
async def create_resource(call: Call[ResourceBody]) -> ResourceView:
    """Register a resource."""
    body = call.body
    provider_id = await call.parts.broker_providers.get_id(
        provider_id=body.broker_provider_id or "", slug=body.broker_provider_slug or ""
    )
    draft = ResourceDraft(
        slug=body.slug or "",
        backend_kind=body.backend_kind or "",
        uri=body.uri or "",
        display_name=body.display_name or "",
        broker_provider_id=provider_id,
        scopes=_scopes(body.scopes or []),
        policy=_policy(body.policy or PolicyBody()),
    )
    return build_resource(await call.parts.resources.create_resource(draft, now=call.now))


@endpoint("GET", "/admin/resources/{id}", role=Role.READ_ONLY, resources=("id",), refusals=(404,))
async def get_resource(call: Call[None]) -> ResourceView:
    """Show a resource."""
    return _shown(await find_resource(call.parts.db, call.path["id"]), call.path["id"])


@endpoint("PATCH", "/admin/resources/{id}", role=Role.OPERATOR, resources=("id",), refusals=(404, 409))
async def update_resource(call: Call[ResourcePatchBody]) -> ResourceView:
    """Change a resource; an empty patch changes nothing. URI and provider are not for keys that are for some resources only."""
    body = call.body
    if body.uri is not None and call.operator.resources is not None:
        # URIs are not unique: tokens for another resource could then be had by the policy and catalogue of this one.
        raise Forbidden("this key is for some resources only, and cannot give one another URI")
    if body.broker_provider_id is not None and call.operator.resources is not None:
        # Users' credentials at the other provider could then be had by the policy of this resource.
        raise Forbidden("this key is for some resources only, and cannot give one another provider")
    patch = ResourcePatch(
        slug=body.slug,
        uri=body.uri,
        backend_kind=body.backend_kind,
        broker_provider_id=body.broker_provider_id,
        display_name=body.display_name,
        scopes=None if body.scopes is None else _scopes(body.scopes),
        policy=None if body.policy is None else _policy(body.policy),
    )
    return build_resource(await call.parts.resources.update_resource(call.path["id"], patch, now=call.now))


@endpoint(
    "DELETE",
    "/admin/resources/{id}",
    role=Role.OPERATOR,
    resources=("id",),
    status=204,
    refusals=(404, 409),
    query={"cascade": Query.FLAG},
)
async def delete_resource(call: Call[None]) -> None:
    """Delete a resource that nothing refers to; with ``cascade``, its fronting links go with it, which takes a key for all."""
    if call.flag("cascade") and call.operator.resources is not None:
        raise Forbidden(
            "this key is for some resources only: delete the fronting links one by one, with a key for both ends"
        )
    await call.parts.resources.delete_resource(call.path["id"], cascade=call.flag("cascade"), now=call.now)


def _scopes(scopes: list[ScopeBody]) -> tuple[ResourceScope, ...]:
    return tuple(
        ResourceScope(name=scope.name or "", upstream=scope.upstream or "", description=scope.description or "")
        for scope in scopes
    )


def _policy(policy: PolicyBody) -> ResourcePolicy:
    return ResourcePolicy(
        exchange_allowed_client_ids=tuple((policy.exchange and policy.exchange.allowed_client_ids) or ()),
        runtime_client_ids=tuple((policy.runtime and policy.runtime.client_ids) or ()),
        connect_allowed_return_urls=tuple((policy.connect and policy.connect.allowed_return_urls) or ()),
        dpop_required=bool(policy.dpop and policy.dpop.required),
    )


def _shown(resource: Resource | None, named: str) -> ResourceView:
    if resource is None:
        raise NotFound(f"resource not found: {named}")
    RESOURCE_SERVER_OPS.inc("get")
    return build_resource(resource)


ENDPOINTS = (list_resources, create_resource, get_resource, update_resource, delete_resource)
