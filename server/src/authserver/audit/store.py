"""SQL of ``audit_rows``, which the view ``audit_events`` shows with texts for numbers."""

from collections.abc import Iterator, Sequence
from typing import Any

from authserver.audit.records import AuditEvent, AuditRecord
from authserver.protocol.identifiers import first_id
from authserver.storage.database import Append, Reader, Row, Writer
from authserver.storage.names import number_of

_AUDIT_EVENTS = Append(
    "audit_rows",
    {
        "id": "bytea",
        "action_number": "int",
        "actor_number": "int",
        "client_number": "int",
        "ip": "text",
        "detail": "text",
        "trace_id": "text",
        "reference": "text",
        "created_at": "bigint",
    },
    named=("action_number", "actor_number", "client_number"),
)
_EARLIEST = b"\x00" * 16
_IDS = 64
_MARKS = ", ".join(f"${n}" for n in range(1, _IDS + 1))
_LATEST = b"\xff" * 16


async def append_event(tx: Writer, event_id: bytes, event: AuditEvent, *, now: int) -> None:
    """Append a row."""
    await tx.append(
        _AUDIT_EVENTS,
        event_id,
        str(event.action),
        event.actor_id or None,
        event.client_id or None,
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
    until: int | None = None,
    offset: int = 0,
    before: bytes | None = None,
    after: bytes | None = None,
) -> list[AuditRecord]:
    """Read a page, newest first.

    Args:
        db: Where to read.
        limit: Rows a page.
        action: Only rows of this action.
        actor_id: Only rows of this actor.
        client_id: Only rows about this client.
        since: Only rows from this second on.
        until: Only rows before this second.
        offset: Rows passed over, for interfaces that promise it; ``before`` costs less.
        before: The id of the last row of the page before; None starts at the newest.
        after: Only rows of a higher id.
    """
    # One equality at most is asked of the database beside the range of ids: each has an index that ends in the id, and
    # a planner that is free to combine them picks badly.
    conditions = ["id > $1", "id < $2"]
    first = _EARLIEST if since is None else first_id(since * 1000)
    last = _LATEST if until is None else first_id(until * 1000)
    values: list[Any] = [max(first, after or _EARLIEST), min(before or _LATEST, last)]
    for column, value in (("action", action), ("actor", actor_id), ("client", client_id)):
        if value is not None:
            values.append(value)
            conditions.append(f"{column}_number = {number_of(f'${len(values)}')}")
    values += (limit, offset)
    page = (
        f"SELECT * FROM audit_rows WHERE {' AND '.join(conditions)}"
        f" ORDER BY id DESC LIMIT ${len(values) - 1} OFFSET ${len(values)}"
    )
    rows = await db.fetch_all(f"{_with_texts(page)} DESC", *values)
    return [_record(row) for row in rows]


async def scan_events(db: Reader, *, after: bytes, through: bytes, limit: int) -> list[AuditRecord]:
    """Read rows in the order of their ids.

    Args:
        db: Where to read.
        after: The id before the first.
        through: The last id that may come.
        limit: How many at most.
    """
    rows = await db.fetch_all(
        _with_texts("SELECT * FROM audit_rows WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3"),
        after,
        through,
        limit,
    )
    return [_record(row) for row in rows]


async def has_events(db: Reader, *, after: bytes, through: bytes) -> bool:
    """Tell whether there is a row in a range of ids."""
    sql = "SELECT id FROM audit_rows WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1"
    return bool(await db.fetch_all(sql, after, through))


async def count_events(db: Reader, *, after: bytes, through: bytes) -> int:
    """Return how many rows there are in a range of ids; to be asked by ``survey``."""
    row = await db.fetch_one("SELECT count(*) AS n FROM audit_rows WHERE id > $1 AND id <= $2", after, through)
    return 0 if row is None else int(row["n"])


async def find_events(db: Reader, ids: Sequence[bytes]) -> list[AuditRecord]:
    """Read rows by their ids, in the order of the ids; those that are not there are left out."""
    rows: list[Row] = []
    for chunk in _chunks(ids):
        rows += await db.fetch_all(_with_texts(f"SELECT * FROM audit_rows WHERE id IN ({_MARKS})"), *chunk)
    return [_record(row) for row in rows]


async def delete_events(tx: Writer, ids: Sequence[bytes]) -> int:
    """Delete rows by their ids; return how many there were."""
    deleted = 0
    for chunk in _chunks(ids):
        deleted += await tx.execute(f"DELETE FROM audit_rows WHERE id IN ({_MARKS})", *chunk)
    return deleted


def _with_texts(rows: str) -> str:
    """Return SQL for rows that a query of ``audit_rows`` finds, with texts for their numbers, in the order of their ids."""
    return (
        "SELECT e.id, n.name AS action, coalesce(a.name, '') AS actor_id, coalesce(c.name, '') AS client_id, e.ip,"
        f" e.detail, e.trace_id, e.reference, e.created_at FROM ({rows}) e"
        " JOIN names n ON n.number = e.action_number LEFT JOIN names a ON a.number = e.actor_number"
        " LEFT JOIN names c ON c.number = e.client_number ORDER BY e.id"
    )


def _chunks(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield the ids in lists of the one length that statements have; the last id fills the last list up."""
    for start in range(0, len(ids), _IDS):
        chunk = ids[start : start + _IDS]
        yield [*chunk, *[chunk[-1]] * (_IDS - len(chunk))]


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
