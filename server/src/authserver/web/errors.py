"""Refusals and faults become answers: the OAuth body, a page, or plain text (errors.md §1)."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import orjson

from authserver.protocol.errors import (
    ConsentRequired,
    InvalidClient,
    OAuthError,
    PageRefusal,
    SigningUnavailable,
    SlowDown,
)
from authserver.telemetry.logs import get_logger
from authserver.telemetry.notes import fault_reference, note, refuse
from authserver.web.http import NO_STORE, TEXT, ErrorShape, HttpRequest, HttpResponse
from authserver.web.pages import START_AGAIN, render_error_page

_log = get_logger("http")

_TYPE = "https://docs.authplane.ai/errors/"
_PROBLEM = (b"content-type", b"application/problem+json")
_JSON = (b"content-type", b"application/json")
_NO_CACHE = (b"pragma", b"no-cache")
# What a person is told: never the description, which may quote what was sent (errors.md §8).
_SENTENCES = {
    "invalid_request": "The request is malformed.",
    "slow_down": "There are too many requests from your network. Wait a moment and try again.",
}
_FAULT = "internal error"
_CHALLENGE = (b"www-authenticate", b'Basic realm="authserver"')
_NO_MEMBERS: Mapping[str, object] = MappingProxyType({})
_BEARER = (b"www-authenticate", b'Bearer realm="admin"')
_UNPRINTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


def wire_description(description: str, reference: str) -> str:
    """Return a description as it goes out: the ASCII that RFC 6749 §5.2 allows, its reference id, if any, behind (R48)."""
    text = _UNPRINTABLE.sub("?", description.replace('"', "'"))
    return f"{text} ({reference})" if reference else text


def report_refusal(exc: OAuthError | PageRefusal, **fields: str) -> None:
    """Leave what the reference id of a refusal leads to: a log line, and the decision with its steps."""
    if isinstance(exc, OAuthError) and not exc.is_refusal:
        _log.debug("request answered", answer=exc.error, **fields)
        return
    error = exc.error if isinstance(exc, OAuthError) else exc.title
    description = exc.description if isinstance(exc, OAuthError) else exc.message
    refuse(reference=exc.reference, error=error, reason=exc.reason, description=description, status=exc.status)
    if exc.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # A fault that was given a reason: its cause is told here, and nowhere else.
        _log.error("request failed", error=error, reason=exc.reason, reference=exc.reference, exc_info=exc, **fields)
        return
    _log.info("request refused", error=error, reason=exc.reason, reference=exc.reference, **fields)


def oauth_error(exc: OAuthError, request: HttpRequest) -> HttpResponse:
    """Answer a refusal as RFC 6749 §5.2 has it, with problem details (RFC 9457) beside it."""
    headers = [_content_type(request), NO_STORE, _NO_CACHE]
    if isinstance(exc, InvalidClient):
        headers.append(_CHALLENGE)
    if isinstance(exc, SlowDown | SigningUnavailable):
        headers.append(retry_after_header(exc.retry_after))
    body = _envelope(exc.error, wire_description(exc.description, exc.reference), exc.status)
    if exc.reference:
        body["reference"] = exc.reference
    if isinstance(exc, ConsentRequired) and exc.consent_url:
        body |= {"consent_url": exc.consent_url, "cause": exc.cause}
    if exc.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        body["request_id"] = request.request_id
    return HttpResponse(exc.status, orjson.dumps(body), tuple(headers))


def problem(
    status: int,
    detail: str,
    *,
    members: Mapping[str, object] = _NO_MEMBERS,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> HttpResponse:
    """Answer an operator with problem details (RFC 9457): four members, and those that a status has beside them."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    return HttpResponse(status, orjson.dumps(body), (_PROBLEM, NO_STORE, *headers))


def unauthorized(description: str) -> HttpResponse:
    """Answer an operator without a valid key (admin API, 1.3)."""
    body = {"error": "unauthorized", "error_description": description}
    return HttpResponse(401, orjson.dumps(body), (_JSON, NO_STORE, _BEARER))


