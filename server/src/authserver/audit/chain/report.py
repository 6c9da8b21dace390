"""What a verification found."""

from dataclasses import dataclass, field
from enum import StrEnum

from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import spell_id

_MOST_FAULTS = 100


class FaultKind(StrEnum):
    """What was done to the trail."""

    ROW_CHANGED = "row_changed"
    ROW_REMOVED = "row_removed"
    ROW_INSERTED = "row_inserted"
    ROWS_REORDERED = "rows_reordered"
    CHECKPOINT_CHANGED = "checkpoint_changed"
    CHECKPOINT_REMOVED = "checkpoint_removed"
    SIGNATURE_INVALID = "signature_invalid"
    KEY_NOT_TRUSTED = "key_not_trusted"
    TAIL_REMOVED = "tail_removed"
    NOT_SEALED = "not_sealed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is not as it was sealed.

    Attributes:
        checkpoint: The number of the checkpoint that shows it; 0 when none does.
        row: The id of the row, as it is spelled in the API; None when it is not about one row.
        explanation: One sentence.
    """

    kind: FaultKind
    checkpoint: int
    row: str | None = None
    explanation: str


@dataclass(slots=True, kw_only=True)
class Report:
    """The outcome.

    Attributes:
        first: The first checkpoint that was there; 0 when there was none.
        last: The last one.
        head: Its hash.
        checkpoints: How many.
        rows: How many rows were as they were sealed.
        late: How many of those came late.
        unsealed: How many rows are too young to be sealed.
        purged: How many rows a purge took, by its tombstone.
        keys: The thumbprints of the keys that signed, and whether somebody the operator trusts vouches for each.
        is_vouched_for: Whether keys to trust were given at all.
        faults: What was found, in the order of the trail; the first hundred.
        fault_count: How much it was.
    """

    first: int = 0
    last: int = 0
    head: str = ""
    checkpoints: int = 0
    rows: int = 0
    late: int = 0
    unsealed: int = 0
    purged: int = 0
    keys: dict[str, bool] = field(default_factory=dict)
    is_vouched_for: bool = False
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found."""
        return self.fault_count == 0

    def first_bad_row(self) -> str | None:
        """Return the id of the first row that is not as it was sealed; None when no fault is about one row."""
        return next((fault.row for fault in self.faults if fault.row is not None), None)

    def add(self, kind: FaultKind, checkpoint: int, explanation: str, *, row: bytes | None = None) -> None:
        """Add a fault."""
        self.fault_count += 1
        if len(self.faults) < _MOST_FAULTS:
            named = None if row is None else spell_id(row)
            self.faults.append(Fault(kind=kind, checkpoint=checkpoint, row=named, explanation=explanation))


def describe_row(row: AuditRecord) -> str:
    """Return what tells people which row it is."""
    return f"{spell_id(row.id)} ({row.action} of second {row.created_at})"
