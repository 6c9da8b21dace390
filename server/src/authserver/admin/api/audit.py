"""``/admin/audit`` (admin API, 15)."""

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, Query, endpoint
from authserver.admin.records import Role
from authserver.admin.views import build_time
from authserver.audit.reading import AuditQuestion
from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import spell_id

FILTERS = {"action": Query.TEXT, "actor_id": Query.TEXT, "client_id": Query.TEXT, "since": Query.TIME}
_MOST = 2**31


class AuditEventView(TypedDict):
    """A row of the trail; every member is there, if empty."""

    id: str
    action: str
    actor_id: str
    client_id: str
    ip: str
    detail: str
    trace_id: str
    created_at: str


@endpoint(
    "GET",
    "/admin/audit",
    role=Role.AUDITOR,
    query={**FILTERS, "until": Query.TIME, "limit": Query.NUMBER, "offset": Query.NUMBER},
)
async def list_audit_events(call: Call[None]) -> list[AuditEventView]:
    """List what happened, newest first: the last day, unless since says otherwise."""
    question = AuditQuestion(
        action=call.query.get("action"),
        actor_id=call.query.get("actor_id"),
        client_id=call.query.get("client_id"),
        since=call.time("since"),
        until=call.time("until"),
        limit=call.number("limit", default=0, least=-_MOST, most=_MOST),
        offset=call.number("offset", default=0, least=-_MOST, most=_MOST),
    )
    return [build_event(event) for event in await call.parts.audit.read(question, now=call.now)]


def build_event(event: AuditRecord) -> AuditEventView:
    """Return a row as the API shows it."""
    return AuditEventView(
        id=spell_id(event.id),
        action=event.action,
        actor_id=event.actor_id,
        client_id=event.client_id,
        ip=event.ip,
        detail=event.detail,
        trace_id=event.trace_id,
        created_at=build_time(event.created_at),
    )


ENDPOINTS = (list_audit_events,)
