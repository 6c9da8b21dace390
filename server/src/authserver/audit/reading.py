"""Reading the audit trail within bounds that no caller gets around (admin API, 15)."""

from dataclasses import dataclass

from authserver.audit.records import AuditRecord
from authserver.audit.store import EventFilter, find_event_position, page_events
from authserver.protocol.operator_errors import Invalid
from authserver.storage.database import Database

LONGEST_PAGE = 1000
_PAGE = 50
_MOST_OFFSET = 100_000
# Whoever computes the earliest start has done so a moment ago, by another clock.
_TOLERANCE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuestion:
    """What is asked for; None leaves a member open.

    Attributes:
        since: Seconds since the epoch, as ``until``.
        limit: Rows; 0 or less: as many as is usual.
        cursor: The id of the last row of the page before, which costs less than an offset and passes over nothing twice.
    """

    action: str | None = None
    actor_id: str | None = None
    client_id: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 0
    offset: int = 0
    cursor: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReading:
    """Answers questions to the trail.

    Attributes:
        default_lookback: Seconds that are looked back when the question names no start.
        max_lookback: Seconds that can be looked back at most.
    """

    db: Database
    default_lookback: int
    max_lookback: int

    async def read(self, question: AuditQuestion, *, now: int) -> list[AuditRecord]:
        """Return a page, newest first.

        Raises:
            Invalid: The question goes beyond a bound.
        """
        if question.limit > LONGEST_PAGE:
            raise Invalid(f"limit must be at most {LONGEST_PAGE}")
        if question.offset > _MOST_OFFSET:
            raise Invalid(f"offset must be at most {_MOST_OFFSET}")
        since = self.earliest(question.since, now=now)
        if question.until is not None and question.until <= since:
            raise Invalid("until must be after since")
        wanted = EventFilter(
            action=question.action,
            actor_id=question.actor_id,
            client_id=question.client_id,
            since=since,
            until=question.until,
        )
        before = question.cursor
        if question.offset > 0:
            if before is not None:
                raise Invalid("cursor and offset cannot be combined")
            before = await self.db.survey(
                lambda reader: find_event_position(reader, wanted, passed_over=question.offset)
            )
            if before is None:
                return []
        return await page_events(self.db, wanted, limit=question.limit if question.limit > 0 else _PAGE, before=before)

    def earliest(self, asked: int | None, *, now: int) -> int:
        """Return the second from which the trail may be read.

        Raises:
            Invalid: What was asked for is too long ago.
        """
        if asked is None:
            return now - min(self.default_lookback, self.max_lookback)
        if asked < now - self.max_lookback - _TOLERANCE_SECONDS:
            raise Invalid(f"since must be at most {self.max_lookback // 3600} hours ago")
        return asked
