"""``/admin/clients`` (admin API, 3)."""

from typing import Any, NotRequired

import orjson
from typing_extensions import TypedDict

from authserver.admin.endpoint import Body, Call, Query, endpoint
from authserver.admin.long_lists import Pages, answer_list, read_pages
from authserver.admin.records import Role
from authserver.admin.views import Status
from authserver.clients.administration import ClientChanges, NewClient
from authserver.clients.records import Client
from authserver.clients.store import find_client, find_position, list_clients, position_of
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.protocol.times import spell_time
from authserver.tokens.usage import find_last_used
from authserver.web.http import HttpResponse

_PAGE = 50


class ClientBody(Body):
    """What a client is created with; what is missing in it is told together.

    ``client_id`` is given for a client that names itself by the URL of its metadata document, and for no other.
    """

    client_id: str | None = None
    client_name: str | None = None
    redirect_uris: list[str] | None = None
    grant_types: list[str] | None = None
    response_types: list[str] | None = None
    token_endpoint_auth_method: str | None = None
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    dpop_bound_access_tokens: bool | None = None
    scope: str | None = None
    agent: bool | None = None
    agent_description: str | None = None


class ClientPatch(Body):
    """What may change."""

    client_name: str | None = None
    redirect_uris: list[str] | None = None
    grant_types: list[str] | None = None
    scope: str | None = None
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    dpop_bound_access_tokens: bool | None = None


class ClientView(TypedDict):
    """A client.

    ``last_used`` is where it was asked for, and absent of one that never began an authorization or got a token;
    ``application_type`` where one was registered.
    """

    id: str
    name: str
    redirect_uris: list[str]
    grant_types: list[str]
    response_types: list[str]
    token_endpoint_auth_method: str
    scope: str
    status: str
    registration_source: str
    agent: bool
    agent_description: str
    cimd_url: str
    issued_at: str
    updated_at: str
    jwks: NotRequired[dict[str, Any]]
    jwks_uri: NotRequired[str]
    dpop_bound_access_tokens: NotRequired[bool]
    application_type: NotRequired[str]
    last_used: NotRequired[str]


class CreatedClient(TypedDict):
    """A client as it was created; the secret is shown here alone."""

    client_id: str
    client_secret: NotRequired[str]
    client_name: str
    redirect_uris: list[str]
    grant_types: list[str]
    response_types: list[str]
    token_endpoint_auth_method: str
    scope: str
    status: str
    registration_source: str
    agent: bool
    agent_description: str
    issued_at: str


class RotatedSecret(TypedDict):
    """A new secret, shown here alone."""

    client_id: str
    client_secret: str


@endpoint(
    "GET",
    "/admin/clients",
    role=Role.READ_ONLY,
    query={
        "limit": Query.NUMBER,
        "offset": Query.NUMBER,
        "after": Query.TEXT,
        "status": Query.TEXT,
        "source": Query.TEXT,
        "last_used": Query.FLAG,
    },
)
async def list_all_clients(call: Call[None]) -> list[ClientView] | HttpResponse:
    """List clients, newest first: those after the client of an id, or behind so many; the former costs less.

    If asked, with when each was last used, which takes longer.
    """
    db, status, source = call.parts.db, call.query.get("status"), call.query.get("source")
    limit = call.lenient_number("limit", default=_PAGE, least=1)
    offset = call.lenient_number("offset", default=0, least=0)
    after_id, before = call.query.get("after"), None
    if after_id is not None:
        after = await find_client(db, after_id)
        if after is None:
            raise Invalid("after names no client")
        before = position_of(after)
    elif offset:
        before = await db.survey(lambda reader: find_position(reader, passed_over=offset, status=status, source=source))
        if before is None:
            return []

    async def read(size: int, last: Client | None) -> list[Client]:
        position = before if last is None else position_of(last)
        return await list_clients(db, limit=size, status=status, source=source, before=position)

    pages = read_pages(read, limit=limit)
    if call.flag("last_used"):
        return await answer_list(_all_with_last_used(call, pages), lambda view: view)
    return await answer_list(pages, build_client)


@endpoint("POST", "/admin/clients", role=Role.OPERATOR, status=201, refusals=(409,))
async def create_client(call: Call[ClientBody]) -> CreatedClient:
    """Create a client; a secret, if it gets one, is answered once."""
    body = call.body
    new = NewClient(
        client_id=body.client_id,
        name=body.client_name or "",
        redirect_uris=body.redirect_uris or (),
        grant_types=body.grant_types or (),
        response_types=body.response_types or (),
        auth_method=body.token_endpoint_auth_method or "none",
        jwks=body.jwks,
        jwks_uri=body.jwks_uri,
        scope=body.scope or "",
        is_agent=bool(body.agent),
        agent_description=body.agent_description or "",
        dpop_bound_access_tokens=bool(body.dpop_bound_access_tokens),
    )
    registered = await call.parts.clients.create(new, now=call.now)
    client = registered.client
    created = CreatedClient(
        client_id=client.id,
        client_name=client.name,
        redirect_uris=list(client.redirect_uris),
        grant_types=list(client.grant_types),
        response_types=list(client.response_types),
        token_endpoint_auth_method=client.token_endpoint_auth_method,
        scope=client.scope,
        status=client.status,
        registration_source=client.registration_source,
        agent=client.is_agent,
        agent_description=client.agent_description,
        issued_at=spell_time(client.issued_at),
    )
    if registered.client_secret is not None:
        created["client_secret"] = registered.client_secret
    return created


