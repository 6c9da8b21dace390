"""The audit trail as it grows, whichever process writes it."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from authserver.audit.records import AuditRecord
from authserver.audit.store import scan_events
from authserver.protocol.identifiers import first_id
from authserver.storage.database import Reader

_POLL_SECONDS = 1.0
_LOOK_BACK_MS = 5000
_PAGE = 256
_LAST = b"\xff" * 16


async def follow_events(
    db: Reader, clock_ms: Callable[[], int], *, started: bytes, shown: set[bytes]
) -> AsyncGenerator[list[AuditRecord], None]:
    """Yield events as they come, for ever: a page at a time, and an empty one each second.

    Args:
        db: Where to read.
        clock_ms: Milliseconds since the epoch.
        started: No event below this id is wanted. All that are there from it on come first.
        shown: Ids of those that are known already.
    """
    after = started
    while True:
        while page := await scan_events(db, after=after, through=_LAST, limit=_PAGE):
            yield [event for event in page if event.id not in shown]
            shown |= {event.id for event in page}
            after = page[-1].id
        # A moment back, since a row is committed after its id was made.
        after = max(started, first_id(clock_ms() - _LOOK_BACK_MS))
        shown = {record_id for record_id in shown if record_id >= after}
        yield []
        await asyncio.sleep(_POLL_SECONDS)
