"""Seals the trail behind the back of those who write it: one process at a time, once a second, when there is something."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from authserver.audit.chain.hashing import hash_members, hash_row, list_rows
from authserver.audit.chain.late import find_late_rows
from authserver.audit.chain.records import CHECKPOINT_TYPE, Checkpoint, Head, Statement
from authserver.audit.chain.store import find_head, insert_checkpoint, keep_key
from authserver.audit.store import has_events, scan_members
from authserver.protocol.errors import SigningUnavailable
from authserver.protocol.identifiers import first_id, new_public_id
from authserver.protocol.statements import Signer, thumbprint_of
from authserver.storage.database import Database, StorageUnavailable, UniqueViolation, Writer
from authserver.storage.leases import give_lease_back, is_leased_to_another, take_lease
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AUDIT_ROWS_SEALED

ROWS = 1024
"""The most rows of a checkpoint."""
SETTLED_MS = 1000
"""The age at which a row counts as settled; one that is committed later comes late."""

_LEASE = "audit-sealer"
_LEASE_SECONDS = 10
_SEAL_SECONDS = 1.0
_SWEEP_MS = 10_000
_PAGE = 256

_log = get_logger("audit")


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of the next checkpoint: the id of each and its hash.

    Attributes:
        through: How far the ids come.
        late: Rows with ids that were passed before.
    """

    through: bytes
    settled: list[tuple[bytes, bytes]]
    late: list[tuple[bytes, bytes]]


class Sealer:
    """Writes checkpoints. Any number of processes may run one: of two that write the same number, one succeeds."""

    def __init__(self, db: Database, signer: Signer, clock_ms: Callable[[], int]) -> None:
        """Take the parts.

        Args:
            db: Where the trail is.
            signer: Signs checkpoints.
            clock_ms: Milliseconds since the epoch.
        """
        self._db = db
        self._signer = signer
        self._clock_ms = clock_ms
        self._holder = new_public_id()
        self._through: bytes | None = None
        self._swept_at_ms = 0

    async def run(self) -> None:
        """Seal until cancelled. A failure is logged and tried again a second later."""
        while True:
            await asyncio.sleep(_SEAL_SECONDS)
            try:
                await self.seal()
            except (StorageUnavailable, SigningUnavailable) as exc:
                _log.warning("audit trail not sealed", error=str(exc))
            except Exception:  # noqa: BLE001  a worker loop
                _log.exception("audit trail not sealed")

    async def seal(self, *, settled_ms: int = SETTLED_MS) -> int:
        """Seal what is settled, unless another process does; return how many rows.

        Args:
            settled_ms: The age of the youngest rows to take.
        """
        sealed = 0
        while (count := await self._seal_some(settled_ms)) is not None:
            sealed += count
        return sealed

    async def seal_all(self) -> int:
        """Seal everything that there is, at the end of a process, and let another one go on at once."""
        self._swept_at_ms = 0
        sealed = await self.seal(settled_ms=0)
        await self.let_go()
        return sealed

    async def let_go(self) -> None:
        """Let another process seal at once."""
        await self._db.write(lambda tx: give_lease_back(tx, _LEASE, self._holder))

    async def _seal_some(self, settled_ms: int) -> int | None:
        """Write one checkpoint; None when there is nothing to seal, or it is another's to do."""
        now_ms = self._clock_ms()
        through = first_id(now_ms - settled_ms + 1)
        is_due = abs(now_ms - self._swept_at_ms) >= _SWEEP_MS
        is_idle = self._through is not None and not await has_events(self._db, after=self._through, through=through)
        if is_idle and not is_due:
            return None
        if await is_leased_to_another(self._db, _LEASE, self._holder, now=now_ms // 1000):
            return None
        head = await find_head(self._db)
        self._through = head.through
        batch = await self._gather(head, through, now_ms=now_ms, with_late=is_due)
        if batch is None:
            return None
        count = len(batch.settled) + len(batch.late)
        return count if await self._write(head, batch, now=now_ms // 1000) else None

    async def _gather(self, head: Head, through: bytes, *, now_ms: int, with_late: bool) -> _Batch | None:
        late: list[tuple[bytes, bytes]] = []
        if with_late:
            records = await find_late_rows(self._db, head, now_ms=now_ms, limit=ROWS)
            late = [(record.id, hash_row(record)) for record in records]
            if len(late) < ROWS:
                self._swept_at_ms = now_ms
        settled: list[tuple[bytes, bytes]] = []
        after = head.through
        while room := min(_PAGE, ROWS - len(late) - len(settled)):
            page = await scan_members(self._db, after=after, through=through, limit=room)
            settled += [(members[0], hash_members(*members)) for members in page]
            if len(page) < room:
                break
            after = settled[-1][0]
            # Requests come first.
            await asyncio.sleep(0)
        if not settled and not late:
            return None
        return _Batch(settled[-1][0] if settled else head.through, settled, late)

    async def _write(self, head: Head, batch: _Batch, *, now: int) -> bool:
        """Sign and store the next checkpoint; False when another process was faster."""
        jwk = self._signer.current_key(now)
        key = thumbprint_of(jwk)
        checkpoint = await self._sign(head, batch, key=key, now=now)

        async def store(tx: Writer) -> None:
            await insert_checkpoint(tx, checkpoint)
            if key != head.key:
                await keep_key(tx, key, jwk)
            await take_lease(tx, _LEASE, self._holder, now=now, seconds=_LEASE_SECONDS)

        try:
            await self._db.write(store)
        except UniqueViolation:
            return False
        self._through = checkpoint.through
        AUDIT_ROWS_SEALED.child().inc(checkpoint.count)
        return True

    async def _sign(self, head: Head, batch: _Batch, *, key: str, now: int) -> Checkpoint:
        rows = sorted([*batch.late, *batch.settled])
        leaves, over_rows = list_rows(rows)
        # Each key vouches for the other: who trusts one of them need not know when they changed.
        succeeds = head.key if head.key != key and self._signer.holds(head.key, now) else ""
        statement = Statement(
            number=head.number + 1,
            previous=head.hash,
            through=batch.through,
            count=len(rows),
            late=len(batch.late),
            total=head.total + len(rows),
            rows=over_rows,
            leaves=hashlib.sha256(leaves).hexdigest(),
            sealed_at=now,
            key=key,
            succeeds=succeeds,
        )
        payload = statement.spell()
        jws = await self._signer.sign(payload, typ=CHECKPOINT_TYPE, thumbprint=key, now=now)
        cosignature = None
        if succeeds:
            cosignature = await self._signer.sign(payload, typ=CHECKPOINT_TYPE, thumbprint=succeeds, now=now)
        return Checkpoint(
            number=statement.number,
            through=statement.through,
            count=statement.count,
            late=statement.late,
            total=statement.total,
            jws=jws,
            cosignature=cosignature,
            leaves=leaves,
        )