@endpoint("GET", "/admin/clients/{id}", role=Role.READ_ONLY, refusals=(404,))
async def get_client(call: Call[None]) -> ClientView:
    """Show a client."""
    client = await find_client(call.parts.db, call.path["id"])
    if client is None:
        raise NotFound(f"client not found: {call.path['id']}")
    return await _with_last_used(call, client)


@endpoint("PATCH", "/admin/clients/{id}", role=Role.OPERATOR, refusals=(409,), unknown=400)
async def update_client(call: Call[ClientPatch]) -> ClientView:
    """Change a client; the whole result is checked anew."""
    body = call.body
    changes = ClientChanges(
        name=body.client_name,
        redirect_uris=body.redirect_uris,
        grant_types=body.grant_types,
        scope=body.scope,
        jwks=body.jwks,
        jwks_uri=body.jwks_uri,
        dpop_bound_access_tokens=body.dpop_bound_access_tokens,
    )
    return build_client(await call.parts.clients.update(call.path["id"], changes, now=call.now))


@endpoint("POST", "/admin/clients/{id}/rotate-secret", role=Role.OPERATOR, refusals=(409,), unknown=400)
async def rotate_client_secret(call: Call[None]) -> RotatedSecret:
    """Give a client a new secret; the old one is dead at once."""
    rotated = await call.parts.clients.rotate_secret(call.path["id"], now=call.now)
    return RotatedSecret(client_id=rotated.client.id, client_secret=rotated.client_secret or "")


@endpoint("PATCH", "/admin/clients/{id}/suspend", role=Role.OPERATOR, refusals=(409,), unknown=400)
async def suspend_client(call: Call[None]) -> Status:
    """Stop an active client for a time."""
    client = await call.parts.clients.suspend(call.path["id"], now=call.now)
    return Status(status=client.status)


@endpoint("PATCH", "/admin/clients/{id}/revoke", role=Role.OPERATOR, refusals=(409,), unknown=400)
async def revoke_client(call: Call[None]) -> Status:
    """Stop a client for ever; may be repeated."""
    client = await call.parts.clients.revoke(call.path["id"], now=call.now)
    return Status(status=client.status)


@endpoint("PATCH", "/admin/clients/{id}/reactivate", role=Role.OPERATOR, refusals=(409,), unknown=400)
async def reactivate_client(call: Call[None]) -> Status:
    """Let a suspended client act again."""
    client = await call.parts.clients.reactivate(call.path["id"], now=call.now)
    return Status(status=client.status)


@endpoint(
    "DELETE",
    "/admin/clients/{id}",
    role=Role.OPERATOR,
    status=204,
    refusals=(409,),
    unknown=400,
    query={"force": Query.FLAG},
)
async def delete_client(call: Call[None]) -> None:
    """Delete a client; with live tokens only by force, which revokes them."""
    await call.parts.clients.delete(call.path["id"], force=call.flag("force"), now=call.now)


def build_client(client: Client) -> ClientView:
    """Return a client as the API shows it: never its secret."""
    view = ClientView(
        id=client.id,
        name=client.name,
        redirect_uris=list(client.redirect_uris),
        grant_types=list(client.grant_types),
        response_types=list(client.response_types),
        token_endpoint_auth_method=client.token_endpoint_auth_method,
        scope=client.scope,
        status=client.status,
        registration_source=client.registration_source,
        agent=client.is_agent,
        agent_description=client.agent_description,
        cimd_url=client.cimd_url,
        issued_at=spell_time(client.issued_at),
        updated_at=spell_time(client.updated_at),
    )
    if client.jwks is not None:
        view["jwks"] = orjson.loads(client.jwks)
    if client.jwks_uri is not None:
        view["jwks_uri"] = client.jwks_uri
    if client.dpop_bound_access_tokens:
        view["dpop_bound_access_tokens"] = True
    if client.application_type is not None:
        view["application_type"] = client.application_type
    return view


async def _all_with_last_used(call: Call[None], pages: Pages[Client]) -> Pages[ClientView]:
    async for page in pages:
        yield [await _with_last_used(call, client) for client in page]


async def _with_last_used(call: Call[None], client: Client) -> ClientView:
    view = build_client(client)
    last_used = await find_last_used(call.parts.db, client.id)
    if last_used is not None:
        view["last_used"] = spell_time(last_used)
    return view


ENDPOINTS = (
    list_all_clients,
    create_client,
    get_client,
    update_client,
    rotate_client_secret,
    suspend_client,
    revoke_client,
    reactivate_client,
    delete_client,
)
