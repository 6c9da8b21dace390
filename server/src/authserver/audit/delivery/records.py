"""What is sent, and how far it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from authserver.audit.records import AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where a destination stands.

    Attributes:
        checkpoint: All rows of the checkpoints up to this number are delivered.
        position: So many rows of the next one are.
        sequence: The number of the last row that was delivered, counted through the whole chain.
        begun_at: When the destination was first configured; what was sealed before is not sent.
        delivered_at: When the last batch was acknowledged; None: none was.
        failures: How many attempts failed since.
        last_error: What went wrong with the last of them, in one word.
        next_attempt_at: When the next one is due.
    """

    destination: str
    checkpoint: int
    position: int
    sequence: int
    begun_at: int
    delivered_at: int | None = None
    failures: int = 0
    last_error: str = ""
    next_attempt_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SentEvent:
    """A row on its way.

    Attributes:
        sequence: Its number in the chain, from 1, without gaps but for rows that were removed: it tells what came twice.
        checkpoint: The number of the checkpoint that lists it.
    """

    record: AuditRecord
    sequence: int
    checkpoint: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is sent at once.

    Attributes:
        events: In the order of the chain.
        checkpoint: Number and hash of the checkpoint that lists the last of them: kept where it arrives, it shows a trail
            that is replaced later.
        reached: Where the destination stands when this is acknowledged: checkpoint, position and sequence.
    """

    events: Sequence[SentEvent]
    checkpoint: tuple[int, str]
    reached: tuple[int, int, int]


class DeliveryFailed(Exception):  # noqa: N818  what happened
    """The batch was not acknowledged.

    Attributes:
        cause: One word, of those of ``OutboundError`` or ``status``.
        status: The HTTP status; 0 without an answer.
        retry_after: Seconds for which the receiver wants to be left alone.
    """

    def __init__(self, cause: str, *, status: int = 0, retry_after: int = 0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status
        self.retry_after = retry_after


class Destination(Protocol):
    """Where batches go."""

    @property
    def name(self) -> str:
        """Return the name under which the database keeps how far it is."""
        ...

    async def send(self, batch: Batch, *, now: int) -> None:
        """Send a batch; return when the receiver has acknowledged it.

        Raises:
            DeliveryFailed: It did not.
        """
        ...
