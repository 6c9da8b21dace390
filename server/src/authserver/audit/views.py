"""What operators see of the trail: one event as the API and the commands show it."""

from datetime import UTC, datetime
from typing import Any

from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import spell_id


def view_event(record: AuditRecord) -> dict[str, Any]:
    """Return an event as the admin API has it (admin-api.md §15), with the reference id of a refusal beside it."""
    return {
        "id": spell_id(record.id),
        "action": record.action,
        "actor_id": record.actor_id,
        "client_id": record.client_id,
        "ip": record.ip,
        "detail": record.detail,
        "trace_id": record.trace_id,
        "reference": record.reference or "",
        "created_at": spell_time(record.created_at),
    }


def spell_time(seconds: int) -> str:
    """Return a time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
