"""Where the present request came from: the one ambient value, read by logs, the audit trail and the notes of a decision alone."""

from contextvars import ContextVar
from dataclasses import dataclass

from authserver.telemetry.decisions import Decision


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """The request that is being served.

    Attributes:
        ip: Address of the client as the listener trusts it; empty outside requests.
        request_id: Echoed as ``X-Request-ID``.
        trace_id: 32 hexadecimal digits, or empty when the request is not traced.
        user_agent: As sent, for the access line.
        decision: What is noted for the case that the request is refused; None outside requests.
    """

    ip: str = ""
    request_id: str = ""
    trace_id: str = ""
    user_agent: str = ""
    decision: Decision | None = None


NOWHERE = RequestOrigin()
"""The origin of what no request caused: the command line, seeding, purging, the change watcher."""

_origin: ContextVar[RequestOrigin] = ContextVar("request_origin", default=NOWHERE)


def set_origin(origin: RequestOrigin) -> None:
    """Say where the work of this task comes from. Each request runs in a task of its own, so nothing is put back."""
    _origin.set(origin)


def current_origin() -> RequestOrigin:
    """Return the origin of the request being served, or ``NOWHERE``."""
    return _origin.get()
