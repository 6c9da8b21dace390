"""SQL of the audit trail."""

from typing import Any

from authserver.audit.records import AuditEvent, AuditRecord
from authserver.storage.database import Append, Reader, Row, Writer

_AUDIT_EVENTS = Append(
    "audit_events",
    {
        "id": "bytea",
        "action": "text",
        "actor_id": "text",
        "client_id": "text",
        "ip": "text",
        "detail": "text",
        "trace_id": "text",
        "reference": "text",
        "created_at": "bigint",
    },
)
_EARLIEST = b"\x00" * 16
_LATEST = b"\xff" * 16


async def append_event(tx: Writer, event_id: bytes, event: AuditEvent, *, now: int) -> None:
    """Append a row."""
    await tx.append(
        _AUDIT_EVENTS,
        event_id,
        str(event.action),
        event.actor_id,
        event.client_id,
        event.ip,
        event.detail,
        event.trace_id,
        event.reference,
        now,
    )


async def list_events(
    db: Reader,
    *,
    limit: int,
    action: str | None = None,
    actor_id: str | None = None,
    client_id: str | None = None,
    since: int | None = None,
    before: bytes | None = None,
) -> list[AuditRecord]:
    """Read a page, newest first.

    Args:
        db: Where to read.
        limit: Rows a page.
        action: Only rows of this action.
        actor_id: Only rows of this actor.
        client_id: Only rows about this client.
        since: Only rows from this second on.
        before: The id of the last row of the page before; None starts at the newest.
    """
    # One equality at most is asked of the database beside the range of ids: each has an index that ends in the id, and
    # a planner that is free to combine them picks badly.
    conditions = ["id >= $1", "id < $2"]
    values: list[Any] = [_first_id(since), before or _LATEST]
    # The constant conditions let the planner prove that the partial indexes hold every row that is asked for.
    for column, value in (("action", action), ("actor_id", actor_id), ("client_id", client_id)):
        if value is not None:
            values.append(value)
            conditions.append(f"{column} = ${len(values)}" + ("" if column == "action" else f" AND {column} <> ''"))
    values.append(limit)
    rows = await db.fetch_all(
        f"SELECT {_AUDIT_EVENTS.names} FROM audit_events WHERE {' AND '.join(conditions)}"
        f" ORDER BY id DESC LIMIT ${len(values)}",
        *values,
    )
    return [_record(row) for row in rows]


def _first_id(since: int | None) -> bytes:
    """Return the lowest id of a second: ids begin with milliseconds."""
    return _EARLIEST if since is None else (since * 1000).to_bytes(6, "big") + bytes(10)


def _record(row: Row) -> AuditRecord:
    return AuditRecord(
        id=row["id"],
        action=row["action"],
        actor_id=row["actor_id"],
        client_id=row["client_id"],
        ip=row["ip"],
        detail=row["detail"],
        trace_id=row["trace_id"],
        reference=row["reference"],
        created_at=row["created_at"],
    )