def refusal(exc: OAuthError, request: HttpRequest, shape: ErrorShape) -> HttpResponse:
    """Answer a refusal in the shape of its route."""
    report_refusal(exc)
    match shape:
        case ErrorShape.OAUTH:
            return oauth_error(exc, request)
        case ErrorShape.PAGE:
            answer = render_error_page(
                title="Authorization Error",
                message=_SENTENCES.get(exc.error, "The request could not be served."),
                reference=exc.reference,
                status=exc.status,
                request_id=request.request_id,
            )
        case ErrorShape.PROBLEM if isinstance(exc, SlowDown):
            body = {"error": exc.error, "error_description": wire_description(exc.description, exc.reference)}
            answer = HttpResponse(exc.status, orjson.dumps(body), (_JSON, NO_STORE))
        case ErrorShape.PROBLEM:
            answer = problem(exc.status, wire_description(exc.description, exc.reference))
        case ErrorShape.PLAIN:
            text = f"{exc.error}: {wire_description(exc.description, exc.reference)}\n"
            answer = HttpResponse(exc.status, text.encode("ascii"), (TEXT, NO_STORE))
    if isinstance(exc, SlowDown):
        return answer.with_headers(retry_after_header(exc.retry_after))
    return answer


def page_refusal(exc: PageRefusal, request: HttpRequest) -> HttpResponse:
    """Answer a refusal that a person is told about."""
    report_refusal(exc)
    return render_error_page(
        title=exc.title,
        message=exc.message,
        reference=exc.reference,
        status=exc.status,
        request_id=request.request_id,
        next_step=exc.next_step or START_AGAIN,
    )


def wrong_method(request: HttpRequest, allowed: str, shape: ErrorShape = ErrorShape.PLAIN) -> HttpResponse:
    """Answer a method that a path does not serve: plain text, as whoever sent it did not follow a link of ours.

    Operators get problem details.
    """
    exc = PageRefusal("Method Not Allowed", "method not allowed", status=405)
    note("method looked at", method=request.method, expected=allowed)
    report_refusal(exc)
    text, allow = f"{exc.message} ({exc.reference})", (b"allow", allowed.encode("ascii"))
    if shape is ErrorShape.PROBLEM:
        return problem(exc.status, text, headers=(allow,))
    return HttpResponse(exc.status, f"{text}\n".encode("ascii"), (TEXT, NO_STORE, allow))


def fault(request: HttpRequest, shape: ErrorShape, *, retry_after: int | None = None) -> HttpResponse:
    """Answer a fault of ours: 503 when the database is away, else 500; never with its cause (ruling R11).

    Its reference id is ``fault_reference``, which the log line of the cause has too.

    Args:
        request: The request that failed.
        shape: The shape of its route.
        retry_after: Seconds, when the database is away.
    """
    status = 500 if retry_after is None else 503
    waiting = () if retry_after is None else (retry_after_header(retry_after),)
    reference = fault_reference()
    reason = "internal_error" if retry_after is None else "database_unavailable"
    refuse(reference=reference, error="server_error", reason=reason, description=_FAULT, status=status)
    match shape:
        case ErrorShape.OAUTH:
            body = _envelope("server_error", wire_description(_FAULT, reference), status)
            body |= {"reference": reference, "request_id": request.request_id}
            return HttpResponse(status, orjson.dumps(body), (_content_type(request), NO_STORE, *waiting))
        case ErrorShape.PAGE:
            page = render_error_page(
                title="Something went wrong",
                message="The server could not answer. It is not your fault; try again in a moment.",
                reference=reference,
                status=status,
                request_id=request.request_id,
            )
            return page.with_headers(*waiting)
        case ErrorShape.PROBLEM:
            return problem(status, f"{_FAULT} ({reference})", headers=waiting)
        case ErrorShape.PLAIN:
            return HttpResponse(status, f"{_FAULT} ({reference})\n".encode("ascii"), (TEXT, NO_STORE, *waiting))


def _envelope(error: str, description: str, status: int) -> dict[str, object]:
    return {
        "error": error,
        "error_description": description,
        "type": _TYPE + error,
        "title": HTTPStatus(status).phrase,
        "detail": description,
        "status": status,
    }


def _content_type(request: HttpRequest) -> tuple[bytes, bytes]:
    """Return problem+json, unless the client asks for plain JSON and not for that."""
    ranges = ",".join(request.header_values(b"accept")).lower().split(",")
    types = {media_range.partition(";")[0].strip() for media_range in ranges}
    return _JSON if "application/json" in types and "application/problem+json" not in types else _PROBLEM


def retry_after_header(seconds: int) -> tuple[bytes, bytes]:
    """Return the header that says when to come again, in one second at least."""
    return b"retry-after", str(max(1, seconds)).encode("ascii")
