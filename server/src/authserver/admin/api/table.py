"""The one table of endpoints: routing, authorization and the OpenAPI document are made from it."""

import asyncio
from functools import lru_cache

import orjson

from authserver.admin.access import Access
from authserver.admin.api import (
    audit,
    audit_state,
    broker_providers,
    clients,
    fronting,
    grants,
    issuances,
    keys,
    operators,
    resource_policies,
    resources,
    settings,
    system,
    tokens,
    tools,
    traces,
    users,
    xaa,
)
from authserver.admin.dispatching import Dispatcher
from authserver.admin.endpoint import AdminEndpoint, Call, endpoint
from authserver.admin.openapi import build_document
from authserver.admin.parts import AdminParts
from authserver.admin.records import Role
from authserver.web.http import JSON, NO_STORE, HttpResponse


@endpoint("GET", "/admin/openapi.json", role=Role.READ_ONLY, resources=())
async def get_openapi_document(call: Call[None]) -> HttpResponse:
    """Serve this document."""
    # Beside the loop: making it takes a third of a second, once.
    return HttpResponse(200, await asyncio.to_thread(_document, call.parts.version), (JSON, NO_STORE))


TABLE: tuple[AdminEndpoint, ...] = (
    *clients.ENDPOINTS,
    *tokens.ENDPOINTS,
    *users.ENDPOINTS,
    *settings.ENDPOINTS,
    *audit.ENDPOINTS,
    *audit_state.ENDPOINTS,
    *traces.ENDPOINTS,
    *system.ENDPOINTS,
    *keys.ENDPOINTS,
    *operators.ENDPOINTS,
    *resources.ENDPOINTS,
    *resource_policies.ENDPOINTS,
    *fronting.ENDPOINTS,
    *broker_providers.ENDPOINTS,
    *grants.ENDPOINTS,
    *issuances.ENDPOINTS,
    *xaa.ENDPOINTS,
    *tools.ENDPOINTS,
    get_openapi_document,
)


def build_dispatcher(parts: AdminParts, access: Access) -> Dispatcher:
    """Return what serves the table, without what is switched off."""
    off = () if parts.config.xaa.enabled else xaa.ENDPOINTS
    return Dispatcher((entry for entry in TABLE if entry not in off), parts, access)


@lru_cache(maxsize=1)
def _document(version: str) -> bytes:
    return orjson.dumps(build_document(TABLE, version=version))
