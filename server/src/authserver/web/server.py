"""The application of a listener: finds the route, and does around it what every request gets (public API §1)."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from authserver.protocol.errors import InvalidRequest, OAuthError, PageRefusal, SlowDown
from authserver.protocol.identifiers import random_bytes
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.decisions import Decision, Keep
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import count_answer
from authserver.telemetry.notes import fault_reference, note
from authserver.telemetry.origin import RequestOrigin, current_origin, reset_origin, set_origin
from authserver.telemetry.spans import Span, leave, span, within
from authserver.telemetry.trace_context import TraceContext
from authserver.telemetry.tracing import Tracer
from authserver.web.cors import CorsPolicy
from authserver.web.errors import fault, page_refusal, problem, refusal, wrong_method
from authserver.web.forms import UNREADABLE_FORM
from authserver.web.http import TEXT, BodyTooLarge, Cors, Disconnected, ErrorShape, HttpRequest, HttpResponse, Route
from authserver.web.limits import Buckets, Unlimited, address_key
from authserver.web.pages import build_policy
from authserver.web.proxies import TrustedProxies
from authserver.web.routing import RouteTable, Target
from authserver.web.spelling import spell, spell_constant

Answer = tuple[bytes, bytes]
"""The head, without the empty line that ends it, and the body."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_POLICY = b"content-security-policy"
_LONGEST_PATH = 512
_LONGEST_USER_AGENT = 256
_WITHOUT_BODY = frozenset({204, 304})
_NOT_FOUND = HttpResponse(404, b"not found\n", (TEXT,))
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_STATUS_LINES = {status.value: f"HTTP/1.1 {status} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}


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
        errors: ErrorShape = ErrorShape.OAUTH,
        tracer: Tracer | None = None,
        joins_traces: bool = False,
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
            errors: How refusals are worded that no route has to do with.
            tracer: Traces requests; None when they are not traced.
            joins_traces: Whether the traces of callers are joined.

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
        self._errors = errors
        self._tracer = tracer
        self._joins_traces = joins_traces
        common = (
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            *(((b"strict-transport-security", b"max-age=63072000; includeSubDomains"),) if is_secure else ()),
        )
        self.common_headers = spell((*common, (_POLICY, build_policy())))
        """The headers of every answer, spelled; also of those that are given without asking this application."""
        self._common = {cors: self.common_headers + spell(self._cors.constant(cors)) for cors in Cors}
        self._without_policy = {cors: spell((*common, *self._cors.constant(cors))) for cors in Cors}

    def serve(self, request: HttpRequest) -> Answer | Coroutine[Any, Any, Answer | None]:
        """Serve a request: return its answer, or what waits for it, to be run in a context of its own.

        That returns None when there is nobody to answer any more.
        """
        started = time.perf_counter()
        target, origin = self._open(request)
        before = set_origin(origin)
        traced = outer = None
        if self._tracer is not None:
            traced = self._begin_span(request, origin.trace)
            # Also where none is recorded: what is answered behind another request may run in the context of that one.
            outer = within(traced)
        try:
            try:
                response = self._begin(request, target)
            except Exception as exc:  # noqa: BLE001  the last line of defence: a fault is answered, never shown
                response = self._explain(exc, request, target)
            if isinstance(response, HttpResponse):
                return self._finish(request, target, response, traced, started)
            return self._wait(response, request, target, origin, traced, started)
        finally:
            reset_origin(before)
            if outer is not None:
                leave(outer)

    async def _wait(
        self,
        response: Awaitable[HttpResponse],
        request: HttpRequest,
        target: Target,
        origin: RequestOrigin,
        traced: Span | None,
        started: float,
    ) -> Answer | None:
        set_origin(origin)
        if self._tracer is not None:
            within(traced)
        try:
            answer = await (response if traced is None else _in_operation(response, request, target))
        except Disconnected:
            if traced is not None:
                traced.end()
            return None
        except Exception as exc:  # noqa: BLE001  as above
            answer = self._explain(exc, request, target)
        return self._finish(request, target, answer, traced, started)

    def _open(self, request: HttpRequest) -> tuple[Target, RequestOrigin]:
        """Find out where a request leads, and what logs and audit are to know of it."""
        target, request.path, request.tail = self._routes.find_raw(request.raw_path)
        request.template = target.template
        request.client_address = address = self._proxies.client_address(request)
        given = request.header(b"x-request-id")
        request.request_id = request_id = given if given and _REQUEST_ID.fullmatch(given) else random_bytes().hex()
        user_agent = request.header(b"user-agent")
        decision = Decision(f"{request.method} {target.template}", request_id, self.keep_refusal)
        trace = None if self._tracer is None else self._find_trace(self._tracer, request)
        agent = user_agent[:_LONGEST_USER_AGENT] if user_agent else ""
        # In their order: named, these would cost as much again.
        return target, RequestOrigin(address, request_id, agent, "", decision, trace)

    def _find_trace(self, tracer: Tracer, request: HttpRequest) -> TraceContext:
        """Return the trace of a request: its caller's on a listener that joins those."""
        if not self._joins_traces or request.header(b"traceparent") is None:
            return tracer.begin()
        parents, states = request.header_values(b"traceparent"), request.header_values(b"tracestate")
        return tracer.join(parents, states, request.header_values(b"baggage"))

    def _begin_span(self, request: HttpRequest, trace: TraceContext | None) -> Span | None:
        """Begin the span of a request whose trace is recorded."""
        if trace is None or self._tracer is None:
            return None
        return self._tracer.start(f"{request.method} {request.template}", trace)

    def _begin(self, request: HttpRequest, target: Target) -> HttpResponse | Awaitable[HttpResponse]:
        """Return the endpoint's answer, or that of whatever stopped it."""
        # Outside the limiter: a preflight that is throttled looks like a refusal to the browser.
        if request.method == "OPTIONS" and self._cors.may_ask(request, target.cors):
            return self._cors.preflight
        wait = self._limits.take(address_key(request.client_address), self._monotonic()) if target.is_limited else 0
        if wait:
            note("requests of one address counted", setting=self._limited_by)
            return refusal(SlowDown(reason="rate_limited", retry_after=wait), request, self._errors)
        endpoint = target.endpoints.get(request.method)
        if endpoint is not None:
            return endpoint(request)
        if target.allowed:
            return wrong_method(request, target.allowed, self._errors)
        return problem(404, "there is nothing here") if self._errors is ErrorShape.PROBLEM else _NOT_FOUND

    def _explain(self, exc: Exception, request: HttpRequest, target: Target) -> HttpResponse:
        """Return the answer for what an endpoint raised; to be called while that is handled."""
        match exc:
            case OAuthError():
                return refusal(exc, request, target.errors)
            case PageRefusal():
                return page_refusal(exc, request)
            case BodyTooLarge():
                return refusal(InvalidRequest(UNREADABLE_FORM, reason="body_too_large"), request, target.errors)
            case StorageUnavailable():
                self._log.error(
                    "database does not answer",
                    error=str(exc),
                    path=request.path[:_LONGEST_PATH],
                    reference=fault_reference(),
                )
                return fault(request, target.errors, retry_after=exc.retry_after)
            case _:
                self._log.exception(
                    "panic recovered",
                    panic=type(exc).__name__,
                    method=request.method,
                    path=request.path[:_LONGEST_PATH],
                    reference=fault_reference(),
                )
                return fault(request, target.errors)

    def _finish(
        self, request: HttpRequest, target: Target, response: HttpResponse, traced: Span | None, started: float
    ) -> Answer:
        """Spell the answer, count it and log it."""
        try:
            head = self._head(request, target, response)
        except (KeyError, ValueError) as exc:
            response = self._explain(exc, request, target)
            head = self._head(request, target, response)
        status = response.status
        request.stream = None if request.method == "HEAD" else response.stream
        body = b"" if request.method == "HEAD" or status in _WITHOUT_BODY else response.body
        seconds = time.perf_counter() - started
        count_answer(request.method, request.template, status, seconds)
        if traced is not None:
            _end_span(traced, request, status, len(body))
        if status >= _CLIENT_ERROR or self._log.tells(logging.INFO):
            self._log_answer(request, status, len(body), seconds)
        return head, body

    def _log_answer(self, request: HttpRequest, status: int, size: int, seconds: float) -> None:
        """Write the access line."""
        write: Callable[..., None] = self._log.info
        if status >= _CLIENT_ERROR:
            write = self._log.warning if status < _SERVER_ERROR else self._log.error
        write(
            "http request",
            method=request.method,
            path=request.path[:_LONGEST_PATH],
            status=status,
            duration_ms=round(seconds * 1000, 3),
            bytes=size,
            remote_addr=request.client_address,
            user_agent=current_origin().user_agent,
        )

    def _head(self, request: HttpRequest, target: Target, response: HttpResponse) -> bytes:
        """Spell the status line and the headers: the answer's own and those that every answer carries.

        Raises:
            KeyError: There is no such status.
            ValueError: A header holds a character that none may have.
        """
        common, headers = self._common, response.headers + request.answer_headers
        if self._cors.varies and target.cors is Cors.LISTED:
            headers += self._cors.headers(request)
        own = spell_constant(headers)
        if own is None:
            own = spell(headers)
            for name, _ in headers:
                if name == _POLICY:
                    common = self._without_policy
        has_length = response.status not in _WITHOUT_BODY and response.stream is None
        length = b"" if not has_length else b"content-length: %d\r\n" % len(response.body)
        request_id = request.request_id.encode("ascii")
        shared = common[target.cors]
        return b"".join((_STATUS_LINES[response.status], own, shared, length, b"x-request-id: ", request_id, b"\r\n"))


async def _in_operation(response: Awaitable[HttpResponse], request: HttpRequest, target: Target) -> HttpResponse:
    """Wait for an endpoint's answer, within the span of what it does if that has a name."""
    operation = target.operations.get(request.method)
    if operation is None:
        return await response
    with span(operation):
        return await response


def _end_span(traced: Span, request: HttpRequest, status: int, size: int) -> None:
    """End the span of a request. Only a fault of ours is an error: a refusal is what a server is for."""
    # The route of an admin request is known only now.
    traced.name = f"{request.method} {request.template}"
    traced.attributes = {
        "http.method": request.method,
        "http.route": request.template,
        "http.url": request.path[:_LONGEST_PATH],
        "http.status_code": status,
        "http.response_size": size,
    }
    if status >= _SERVER_ERROR:
        traced.fail(str(status))
    traced.end()
