"""Where the present request came from: read by logs, the audit trail, the notes of a decision and spans alone."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

from authserver.telemetry.decisions import Decision
from authserver.telemetry.trace_context import TraceContext


class RequestOrigin(NamedTuple):
    """The request that is being served.

    Attributes:
        ip: Address of the client as the listener trusts it; empty outside requests.
        request_id: Echoed as ``X-Request-ID``.
        trace: The trace that it belongs to, recorded or not; None while tracing is off.
        user_agent: As sent, for the access line.
        operator: The operator's name, once an admin request has shown a key that is theirs.
        decision: What is noted for the case that the request is refused; None outside requests.
    """

    ip: str = ""
    request_id: str = ""
    user_agent: str = ""
    operator: str = ""
    decision: Decision | None = None
    trace: TraceContext | None = None


NOWHERE = RequestOrigin()
"""The origin of what no request caused: the command line, seeding, purging, the change watcher."""

_origin: ContextVar[RequestOrigin] = ContextVar("request_origin", default=NOWHERE)


set_origin = _origin.set
"""Say where the work of this context comes from; a request that has a task of its own need not put it back.

Returns:
    What ``reset_origin`` puts back.
"""

reset_origin = _origin.reset
"""Put back what was there before."""

# The variable's own method, as every note and every line asks for it.
current_origin: Callable[[], RequestOrigin] = _origin.get
"""Return the origin of the request being served, or ``NOWHERE``."""
