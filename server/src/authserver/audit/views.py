"""What operators see of the trail: one event as the API and the commands show it."""

# Not typing's: pydantic reads these on Python 3.11 too.
from typing_extensions import TypedDict

from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import spell_id
from authserver.protocol.times import spell_time


class AuditEventView(TypedDict):
    """A row of the trail; every member is there, if empty. ``reference`` is that of a refusal."""

    id: str
    action: str
    actor_id: str
    client_id: str
    ip: str
    detail: str
    trace_id: str
    reference: str
    created_at: str


def build_event(event: AuditRecord) -> AuditEventView:
    """Return a row as the API, the commands and the deliveries show it."""
    return AuditEventView(
        id=spell_id(event.id),
        action=event.action,
        actor_id=event.actor_id,
        client_id=event.client_id,
        ip=event.ip,
        detail=event.detail,
        trace_id=event.trace_id,
        reference=event.reference or "",
        created_at=spell_time(event.created_at),
    )
