"""Cuts the chain into batches, and tells how far behind a destination is."""

from dataclasses import dataclass

from authserver.audit.chain.hashing import leaf_ids
from authserver.audit.chain.records import Checkpoint
from authserver.audit.chain.store import find_head, list_checkpoints
from authserver.audit.delivery.records import Batch, Delivery, SentEvent
from authserver.audit.records import AuditRecord
from authserver.audit.store import find_events
from authserver.protocol.identifiers import second_of
from authserver.storage.database import Reader
from authserver.telemetry.logs import get_logger

ROWS = 500
"""The most rows of a batch."""
CHARACTERS = 256 * 1024
"""About the size from which on a batch takes no further row."""

_OVERHEAD = 300

_log = get_logger("audit")


async def next_batch(db: Reader, delivery: Delivery) -> Batch | None:
    """Return what a destination gets next, or None when it has everything."""
    events: list[SentEvent] = []
    room = CHARACTERS
    checkpoint, position, sequence = delivery.checkpoint, delivery.position, delivery.sequence
    last: tuple[int, str] | None = None
    for sealed in await list_checkpoints(db, after=delivery.checkpoint):
        if sealed.number != checkpoint + 1:
            _log.error("audit rows were purged before they were delivered", destination=delivery.destination)
            position, sequence = 0, sealed.total - sealed.count
        ids = leaf_ids(sealed.leaves)
        end = min(len(ids), position + ROWS - len(events))
        rows = {row.id: row for row in await find_events(db, ids[position:end])}
        last = (sealed.number, sealed.hash)
        while position < end and room > 0:
            row = rows.get(ids[position])
            position, sequence = position + 1, sequence + 1
            # One that somebody removed cannot be sent; its number is missing where the others arrive.
            if row is not None:
                events.append(SentEvent(record=row, sequence=sequence, checkpoint=sealed.number))
                room -= _size(row)
        if position < len(ids):
            return Batch(events=events, checkpoint=last, reached=(sealed.number - 1, position, sequence))
        checkpoint, position = sealed.number, 0
        if len(events) >= ROWS or room <= 0:
            break
    return None if last is None else Batch(events=events, checkpoint=last, reached=(checkpoint, position, sequence))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far behind a destination is.

    Attributes:
        pending: How many sealed rows it does not have yet.
        seconds: The age of the first of them.
    """

    pending: int
    seconds: int


async def measure_lag(db: Reader, delivery: Delivery, *, now: int) -> Lag:
    """Return how far behind a destination is."""
    head = await find_head(db)
    pending = max(0, head.total - delivery.sequence)
    if not pending:
        return Lag(pending=0, seconds=0)
    waiting = await list_checkpoints(db, after=delivery.checkpoint, limit=1)
    return Lag(pending=pending, seconds=max(0, now - _first_second(waiting, delivery.position)) if waiting else 0)


def _first_second(waiting: list[Checkpoint], position: int) -> int:
    ids = leaf_ids(waiting[0].leaves)
    return second_of(ids[min(position, len(ids) - 1)])


def _size(row: AuditRecord) -> int:
    return _OVERHEAD + len(row.detail) + len(row.actor_id) + len(row.client_id)
