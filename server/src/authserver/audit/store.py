"""SQL of ``audit_rows``, which the view ``audit_events`` shows with texts for numbers."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from authserver.audit.records import AuditEvent, AuditRecord
from authserver.protocol.identifiers import LAST_ID, first_id
from authserver.storage.database import Append, Reader, Row, Value, Writer
from authserver.storage.merging import find_nth, read_merged
from authserver.storage.names import between, newest_first, number_of, text_of

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
_COLUMNS = (
    f"id, created_at, {text_of('action_number')} AS action, coalesce({text_of('actor_number')}, '') AS actor_id,"
    f" coalesce({text_of('client_number')}, '') AS client_id, ip, detail, trace_id, reference"
)
_MEMBERS = 9
_SCAN = f"SELECT {_COLUMNS} FROM audit_rows WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3"
_EARLIEST = b"\x00" * 16
_IDS = 64
_MARKS = ", ".join(f"${n}" for n in range(1, _IDS + 1))


def append_event(tx: Writer, event_id: bytes, event: AuditEvent, *, now: int) -> Coroutine[Any, Any, None]:
    """Append a row; to be awaited."""
    return tx.append(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted; None leaves a member open.

    Attributes:
        since: From this second on.
        until: Before this second.
    """

    action: str | None = None
    actor_id: str | None = None
    client_id: str | None = None
    since: int | None = None
    until: int | None = None


async def page_events(db: Reader, wanted: EventFilter, *, limit: int, before: bytes | None = None) -> list[AuditRecord]:
    """Read a page, newest first.

    Args:
        db: Where to read.
        wanted: Only such rows.
        limit: Rows a page.
        before: The id of the last row of the page before; None starts at the newest.
    """
    lists, values = _wanted(_COLUMNS, wanted, before)
    return [_record(row) for row in await read_merged(db, lists, values, limit=limit, order=_id)]


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
    """Read a page, newest first, as ``page_events``."""
    wanted = EventFilter(action=action, actor_id=actor_id, client_id=client_id, since=since)
    return await page_events(db, wanted, limit=limit, before=before)


async def find_event_position(db: Reader, wanted: EventFilter, *, passed_over: int) -> bytes | None:
    """Return the id of the last of so many rows, newest first; None when there are fewer. To be surveyed."""
    lists, values = _wanted("id", wanted)
    row = await find_nth(db, lists, values, nth=passed_over, order=_id)
    return None if row is None else row["id"]


def _wanted(columns: str, wanted: EventFilter, before: bytes | None = None) -> tuple[list[str], list[Value]]:
    """Return SQL for the rows that are wanted: one list, or two to be merged.

    One index leads, of what is likely to have the fewest rows, and what else must be equal is looked at on the way.
    """
    values: list[Value] = [
        _EARLIEST if wanted.since is None else first_id(wanted.since * 1000),
        min(before or LAST_ID, LAST_ID if wanted.until is None else first_id(wanted.until * 1000)),
    ]
    client, actor = wanted.client_id, wanted.actor_id
    is_itself = client is not None and client == actor
    numbers: dict[str, str] = {}
    for column, value in (("client", client), ("actor", None if is_itself else actor), ("action", wanted.action)):
        if value is not None:
            values.append(value)
            numbers[f"{column}_number"] = number_of(f"${len(values)}")
    if client is None:
        return [_list(columns, numbers)], values
    # What a client did itself is found by its actor: so the row of a machine's token is in one index less.
    by_others = _list(columns, numbers, "coalesce(actor_number, 0) <> client_number")
    by_itself = _list(columns, {"actor_number": numbers["client_number"]} | numbers)
    return [by_itself] if is_itself else [by_others] if actor is not None else [by_others, by_itself], values


def _list(columns: str, numbers: Mapping[str, str], *conditions: str) -> str:
    """Return SQL for the rows that hold certain numbers, between the ids ``$1`` and ``$2``, newest first."""
    if not numbers:
        return f"SELECT {columns} FROM audit_rows WHERE id > $1 AND id < $2 ORDER BY id DESC"
    (lead, number), *others = numbers.items()
    found = [between(lead, number, "$1", "$2"), *conditions]
    if lead == "actor_number":
        found.append("actor_number IS NOT NULL")
    found += [f"{column} + 0 = {other}" for column, other in others]
    return f"SELECT {columns} FROM audit_rows WHERE {' AND '.join(found)} {newest_first(lead)}"


async def scan_events(db: Reader, *, after: bytes, through: bytes, limit: int) -> list[AuditRecord]:
    """Read rows in the order of their ids.

    Args:
        db: Where to read.
        after: The id before the first.
        through: The last id that may come.
        limit: How many at most.
    """
    return [_record(row) for row in await db.fetch_all(_SCAN, after, through, limit)]


async def scan_members(db: Reader, *, after: bytes, through: bytes, limit: int) -> list[tuple[Any, ...]]:
    """Read rows as ``scan_events``; return the members of each, in the order in which they are hashed."""
    return [row[:_MEMBERS] for row in await db.fetch_all(_SCAN, after, through, limit)]


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
        rows += await db.fetch_all(f"SELECT {_COLUMNS} FROM audit_rows WHERE id IN ({_MARKS}) ORDER BY id", *chunk)
    return [_record(row) for row in rows]


async def delete_events(tx: Writer, ids: Sequence[bytes]) -> int:
    """Delete rows by their ids; return how many there were."""
    deleted = 0
    for chunk in _chunks(ids):
        deleted += await tx.execute(f"DELETE FROM audit_rows WHERE id IN ({_MARKS})", *chunk)
    return deleted


def _id(row: Row) -> bytes:
    return cast("bytes", row["id"])


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
