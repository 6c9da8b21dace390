"""Verifies a trail part by part, in memory that does not grow with it."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from authserver.audit.chain.hashing import LEAF_BYTES, hash_row, leaf, read_leaves
from authserver.audit.chain.late import LATE_SECONDS, milliseconds_of
from authserver.audit.chain.parts import Beginning, Part, PurgedMeanwhile, Sealed, Unsealed, read_parts
from authserver.audit.chain.records import (
    CHECKPOINT_TYPE,
    NO_HASH,
    NOTHING,
    TOMBSTONE_TYPE,
    Checkpoint,
    MalformedSeal,
    Statement,
    Tombstone,
    parse_statement,
    parse_tombstone,
)
from authserver.audit.chain.report import FaultKind, Report, describe_row
from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import second_of, spell_id
from authserver.protocol.jose import InvalidKey
from authserver.protocol.statements import (
    InvalidStatement,
    OpenedStatement,
    StatementKey,
    open_statement,
    read_statement_key,
)
from authserver.storage.database import Reader

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Pinned:
    """A checkpoint that somebody wrote down when it was the newest: the trail must still hold it."""

    number: int
    hash: str


async def verify(parts: AsyncIterator[Part], *, trusted: Iterable[object] = (), pinned: Pinned | None = None) -> Report:
    """Verify a trail.

    Args:
        parts: The trail.
        trusted: Public keys (JWK) that the operator knows to be the installation's. A key that signed a checkpoint together
            with one of them is as good. None at all: every signature is checked against the key that comes with the
            trail, which shows no more than that one and the same signed it all.
        pinned: What must be in it.
    """
    verifier = _Verifier(trusted, pinned)
    async for part in parts:
        match part:
            case Beginning():
                verifier.begin(part)
            case Sealed():
                verifier.check(part)
            case Unsealed():
                verifier.take_unsealed(part.row)
    return verifier.finish()


async def verify_database(db: Reader, *, trusted: Sequence[object] = (), pinned: Pinned | None = None) -> Report:
    """Verify the trail of a database; anew when a purge of it ran meanwhile.

    Args:
        db: Where it is.
        trusted: As for ``verify``.
        pinned: As for ``verify``.

    Raises:
        PurgedMeanwhile: One ran each time.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(PurgedMeanwhile):
            return await verify(read_parts(db), trusted=trusted, pinned=pinned)
    return await verify(read_parts(db), trusted=trusted, pinned=pinned)


@dataclass(slots=True)
class _Use:
    """The checkpoints that a key signed."""

    first: int
    linked: set[str] = field(default_factory=set)


