"""The documents that clients and verifiers read before anything else, and the health of the server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson

from authserver.discovery.key_set import KeySet
from authserver.discovery.metadata import Capabilities, build_server_metadata
from authserver.discovery.openapi import build_public_document
from authserver.protocol.dpop import PROOF_ALGORITHMS
from authserver.protocol.times import spell_time
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import Resource
from authserver.storage.database import Database, StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.web.http import JSON, NO_STORE, TEXT, Cors, Endpoint, HttpRequest, HttpResponse, Route

_log = get_logger("discovery")

_METADATA_CACHING = (b"cache-control", b"public, max-age=3600")
_KEYS_CACHING = (b"cache-control", b"public, max-age=300")
_NOT_FOUND = HttpResponse(404, b"not found\n", (TEXT,))
_WELL_KNOWN = "/.well-known"
_PROTECTED_RESOURCE = f"{_WELL_KNOWN}/oauth-protected-resource"


@dataclass(slots=True, kw_only=True)
class DiscoveryRoutes:
    """The well-known documents.

    Attributes:
        capabilities: Tells what the server does at the moment.
        binds_tokens: Whether proofs of possession are served.
    """

    issuer: str
    key_set: KeySet
    catalog: ResourceCatalog
    capabilities: Callable[[], Capabilities | Awaitable[Capabilities]]
    binds_tokens: bool
    clock: Callable[[], int]
    _last_metadata: tuple[Capabilities, HttpResponse] | None = field(default=None, init=False)

    def routes(self) -> list[Route]:
        """Mount every spelling under which clients look (mcp-authorization.md, AS-03)."""
        path = urlsplit(self.issuer).path
        spellings = [f"{_WELL_KNOWN}/oauth-authorization-server", f"{_WELL_KNOWN}/openid-configuration"]
        if path:
            spellings += [f"{spelling}{path}" for spelling in spellings]
        routes = [Route(path=spelling, endpoints={"GET": self.metadata}, cors=Cors.PUBLIC) for spelling in spellings]
        return [
            *routes,
            Route(path=f"{_WELL_KNOWN}/jwks.json", endpoints={"GET": self.jwks}, cors=Cors.PUBLIC),
            Route(path=_PROTECTED_RESOURCE, endpoints={"GET": self.own_resource}, cors=Cors.PUBLIC),
            Route(
                path=f"{_PROTECTED_RESOURCE}/",
                endpoints={"GET": self.resource},
                template=f"{_PROTECTED_RESOURCE}/{{ref}}",
                is_prefix=True,
                cors=Cors.PUBLIC,
            ),
        ]

    def metadata(self, _request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Serve the server's metadata, made anew when a capability changes."""
        capabilities = self.capabilities()
        if isinstance(capabilities, Capabilities):
            return self._metadata(capabilities)
        return self._metadata_later(capabilities)

    async def _metadata_later(self, coming: Awaitable[Capabilities]) -> HttpResponse:
        return self._metadata(await coming)

    def _metadata(self, capabilities: Capabilities) -> HttpResponse:
        if self._last_metadata is None or self._last_metadata[0] != capabilities:
            body = build_server_metadata(self.issuer, capabilities)
            self._last_metadata = capabilities, HttpResponse(200, body, (JSON, _METADATA_CACHING))
        return self._last_metadata[1]

    def jwks(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Serve the published keys; they live in memory, so an outage of the database does not reach verifiers."""
        return self._jwks(request) if self.key_set.is_ready else self._jwks_later(request)

    async def _jwks_later(self, request: HttpRequest) -> HttpResponse:
        await self.key_set.prepare()
        return self._jwks(request)

    def _jwks(self, request: HttpRequest) -> HttpResponse:
        body, tag = self.key_set.document(self.clock())
        etag = (b"etag", tag.encode("ascii"))
        if request.header(b"if-none-match") == tag:
            return HttpResponse(304, b"", (_KEYS_CACHING, etag))
        return HttpResponse(200, body, (JSON, _KEYS_CACHING, etag))

    async def own_resource(self, _request: HttpRequest) -> HttpResponse:
        """Serve the metadata of the Resource whose URI is our own origin."""
        parts = urlsplit(self.issuer)
        found = await self.catalog.matches(f"{parts.scheme}://{parts.netloc}")
        if len(found) != 1 or not found[0].uri:
            return _NOT_FOUND
        return self._document(found[0])

    async def resource(self, request: HttpRequest) -> HttpResponse:
        """Serve the metadata of a Resource, by slug or by the path of its URI (RFC 9728, public API §17)."""
        resource = await self.catalog.find_published(request.tail, query=request.query.decode("latin-1"))
        if resource is None:
            return _NOT_FOUND
        return self._document(resource)

    def _document(self, resource: Resource) -> HttpResponse:
        members: dict[str, object] = {"resource": resource.uri, "authorization_servers": [self.issuer]}
        if resource.scope_names:
            members["scopes_supported"] = resource.scope_names
        members["bearer_methods_supported"] = ["header"]
        members["resource_name"] = resource.title
        if self.binds_tokens:
            members["dpop_signing_alg_values_supported"] = PROOF_ALGORITHMS
        if resource.policy.dpop_required:
            members["dpop_bound_access_tokens_required"] = True
        return HttpResponse(200, orjson.dumps(members), (JSON, _METADATA_CACHING))


def document_routes(version: str) -> list[Route]:
    """Mount ``/openapi.json``, for those who switch it on."""
    body = orjson.dumps(build_public_document(version=version))

    async def document(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body, (JSON, _METADATA_CACHING))

    return [Route(path="/openapi.json", endpoints={"GET": document}, cors=Cors.PUBLIC)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRoutes:
    """``/livez``, ``/health`` and ``/ready`` (public API §19); on the public listener alone."""

    db: Database
    clock: Callable[[], int]

    def routes(self) -> list[Route]:
        """Mount them outside the throughput limit: a probe that is throttled restarts a healthy server."""
        probes: dict[str, Endpoint] = {"/livez": self.livez, "/health": self.health, "/ready": self.ready}
        return [Route(path=path, endpoints={"GET": probe}, is_limited=False) for path, probe in probes.items()]

    def livez(self, _request: HttpRequest) -> HttpResponse:
        """Answer while the process serves at all, whatever it depends on."""
        return self._answer(200, {"status": "ok"})

    async def health(self, _request: HttpRequest) -> HttpResponse:
        """Answer whether the database does."""
        return await self._probe("ok", "degraded", seconds=5)

    async def ready(self, _request: HttpRequest) -> HttpResponse:
        """Answer whether requests can be served."""
        return await self._probe("ready", "not_ready", seconds=3)

    async def _probe(self, well: str, ill: str, *, seconds: float) -> HttpResponse:
        try:
            async with asyncio.timeout(seconds):
                await self.db.ping()
        except (StorageUnavailable, TimeoutError) as exc:
            _log.warning("database does not answer", error=str(exc))
            return self._answer(503, {"status": ill, "db": "error"})
        return self._answer(200, {"status": well, "db": "ok"})

    def _answer(self, status: int, members: dict[str, str]) -> HttpResponse:
        time = spell_time(self.clock())
        body = {"status": members["status"], "time": time} | members
        return HttpResponse(status, orjson.dumps(body), (JSON, NO_STORE))
