"""SQL of deliveries."""

from authserver.audit.delivery.records import Batch, Delivery
from authserver.storage.database import Reader, Row, Writer

_COLUMNS = "destination, checkpoint, position, sequence, begun_at, delivered_at, failures, last_error, next_attempt_at"


async def find_delivery(db: Reader, destination: str) -> Delivery | None:
    """Return where a destination stands, or None when it has not begun."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM audit_deliveries WHERE destination = $1", destination)
    return None if row is None else _delivery(row)


async def list_deliveries(db: Reader) -> list[Delivery]:
    """Return where all destinations stand, those that are configured no more, too."""
    rows = await db.fetch_all(f"SELECT {_COLUMNS} FROM audit_deliveries ORDER BY destination")
    return [_delivery(row) for row in rows]


async def begin_delivery(tx: Writer, delivery: Delivery) -> None:
    """Begin with a destination, unless another process has."""
    await tx.execute(
        f"INSERT INTO audit_deliveries ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, NULL, 0, '', 0)"
        " ON CONFLICT (destination) DO NOTHING",
        delivery.destination,
        delivery.checkpoint,
        delivery.position,
        delivery.sequence,
        delivery.begun_at,
    )


async def advance_delivery(tx: Writer, delivery: Delivery, batch: Batch, *, now: int) -> bool:
    """Note that a batch was acknowledged; False when another process has gone on from there already."""
    count = await tx.execute(
        "UPDATE audit_deliveries SET checkpoint = $4, position = $5, sequence = $6, delivered_at = $7, failures = 0,"
        " last_error = '', next_attempt_at = 0 WHERE destination = $1 AND checkpoint = $2 AND position = $3",
        delivery.destination,
        delivery.checkpoint,
        delivery.position,
        *batch.reached,
        now,
    )
    return count == 1


async def fail_delivery(tx: Writer, delivery: Delivery, error: str, *, next_attempt_at: int) -> None:
    """Note that an attempt failed."""
    await tx.execute(
        "UPDATE audit_deliveries SET failures = failures + 1, last_error = $4, next_attempt_at = $5"
        " WHERE destination = $1 AND checkpoint = $2 AND position = $3",
        delivery.destination,
        delivery.checkpoint,
        delivery.position,
        error,
        next_attempt_at,
    )


async def lowest_delivered(db: Reader, destinations: frozenset[str]) -> int | None:
    """Return the number of the last checkpoint that all of these have whole; None when none of them has begun."""
    return min((d.checkpoint for d in await list_deliveries(db) if d.destination in destinations), default=None)


def _delivery(row: Row) -> Delivery:
    return Delivery(
        destination=row["destination"],
        checkpoint=row["checkpoint"],
        position=row["position"],
        sequence=row["sequence"],
        begun_at=row["begun_at"],
        delivered_at=row["delivered_at"],
        failures=row["failures"],
        last_error=row["last_error"],
        next_attempt_at=row["next_attempt_at"],
    )
