"""``/admin/fronting`` (admin API, 8)."""

from typing_extensions import TypedDict

from authserver.admin.api.resources import MOST_OFFSET
from authserver.admin.endpoint import Call, Query, StrictBody, endpoint
from authserver.admin.records import Role
from authserver.resources.views import FrontingLinkView, build_link

_NEVER = "0001-01-01T00:00:00Z"
_OK = 200


class LinkBody(StrictBody):
    """What a link is made of; all three are required."""

    source: str | None = None
    target: str | None = None
    scope_map: dict[str, list[str]] | None = None


class LinkPatch(StrictBody):
    """What may change."""

    scope_map: dict[str, list[str]] | None = None


class LinksOfResource(TypedDict):
    """The links that begin at a resource, and those that end there."""

    slug: str
    fronts: list[FrontingLinkView]
    fronted_by: list[FrontingLinkView]


@endpoint(
    "GET",
    "/admin/fronting",
    role=Role.READ_ONLY,
    query={"source": Query.TEXT, "target": Query.TEXT, "limit": Query.NUMBER, "offset": Query.NUMBER},
)
async def list_links(call: Call[None]) -> list[FrontingLinkView]:
    """List fronting links, by their slugs."""
    limit = call.number("limit", default=100, least=1, most=500)
    offset = call.number("offset", default=0, least=0, most=MOST_OFFSET)
    links = await call.parts.fronting.list(source=call.query.get("source") or "", target=call.query.get("target") or "")
    return [build_link(link) for link in links[offset : offset + limit]]


@endpoint(
    "POST",
    "/admin/fronting",
    role=Role.OPERATOR,
    status=201,
    also=(200,),
    refusals=(409,),
    query={"dry_run": Query.FLAG},
)
async def create_link(call: Call[LinkBody]) -> FrontingLinkView:
    """Link two resources; with ``dry_run``, only check that it may be done."""
    body, dry_run = call.body, call.flag("dry_run")
    link = await call.parts.fronting.create(
        body.source or "", body.target or "", _read(body.scope_map) or {}, dry_run=dry_run, now=call.now
    )
    view = build_link(link)
    if dry_run:
        call.status = _OK
        view["created_at"], view["created_by"] = _NEVER, ""
    return view


@endpoint(
    "GET", "/admin/fronting/{source}/{target}", role=Role.READ_ONLY, resources=("source", "target"), refusals=(404,)
)
async def get_link(call: Call[None]) -> FrontingLinkView:
    """Show a fronting link."""
    return build_link(await call.parts.fronting.get(call.path["source"], call.path["target"]))


@endpoint(
    "PATCH", "/admin/fronting/{source}/{target}", role=Role.OPERATOR, resources=("source", "target"), refusals=(404,)
)
async def update_link(call: Call[LinkPatch]) -> FrontingLinkView:
    """Give a fronting link another scope map."""
    scope_map = _read(call.body.scope_map)
    return build_link(
        await call.parts.fronting.update(call.path["source"], call.path["target"], scope_map, now=call.now)
    )


@endpoint(
    "DELETE",
    "/admin/fronting/{source}/{target}",
    role=Role.OPERATOR,
    resources=("source", "target"),
    status=204,
    refusals=(404,),
)
async def delete_link(call: Call[None]) -> None:
    """Delete a fronting link; what was exchanged along it stays in force until it expires."""
    await call.parts.fronting.delete(call.path["source"], call.path["target"], now=call.now)


@endpoint("GET", "/admin/resources/{slug}/fronting", role=Role.READ_ONLY, resources=("slug",))
async def list_links_of_resource(call: Call[None]) -> LinksOfResource:
    """List the links of a resource."""
    slug = call.path["slug"]
    outbound = await call.parts.fronting.list(source=slug)
    inbound = await call.parts.fronting.list(target=slug)
    return LinksOfResource(
        slug=slug,
        fronts=[build_link(link) for link in outbound],
        fronted_by=[build_link(link) for link in inbound],
    )


def _read(scope_map: dict[str, list[str]] | None) -> dict[str, tuple[str, ...]] | None:
    return None if scope_map is None else {source: tuple(targets) for source, targets in scope_map.items()}


ENDPOINTS = (list_links, create_link, get_link, update_link, delete_link, list_links_of_resource)
