"""``/admin/resources/{slug}/policy``: its lists, changed entry by entry (admin API, 7)."""

from authserver.admin.endpoint import Call, Query, StrictBody, endpoint
from authserver.admin.records import Role
from authserver.protocol.operator_errors import Invalid
from authserver.resources.policy_lists import PolicyList
from authserver.resources.views import ConnectView, ExchangeView, RuntimeView

_MAX_BODY_BYTES = 16 * 1024
_EXCHANGE = "/admin/resources/{slug}/policy/exchange/allowed-clients"
_CONNECT = "/admin/resources/{slug}/policy/connect/allowed-return-urls"
_RUNTIME = "/admin/resources/{slug}/policy/runtime/client-ids"


class ClientEntry(StrictBody):
    """A client; required."""

    client_id: str | None = None


class UrlEntry(StrictBody):
    """A return URL; required."""

    url: str | None = None


@endpoint("GET", _EXCHANGE, role=Role.READ_ONLY, resources=("slug",), refusals=(404,))
async def list_allowed_clients(call: Call[None]) -> ExchangeView:
    """List the clients that may exchange tokens for a resource."""
    return ExchangeView(allowed_client_ids=await _get(call, PolicyList.EXCHANGE_CLIENTS))


@endpoint("POST", _EXCHANGE, role=Role.OPERATOR, resources=("slug",), refusals=(404,), max_body=_MAX_BODY_BYTES)
async def add_allowed_client(call: Call[ClientEntry]) -> ExchangeView:
    """Let a client exchange tokens for a resource."""
    return ExchangeView(allowed_client_ids=await _add(call, PolicyList.EXCHANGE_CLIENTS, call.body.client_id))


@endpoint("DELETE", _EXCHANGE + "/{client_id}", role=Role.OPERATOR, resources=("slug",), refusals=(404,))
async def remove_allowed_client(call: Call[None]) -> ExchangeView:
    """Let a client no longer exchange tokens for a resource."""
    return ExchangeView(allowed_client_ids=await _remove(call, PolicyList.EXCHANGE_CLIENTS, call.path["client_id"]))


@endpoint("GET", _CONNECT, role=Role.READ_ONLY, resources=("slug",), refusals=(404,))
async def list_return_urls(call: Call[None]) -> ConnectView:
    """List where the Connect flow of a broker resource may return to."""
    return ConnectView(allowed_return_urls=await _get(call, PolicyList.RETURN_URLS))


@endpoint("POST", _CONNECT, role=Role.OPERATOR, resources=("slug",), refusals=(404,), max_body=_MAX_BODY_BYTES)
async def add_return_url(call: Call[UrlEntry]) -> ConnectView:
    """Let the Connect flow return to a URL."""
    return ConnectView(allowed_return_urls=await _add(call, PolicyList.RETURN_URLS, call.body.url))


@endpoint("DELETE", _CONNECT, role=Role.OPERATOR, resources=("slug",), refusals=(404,), query={"url": Query.TEXT})
async def remove_return_url(call: Call[None]) -> ConnectView:
    """Let the Connect flow no longer return to a URL."""
    url = call.query.get("url")
    if not url:
        raise Invalid("url is required")
    return ConnectView(allowed_return_urls=await _remove(call, PolicyList.RETURN_URLS, url))


@endpoint("GET", _RUNTIME, role=Role.READ_ONLY, resources=("slug",), refusals=(404,))
async def list_runtime_clients(call: Call[None]) -> RuntimeView:
    """List the clients that act as a resource."""
    return RuntimeView(client_ids=await _get(call, PolicyList.RUNTIME_CLIENTS))


@endpoint("POST", _RUNTIME, role=Role.OPERATOR, resources=("slug",), refusals=(404,), max_body=_MAX_BODY_BYTES)
async def add_runtime_client(call: Call[ClientEntry]) -> RuntimeView:
    """Let a client act as a resource."""
    return RuntimeView(client_ids=await _add(call, PolicyList.RUNTIME_CLIENTS, call.body.client_id))


@endpoint("DELETE", _RUNTIME + "/{client_id}", role=Role.OPERATOR, resources=("slug",), refusals=(404,))
async def remove_runtime_client(call: Call[None]) -> RuntimeView:
    """Let a client no longer act as a resource."""
    return RuntimeView(client_ids=await _remove(call, PolicyList.RUNTIME_CLIENTS, call.path["client_id"]))


async def _get(call: Call[None], which: PolicyList) -> list[str]:
    return list(await call.parts.policy_lists.get(which, call.path["slug"]))


async def _add(call: Call[ClientEntry] | Call[UrlEntry], which: PolicyList, entry: str | None) -> list[str]:
    return list(await call.parts.policy_lists.add(which, call.path["slug"], entry or "", now=call.now))


async def _remove(call: Call[None], which: PolicyList, entry: str) -> list[str]:
    return list(await call.parts.policy_lists.remove(which, call.path["slug"], entry, now=call.now))


ENDPOINTS = (
    list_allowed_clients,
    add_allowed_client,
    remove_allowed_client,
    list_return_urls,
    add_return_url,
    remove_return_url,
    list_runtime_clients,
    add_runtime_client,
    remove_runtime_client,
)
