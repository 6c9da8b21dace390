"""SQL of the traces."""

from collections.abc import Iterable

import orjson

from authserver.storage.database import Append, Database, Reader, Row, Value, Writer
from authserver.telemetry.decisions import Refused
from authserver.traces.records import RefusalTrace

TRIM_ROWS = 500

_TRACES = Append(
    "refusal_traces",
    {
        "reference": "text",
        "error": "text",
        "client_id": "text",
        "decision": "text",
        "created_at": "bigint",
        "is_anonymous": "boolean",
    },
)
_COLUMNS = f"id, {_TRACES.names}"


async def append_traces(tx: Writer, refusals: Iterable[tuple[Refused, int]]) -> None:
    """Append refusals with the seconds they happened at."""
    for refused, now in refusals:
        await tx.append(
            _TRACES,
            refused.reference,
            refused.error,
            refused.client_id,
            refused.decision,
            now,
            refused.is_anonymous,
        )


async def delete_anonymous_surplus(tx: Writer, *, keep: int) -> None:
    """Delete the anonymous ones but for the newest ``keep`` rows of all. Ids without a row count too: more may go."""
    await tx.execute(
        "DELETE FROM refusal_traces WHERE is_anonymous = $1 AND id <= (SELECT max(id) FROM refusal_traces) - $2",
        True,
        keep,
    )


async def delete_known_surplus(tx: Writer, *, keep: int) -> None:
    """Delete all but the newest ``keep`` of those that are not anonymous."""
    await tx.execute(
        "DELETE FROM refusal_traces WHERE is_anonymous = $1 AND id <="
        " (SELECT id FROM refusal_traces WHERE is_anonymous = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
        False,
        keep,
    )


async def delete_expired(tx: Writer, *, before: int) -> int:
    """Delete a batch of what is older than ``before``; return how many rows went, fewer than a batch at the end."""
    return await tx.execute(
        "DELETE FROM refusal_traces WHERE created_at < $1"
        " AND id IN (SELECT id FROM refusal_traces WHERE id > 0 ORDER BY id LIMIT $2)",
        before,
        TRIM_ROWS,
    )


async def find_trace(db: Reader, reference: str) -> RefusalTrace | None:
    """Return the trace of a refusal, or None."""
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM refusal_traces WHERE reference = $1 ORDER BY id DESC LIMIT 1", reference
    )
    return _trace(row) if row else None


async def list_traces(
    db: Database, *, limit: int, since: int, client_id: str = "", error: str = ""
) -> list[RefusalTrace]:
    """Return the newest traces, newest first.

    Args:
        db: Where to read.
        limit: How many.
        since: Only those from this second on.
        client_id: Only those about this client.
        error: Only those with this error.
    """
    conditions, values = ["created_at >= $1"], list[Value]([since])
    for column, value in (("client_id", client_id), ("error", error)):
        if value:
            values.append(value)
            conditions.append(f"{column} = ${len(values)}")
    values.append(limit)
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM refusal_traces WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ${len(values)}",
        *values,
    )
    return [_trace(row) for row in rows]


def _trace(row: Row) -> RefusalTrace:
    decision = orjson.loads(row["decision"])
    return RefusalTrace(
        reference=row["reference"],
        error=row["error"],
        client_id=row["client_id"],
        endpoint=decision["endpoint"],
        request_id=decision["request_id"],
        status=decision["status"],
        reason=decision["reason"],
        description=decision["description"],
        steps=tuple(decision["steps"]),
        created_at=row["created_at"],
    )
