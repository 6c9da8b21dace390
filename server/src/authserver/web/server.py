"""The ASGI application of a listener: finds the route, and does around it what every request gets (public API §1)."""

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from authserver.config.model import RateLimitConfig
from authserver.protocol.errors import OAuthError, PageRefusal, SlowDown
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import HTTP_REQUEST_DURATION, HTTP_REQUESTS
from authserver.telemetry.origin import RequestOrigin, set_origin
from authserver.web.cors import CorsPolicy
from authserver.web.errors import fault, page_refusal, refusal
from authserver.web.http import TEXT, Cors, Disconnected, HttpRequest, HttpResponse, Receive, Route
from authserver.web.limits import TokenBuckets, address_key
from authserver.web.pages import build_policy
from authserver.web.proxies import TrustedProxies

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NOT_FOUND = HttpResponse(404, b"not found\n", (TEXT,))
_UNMATCHED = "unmatched"
_POLICY = b"content-security-policy"
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


@dataclass(frozen=True, slots=True)
class _Mounted:
    """A route with what is computed once."""

    route: Route
    template: str
    not_allowed: HttpResponse


def _mount(route: Route) -> _Mounted:
    methods = sorted({*route.endpoints, *(("HEAD",) if "GET" in route.endpoints else ())})
    allow = (b"allow", ", ".join(methods).encode("ascii"))
    return _Mounted(route, route.template or route.path, HttpResponse(405, b"method not allowed\n", (TEXT, allow)))


class WebApp:
    """One listener's application."""

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        issuer: str,
        is_secure: bool,
        component: str,
        allowed_origins: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        limits: RateLimitConfig | None = None,
    ) -> None:
        """Compute once what requests share.

        Args:
            routes: What is served.
            issuer: Its path, if any, may stand in front of every route: not every proxy takes it away.
            is_secure: Whether browsers are told to come back over TLS only.
            component: The listener's name in the log.
            allowed_origins: ``server.allowed_origins``.
            trusted_proxies: ``server.trusted_proxies``.
            limits: The throughput limit, or None.
        """
        self._log = get_logger(component)
        self._exact: dict[str, _Mounted] = {}
        self._prefixes: list[_Mounted] = []
        for route in routes:
            mounted = _mount(route)
            if route.is_prefix:
                self._prefixes.append(mounted)
            else:
                self._exact[route.path] = mounted
        self._base_path = urlsplit(issuer).path.rstrip("/")
        self._cors = CorsPolicy(allowed_origins)
        self._proxies = TrustedProxies(trusted_proxies)
        self._buckets = TokenBuckets(rate=limits.requests_per_second, burst=limits.burst) if limits else None
        self._common: Headers = (
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            *(((b"strict-transport-security", b"max-age=63072000; includeSubDomains"),) if is_secure else ()),
        )
        self._with_policy: Headers = (*self._common, (_POLICY, build_policy()))

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI event."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = self._request(scope, receive)
        set_origin(
            RequestOrigin(
                ip=request.client_address,
                request_id=request.request_id,
                user_agent=request.header(b"user-agent") or "",
            )
        )
        mounted = self._find(request)
        try:
            response = await self._answer(request, mounted)
        except Disconnected:
            return
        await self._send(request, mounted, response, send)
        self._report(request, mounted, response, time.perf_counter() - started)

    def _request(self, scope: Mapping[str, Any], receive: Receive) -> HttpRequest:
        peer = scope.get("client")
        request = HttpRequest(
            method=scope["method"],
            path=_decode_path(scope),
            query=scope["query_string"],
            headers=scope["headers"],
            receive=receive,
            client_address=peer[0] if peer else "",
        )
        request.client_address = self._proxies.client_address(request)
        given = request.header(b"x-request-id")
        request.request_id = given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        return request

    def _find(self, request: HttpRequest) -> _Mounted | None:
        """Return the route, and leave the request's path as it is below the issuer's."""
        mounted = self._exact.get(request.path)
        if mounted is not None:
            return mounted
        if self._base_path and request.path.startswith(self._base_path + "/"):
            request.path = request.path[len(self._base_path) :]
            mounted = self._exact.get(request.path)
            if mounted is not None:
                return mounted
        for candidate in self._prefixes:
            if request.path.startswith(candidate.route.path):
                request.tail = request.path[len(candidate.route.path) :]
                return candidate
        return None

    async def _answer(self, request: HttpRequest, mounted: _Mounted | None) -> HttpResponse:
        """Return the endpoint's answer, or that of whatever stopped it."""
        if mounted is None:
            return _NOT_FOUND
        route = mounted.route
        if request.method == "OPTIONS" and route.cors is not Cors.NEVER:
            return self._cors.preflight(request, route.cors)
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = route.endpoints.get(method)
        try:
            if route.is_limited and self._buckets is not None:
                self._check_rate(request)
            if endpoint is None:
                return mounted.not_allowed
            return await endpoint(request)
        except OAuthError as exc:
            return refusal(exc, request, route.errors)
        except PageRefusal as exc:
            return page_refusal(exc, request)
        except StorageUnavailable as exc:
            self._log.error("database does not answer", error=str(exc), path=request.path)
            return fault(request, route.errors, retry_after=exc.retry_after)
        except Disconnected:
            raise
        except Exception as exc:  # noqa: BLE001  the last line of defence: a fault is answered, never shown
            self._log.exception("panic recovered", panic=type(exc).__name__, method=request.method, path=request.path)
            return fault(request, route.errors)

    def _check_rate(self, request: HttpRequest) -> None:
        if self._buckets is not None and not self._buckets.take(address_key(request.client_address), time.monotonic()):
            raise SlowDown

    async def _send(self, request: HttpRequest, mounted: _Mounted | None, response: HttpResponse, send: Send) -> None:
        own_policy = any(name == _POLICY for name, _ in response.headers)
        headers = [*response.headers, *(self._common if own_policy else self._with_policy)]
        headers.append((b"x-request-id", request.request_id.encode("ascii")))
        if mounted is not None and mounted.route.cors is not Cors.NEVER:
            headers.extend(self._cors.headers(request, mounted.route.cors))
        if response.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            headers.append((b"content-length", str(len(response.body)).encode("ascii")))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = b"" if request.method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body})

    def _report(self, request: HttpRequest, mounted: _Mounted | None, response: HttpResponse, seconds: float) -> None:
        template = mounted.template if mounted else _UNMATCHED
        status = str(response.status)
        HTTP_REQUESTS.inc(request.method, template, status)
        HTTP_REQUEST_DURATION.observe(seconds, request.method, template, status)
        if response.status < _CLIENT_ERROR:
            write = self._log.info
        else:
            write = self._log.warning if response.status < _SERVER_ERROR else self._log.error
        write(
            "http request",
            method=request.method,
            path=request.path,
            status=response.status,
            duration_ms=round(seconds * 1000, 3),
            bytes=len(response.body),
            remote_addr=request.client_address,
            user_agent=request.header(b"user-agent") or "",
        )


def _decode_path(scope: Mapping[str, Any]) -> str:
    """Return the path, or one that no route has when it is not UTF-8 or hides a NUL."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    raw = raw.partition(b"?")[0]
    try:
        path = (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in path else path


async def _live(receive: Receive, send: Send) -> None:
    """Follow the lifespan protocol: everything was opened before the listener, and is closed after it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
