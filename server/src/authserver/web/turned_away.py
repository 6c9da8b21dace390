"""Connections whose request is not looked at: what they are told, and what is left of them."""

import contextvars
import secrets
from http import HTTPStatus

from authserver.protocol.errors import new_reference
from authserver.telemetry.decisions import Decision
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import HTTP_REQUESTS, OTHER
from authserver.telemetry.notes import refuse
from authserver.telemetry.origin import RequestOrigin, set_origin
from authserver.web.server import WebApp

_log = get_logger("http")

_PHRASES = {
    400: "Malformed request.",
    414: "Request target too long.",
    431: "Request head too large.",
    503: "Too many connections.",
}
_REASONS = {400: "head_malformed", 414: "target_too_long", 431: "head_too_large", 503: "connections_full"}


def turn_away(status: int, app: WebApp, *, peer: str, date: bytes) -> bytes:
    """Note that a connection is refused, and return all that it is sent.

    Args:
        status: One of those above.
        app: Says what every answer carries, and keeps what explains the refusal.
        peer: The client's address.
        date: The header of that name, as it is sent.
    """
    request_id, reference = secrets.token_hex(16), new_reference()
    text = f"{_PHRASES[status]} ({reference})\n".encode("ascii")
    lines = [
        b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii")),
        b"content-type: text/plain; charset=utf-8",
        b"content-length: %d" % len(text),
        b"cache-control: no-store",
        b"x-request-id: " + request_id.encode("ascii"),
        *((b"retry-after: 1",) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()),
        b"connection: close",
        date + app.common_headers,
    ]
    HTTP_REQUESTS.inc(OTHER, "unmatched", str(status))
    decision = Decision("connection", request_id, app.keep_refusal)
    origin = RequestOrigin(ip=peer, request_id=request_id, decision=decision)
    # In a context of its own: what the connection does next belongs to no request of this id.
    contextvars.Context().run(_note, status, origin, reference)
    return b"\r\n".join(lines) + b"\r\n" + text


def _note(status: int, origin: RequestOrigin, reference: str) -> None:
    set_origin(origin)
    error, reason = HTTPStatus(status).phrase, _REASONS[status]
    refuse(reference=reference, error=error, reason=reason, description=_PHRASES[status], status=status)
    _log.warning(
        "connection refused", status=status, cause=_PHRASES[status], remote_addr=origin.ip, reference=reference
    )