class _Verifier:
    def __init__(self, trusted: Iterable[object], pinned: Pinned | None) -> None:
        self._keys: dict[str, StatementKey] = {}
        self._trusted = {key.thumbprint for jwk in trusted if (key := self._learn(jwk)) is not None}
        self._uses: dict[str, _Use] = {}
        self._pinned = pinned
        self._number, self._hash, self._through, self._total = 0, NO_HASH, NOTHING, 0
        self.report = Report(is_vouched_for=bool(self._trusted))

    def begin(self, part: Beginning) -> None:
        """Take the keys that come with the trail, and go on from where the last purge ended."""
        for jwk in part.keys:
            self._learn(jwk)
        if part.tombstone is None:
            return
        try:
            opened = open_statement(part.tombstone, typ=TOMBSTONE_TYPE)
            tombstone = parse_tombstone(opened.payload)
        except (InvalidStatement, MalformedSeal) as exc:
            self.report.add(FaultKind.UNREADABLE, 0, f"the tombstone of the last purge cannot be read: {exc}")
            return
        self._check_signature(opened, tombstone.key, tombstone.number, "the tombstone of the last purge")
        self._go_on_from(tombstone)

    def check(self, part: Sealed) -> None:
        """Check a checkpoint and the rows that it lists."""
        checkpoint = part.checkpoint
        self.report.checkpoints += 1
        self.report.first = self.report.first or checkpoint.number
        if checkpoint.number != self._number + 1:
            self._miss(checkpoint.number)
        statement = self._read(checkpoint)
        if statement is not None:
            self._check_statement(checkpoint, statement)
        self._check_pinned(checkpoint.number, checkpoint.hash)
        self._check_rows(part, statement)
        self._number, self._hash = checkpoint.number, checkpoint.hash
        self._through = max(self._through, checkpoint.through)
        self._total = checkpoint.total

    def take_unsealed(self, row: AuditRecord) -> None:
        """Judge a row that no checkpoint lists: it is young, or somebody slipped it in."""
        age_ms = milliseconds_of(self._through) - milliseconds_of(row.id)
        if self._number and age_ms > LATE_SECONDS * 1000:
            explanation = f"row {describe_row(row)} is in no checkpoint: it was not there when its time was sealed"
            self.report.add(FaultKind.ROW_INSERTED, self._number, explanation, row=row.id)
        else:
            self.report.unsealed += 1

    def finish(self) -> Report:
        """Return what was found."""
        report = self.report
        report.last, report.head = self._number, self._hash if self._number else ""
        if self._pinned is not None:
            self._miss_pinned(self._pinned)
        if not self._number and report.unsealed:
            report.add(FaultKind.NOT_SEALED, 0, f"{report.unsealed} rows and no checkpoint: nothing proves anything")
        vouched = self._vouched()
        report.keys = {thumbprint: thumbprint in vouched for thumbprint in self._uses}
        if self._trusted:
            for thumbprint, use in self._uses.items():
                if thumbprint not in vouched:
                    explanation = (
                        f"from checkpoint {use.first} on, key {thumbprint} signed, which no trusted key vouches for"
                    )
                    report.add(FaultKind.KEY_NOT_TRUSTED, use.first, explanation)
        return report

    def _learn(self, jwk: object) -> StatementKey | None:
        try:
            key = read_statement_key(jwk)
        except InvalidKey:
            return None
        # What the operator gave comes first; a thumbprint stands for one key anyway.
        return self._keys.setdefault(key.thumbprint, key)

    def _go_on_from(self, tombstone: Tombstone) -> None:
        self._number, self._hash = tombstone.number, tombstone.hash
        self._through, self._total = tombstone.through, tombstone.total
        self.report.purged = tombstone.total
        self._check_pinned(tombstone.number, tombstone.hash)

    def _miss(self, number: int) -> None:
        if number <= self._number:
            self.report.add(FaultKind.ROWS_REORDERED, number, f"checkpoint {number} comes after {self._number}")
            return
        last = "" if number == self._number + 2 else f" to {number - 1}"
        explanation = f"checkpoint {self._number + 1}{last} is missing"
        self.report.add(FaultKind.CHECKPOINT_REMOVED, self._number + 1, explanation)

    def _read(self, checkpoint: Checkpoint) -> Statement | None:
        """Return what a checkpoint says, its signatures checked."""
        number = checkpoint.number
        try:
            opened = open_statement(checkpoint.jws, typ=CHECKPOINT_TYPE)
            statement = parse_statement(opened.payload)
        except (InvalidStatement, MalformedSeal) as exc:
            self.report.add(FaultKind.UNREADABLE, number, f"checkpoint {number} cannot be read: {exc}")
            return None
        is_signed = self._check_signature(opened, statement.key, number, f"checkpoint {number}")
        if is_signed and statement.succeeds and self._is_cosigned(checkpoint, statement):
            self._uses[statement.key].linked.add(statement.succeeds)
        return statement

    def _check_signature(self, opened: OpenedStatement, thumbprint: str, number: int, what: str) -> bool:
        self._uses.setdefault(thumbprint, _Use(number))
        key = self._keys.get(thumbprint)
        if key is None:
            self.report.add(
                FaultKind.SIGNATURE_INVALID, number, f"{what} is signed by {thumbprint}, a key that is not there"
            )
            return False
        if not opened.is_signed_by(key):
            self.report.add(FaultKind.SIGNATURE_INVALID, number, f"the signature of {what} is not of the key it names")
            return False
        return True

    def _is_cosigned(self, checkpoint: Checkpoint, statement: Statement) -> bool:
        """Tell whether the key before signed the same statement, too. If not, it vouches for nobody, and that is all."""
        key = self._keys.get(statement.succeeds)
        if key is None or checkpoint.cosignature is None:
            return False
        try:
            opened = open_statement(checkpoint.cosignature, typ=CHECKPOINT_TYPE)
        except InvalidStatement:
            return False
        return opened.payload == statement.spell() and opened.is_signed_by(key)

    def _check_statement(self, checkpoint: Checkpoint, statement: Statement) -> None:
        """Check that a checkpoint is the next one, and kept as it was signed."""
        number = checkpoint.number
        differing = [
            name
            for name in ("number", "through", "count", "late", "total")
            if getattr(checkpoint, name) != getattr(statement, name)
        ]
        if hashlib.sha256(checkpoint.leaves).hexdigest() != statement.leaves:
            differing.append("leaves")
        if len(checkpoint.leaves) != statement.count * LEAF_BYTES:
            differing.append("count")
        if differing:
            explanation = f"checkpoint {number} is not kept as it was signed: {', '.join(differing)}"
            self.report.add(FaultKind.CHECKPOINT_CHANGED, number, explanation)
        if statement.previous != self._hash and number == self._number + 1:
            explanation = f"checkpoint {number} does not follow what stands before it: that was replaced"
            self.report.add(FaultKind.CHECKPOINT_CHANGED, number, explanation)
        elif number == self._number + 1 and statement.total != self._total + statement.count:
            self.report.add(FaultKind.CHECKPOINT_CHANGED, number, f"checkpoint {number} counts wrong")

    def _check_rows(self, part: Sealed, statement: Statement | None) -> None:
        """Compare the rows of a checkpoint with its list."""
        checkpoint, number = part.checkpoint, part.checkpoint.number
        faults = self.report.fault_count
        rows = {row.id: row for row in part.rows}
        if [row.id for row in part.rows] != sorted(rows):
            self.report.add(FaultKind.ROWS_REORDERED, number, f"the rows of checkpoint {number} are out of order")
        everything = hashlib.sha256()
        for record_id, half_hash in read_leaves(checkpoint.leaves):
            row = rows.pop(record_id, None)
            if row is None:
                self._miss_row(record_id, number)
                continue
            row_hash = hash_row(row)
            everything.update(row_hash)
            if leaf(record_id, row_hash) != record_id + half_hash:
                explanation = f"row {describe_row(row)} is not as checkpoint {number} sealed it"
                self.report.add(FaultKind.ROW_CHANGED, number, explanation, row=record_id)
            else:
                self.report.rows += 1
        for row in rows.values():
            explanation = f"row {describe_row(row)} stands where checkpoint {number} lists none"
            self.report.add(FaultKind.ROW_INSERTED, number, explanation, row=row.id)
        self.report.late += checkpoint.late
        if statement is not None and faults == self.report.fault_count and everything.hexdigest() != statement.rows:
            # The list was changed with the row, so it cannot tell which.
            explanation = f"the rows of checkpoint {number} are not those that were sealed"
            self.report.add(FaultKind.ROW_CHANGED, number, explanation)

    def _miss_row(self, record_id: bytes, number: int) -> None:
        explanation = (
            f"row {spell_id(record_id)} of second {second_of(record_id)}, sealed by checkpoint {number}, is gone"
        )
        self.report.add(FaultKind.ROW_REMOVED, number, explanation, row=record_id)

    def _check_pinned(self, number: int, found: str) -> None:
        pinned = self._pinned
        if pinned is not None and number == pinned.number:
            self._pinned = None
            if found != pinned.hash:
                explanation = f"checkpoint {number} is another one than was written down"
                self.report.add(FaultKind.CHECKPOINT_CHANGED, number, explanation)

    def _miss_pinned(self, pinned: Pinned) -> None:
        if pinned.number > self._number:
            explanation = f"the trail ends with checkpoint {self._number}, and there was a checkpoint {pinned.number}"
            self.report.add(FaultKind.TAIL_REMOVED, self._number, explanation)
        else:
            explanation = f"checkpoint {pinned.number} is gone; a purge took it, or somebody else"
            self.report.add(FaultKind.CHECKPOINT_REMOVED, pinned.number, explanation)

    def _vouched(self) -> set[str]:
        """Return the keys that can be trusted: those that were given, and all that signed together with one of them."""
        links: dict[str, set[str]] = {}
        for thumbprint, use in self._uses.items():
            for other in use.linked:
                links.setdefault(thumbprint, set()).add(other)
                links.setdefault(other, set()).add(thumbprint)
        reached, waiting = set(self._trusted), list(self._trusted)
        while waiting:
            for other in links.get(waiting.pop(), set()) - reached:
                reached.add(other)
                waiting.append(other)
        return reached
