"""The ASGI application of a listener: finds the route, and does around it what every request gets (public API §1)."""

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from authserver.protocol.errors import InvalidRequest, OAuthError, PageRefusal, SlowDown
from authserver.protocol.identifiers import random_bytes
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.decisions import Decision, Keep
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import HTTP_REQUEST_DURATION, HTTP_REQUESTS
from authserver.telemetry.notes import fault_reference, note
from authserver.telemetry.origin import RequestOrigin, set_origin
from authserver.web.cors import CorsPolicy
from authserver.web.errors import fault, page_refusal, refusal, wrong_method
from authserver.web.forms import UNREADABLE_FORM
from authserver.web.http import (
    TEXT,
    BodyTooLarge,
    Cors,
    Disconnected,
    ErrorShape,
    HttpRequest,
    HttpResponse,
    Receive,
    Route,
)
from authserver.web.limits import Buckets, Unlimited, address_key
from authserver.web.pages import build_policy
from authserver.web.proxies import TrustedProxies
from authserver.web.routing import RouteTable, Target, decode_path

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_POLICY = b"content-security-policy"
_LONGEST_PATH = 512
_LONGEST_USER_AGENT = 256
_WITHOUT_BODY = frozenset({204, 304})
_NOT_FOUND = HttpResponse(404, b"not found\n", (TEXT,))
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


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
        limits: Buckets | None = None,
        limited_by: str = "rate_limit.requests_per_second, rate_limit.burst",
        monotonic: Callable[[], float] = time.monotonic,
        keep_refusal: Keep | None = None,
    ) -> None:
        """Compute once what requests share.

        Args:
            routes: What is served.
            issuer: Its path, if any, may stand in front of every route: not every proxy takes it away.
            is_secure: Whether browsers are told to come back over TLS only.
            component: The listener's name in the log.
            allowed_origins: ``server.allowed_origins``.
            trusted_proxies: ``server.trusted_proxies``.
            limits: The throughput limit, for each address; or None.
            limited_by: The settings that it comes from.
            monotonic: Seconds of a clock that never goes back.
            keep_refusal: Takes what explains a refusal; None when nobody wants to know.

        Raises:
            ValueError: Two routes have the same path.
        """
        self._log = get_logger(component)
        self._routes = RouteTable(routes, base_path=urlsplit(issuer).path.rstrip("/"))
        self._cors = CorsPolicy(allowed_origins)
        self._proxies = TrustedProxies(trusted_proxies)
        self._limits: Buckets = Unlimited() if limits is None else limits
        self._limited_by = limited_by
        self._monotonic = monotonic
        self.keep_refusal = keep_refusal
        self._common: Headers = (
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            *(((b"strict-transport-security", b"max-age=63072000; includeSubDomains"),) if is_secure else ()),
        )
        self._with_policy: Headers = (*self._common, (_POLICY, build_policy()))

    @property
    def common_headers(self) -> Headers:
        """The headers of every answer, also of those that are given without asking this application."""
        return self._with_policy

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
        request, target, user_agent = self._open(scope, receive)
        try:
            response = await self._answer(request, target)
        except Disconnected:
            return
        is_bodiless = request.method == "HEAD" or response.status in _WITHOUT_BODY
        body = b"" if is_bodiless else response.body
        headers = self._headers(request, target, response)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

        seconds, status = time.perf_counter() - started, str(response.status)
        HTTP_REQUESTS.inc(request.method, target.template, status)
        HTTP_REQUEST_DURATION.observe(seconds, request.method, target.template, status)
        write: Callable[..., None] = self._log.info
        if response.status >= _CLIENT_ERROR:
            write = self._log.warning if response.status < _SERVER_ERROR else self._log.error
        write(
            "http request",
            method=request.method,
            path=request.path[:_LONGEST_PATH],
            status=response.status,
            duration_ms=round(seconds * 1000, 3),
            bytes=len(body),
            remote_addr=request.client_address,
            user_agent=user_agent,
        )

    def _open(self, scope: Mapping[str, Any], receive: Receive) -> tuple[HttpRequest, Target, str]:
        """Return the request, where it leads, and who says to have sent it; from here on logs and audit know, too."""
        target, path, tail = self._routes.find(decode_path(scope))
        peer = scope.get("client")
        request = HttpRequest(
            method=scope["method"],
            path=path,
            query=scope["query_string"],
            headers=scope["headers"],
            receive=receive,
            client_address=peer[0] if peer else "",
            tail=tail,
        )
        request.client_address = address = self._proxies.client_address(request)
        given = request.header(b"x-request-id")
        request.request_id = request_id = given if given and _REQUEST_ID.fullmatch(given) else random_bytes().hex()
        user_agent = (request.header(b"user-agent") or "")[:_LONGEST_USER_AGENT]
        decision = Decision(f"{request.method} {target.template}", request_id, self.keep_refusal)
        set_origin(RequestOrigin(ip=address, request_id=request_id, user_agent=user_agent, decision=decision))
        return request, target, user_agent

    async def _answer(self, request: HttpRequest, target: Target) -> HttpResponse:
        """Return the endpoint's answer, or that of whatever stopped it."""
        # Outside the limiter: a preflight that is throttled looks like a refusal to the browser.
        if request.method == "OPTIONS" and self._cors.may_ask(request, target.cors):
            return self._cors.preflight
        try:
            wait = self._limits.take(address_key(request.client_address), self._monotonic()) if target.is_limited else 0
            if wait:
                note("requests of one address counted", setting=self._limited_by)
                return refusal(SlowDown(reason="rate_limited", retry_after=wait), request, ErrorShape.OAUTH)
            endpoint = target.endpoints.get(request.method)
            if endpoint is not None:
                return await endpoint(request)
            return wrong_method(request, target.allowed) if target.allowed else _NOT_FOUND
        except Disconnected:
            raise
        except OAuthError as exc:
            return refusal(exc, request, target.errors)
        except PageRefusal as exc:
            return page_refusal(exc, request)
        except BodyTooLarge:
            return refusal(InvalidRequest(UNREADABLE_FORM, reason="body_too_large"), request, target.errors)
        except StorageUnavailable as exc:
            self._log.error(
                "database does not answer",
                error=str(exc),
                path=request.path[:_LONGEST_PATH],
                reference=fault_reference(),
            )
            return fault(request, target.errors, retry_after=exc.retry_after)
        except Exception as exc:  # noqa: BLE001  the last line of defence: a fault is answered, never shown
            self._log.exception(
                "panic recovered",
                panic=type(exc).__name__,
                method=request.method,
                path=request.path[:_LONGEST_PATH],
                reference=fault_reference(),
            )
            return fault(request, target.errors)

    def _headers(self, request: HttpRequest, target: Target, response: HttpResponse) -> list[tuple[bytes, bytes]]:
        """Return the answer's own headers and those that every answer carries."""
        common = self._with_policy
        for name, _ in response.headers:
            if name == _POLICY:
                common = self._common
        headers = [*response.headers, *common, (b"x-request-id", request.request_id.encode("ascii"))]
        if target.cors is not Cors.NEVER:
            headers += self._cors.headers(request, target.cors)
        if response.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % len(response.body)))
        return headers


async def _live(receive: Receive, send: Send) -> None:
    """Follow the lifespan protocol: everything was opened before the listener, and is closed after it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
