"""What the audit trail holds."""

from dataclasses import dataclass

from authserver.audit.events import Action
from authserver.telemetry.origin import current_origin

_ADMIN = "admin"


def operator_name() -> str:
    """Return who changes something as an operator: the name on the key of an admin request, else ``admin``."""
    return current_origin().operator or _ADMIN


@dataclass(slots=True, init=False)
class AuditEvent:
    """Something that happened, before it is stored.

    Build it in the task of the request: that is where address and trace id come from when they are not given. Not frozen, and
    filled by hand, since every request makes one.

    Attributes:
        actor_id: A user's or client's id, an operator's name, ``cli``, ``system``, or empty.
        client_id: The OAuth client concerned, or empty.
        detail: ``key=value key=value``, made by ``detail``.
        reference: The reference id of the refusal, when it is one.
    """

    action: Action
    actor_id: str
    client_id: str
    detail: str
    ip: str
    trace_id: str
    reference: str | None

    def __init__(
        self,
        action: Action,
        actor_id: str = "",
        client_id: str = "",
        detail: str = "",
        ip: str | None = None,
        trace_id: str | None = None,
        reference: str | None = None,
    ) -> None:
        """Take what happened; None for the request that is being served."""
        self.action = action
        self.actor_id = actor_id
        self.client_id = client_id
        self.detail = detail
        origin = current_origin()
        self.ip = origin.ip if ip is None else ip
        if trace_id is None:
            trace_id = "" if origin.trace is None else origin.trace.trace_id
        self.trace_id = trace_id
        self.reference = reference


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A row of the audit trail.

    Attributes:
        id: 16 bytes in the order of time.
        created_at: Seconds since the epoch.
    """

    id: bytes
    action: str
    actor_id: str
    client_id: str
    ip: str
    detail: str
    trace_id: str
    reference: str | None
    created_at: int
