"""Rows that came late: their ids were passed by a checkpoint before they were committed.

An id is made before its row is committed, and clocks of instances differ. So every few seconds the rows of the last two
minutes are counted; when there are more than checkpoints list, those that none lists are found. A row that appears
later than that is never sealed: nobody can slip one into the past.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from authserver.audit.chain.hashing import leaf_ids
from authserver.audit.chain.records import NOTHING, Checkpoint, Head
from authserver.audit.chain.store import list_newest_checkpoints
from authserver.audit.records import AuditRecord
from authserver.audit.store import count_events, scan_events
from authserver.protocol.identifiers import first_id
from authserver.storage.database import Database, Reader
from authserver.telemetry.logs import get_logger

LATE_SECONDS = 120
_PAGE = 256

_log = get_logger("audit")


def milliseconds_of(identifier: bytes) -> int:
    """Return when an id was made."""
    return int.from_bytes(identifier[:6], "big")


@dataclass(frozen=True, slots=True)
class _Span:
    """The newest checkpoints and the range of ids that they cover without their late rows.

    Attributes:
        after: The id before the range.
        through: Its last id.
        checkpoints: Oldest first.
    """

    after: bytes
    through: bytes
    checkpoints: list[Checkpoint]

    def late_ids(self) -> set[bytes]:
        """Return the ids in the range that checkpoints list as late rows."""
        found = set[bytes]()
        before = self.after
        for checkpoint in self.checkpoints:
            if checkpoint.late:
                found.update(i for i in leaf_ids(checkpoint.leaves) if self.after < i <= before)
            before = checkpoint.through
        return found


async def find_late_rows(db: Database, head: Head, *, now_ms: int, limit: int) -> list[AuditRecord]:
    """Return rows that no checkpoint lists though one has passed their ids, at most ``limit``."""
    # A clock that was set back makes ids that are older than the last checkpoint by more than any delay.
    since = first_id(min(milliseconds_of(head.through), now_ms) - LATE_SECONDS * 1000)
    span = await _read_span(db, head, since=since)
    late_ids = span.late_ids()
    listed = sum(checkpoint.count - checkpoint.late for checkpoint in span.checkpoints) + len(late_ids)

    async def count(reader: Reader) -> int:
        return await count_events(reader, after=span.after, through=span.through)

    there = await db.survey(count)
    if there == listed:
        return []
    if there < listed:
        _log.error("sealed audit rows are gone, run authserver admin audit verify", missing=listed - there)
    return await _find_unlisted(db, span, late_ids, limit=limit)


async def _read_span(db: Reader, head: Head, *, since: bytes) -> _Span:
    """Return the checkpoints that reach back to ``since``."""
    newest_first: list[Checkpoint] = []
    before = head.number + 1
    while page := await list_newest_checkpoints(db, before=before):
        for checkpoint in page:
            if checkpoint.through <= since:
                return _Span(checkpoint.through, head.through, newest_first[::-1])
            newest_first.append(checkpoint)
        before = page[-1].number
    # The chain begins within the range, and the first checkpoint covers everything before it. After a purge its range
    # begins with the tombstone, which is older than any late row.
    if newest_first and newest_first[-1].number > 1:
        oldest = newest_first.pop()
        return _Span(oldest.through, head.through, newest_first[::-1])
    return _Span(NOTHING, head.through, newest_first[::-1])


async def _find_unlisted(db: Reader, span: _Span, late_ids: set[bytes], *, limit: int) -> list[AuditRecord]:
    found: list[AuditRecord] = []
    after = span.after
    for checkpoint in span.checkpoints:
        listed = late_ids.union(leaf_ids(checkpoint.leaves))
        found += [row for row in await _rows(db, after, checkpoint.through) if row.id not in listed]
        if len(found) >= limit:
            return found[:limit]
        after = checkpoint.through
    return found


async def _rows(db: Reader, after: bytes, through: bytes) -> Iterable[AuditRecord]:
    rows: list[AuditRecord] = []
    while page := await scan_events(db, after=after, through=through, limit=_PAGE):
        rows += page
        after = page[-1].id
    return rows
