"""Removes old rows so that what stays can be verified: whole checkpoints go with the rows that they list.

A signed tombstone says up to which number they are gone, and what the hash of the last of them was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from authserver.audit.chain.hashing import leaf_ids
from authserver.audit.chain.late import LATE_SECONDS, milliseconds_of
from authserver.audit.chain.records import TOMBSTONE_TYPE, Checkpoint, Tombstone
from authserver.audit.chain.store import delete_checkpoints, find_head, keep_key, list_checkpoints, replace_tombstone
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.store import append_event, delete_events
from authserver.audit.trail import detail
from authserver.protocol.identifiers import new_id
from authserver.protocol.operator_errors import Conflict
from authserver.protocol.statements import Signer, read_statement_key
from authserver.protocol.times import spell_time
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger

_ROWS = 1024
"""About how many rows go in one transaction."""

_log = get_logger("audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What may go.

    Attributes:
        before: Checkpoints go whose rows are all older than this second.
        most: The highest number that may go, since what follows is still to be delivered; None: any.
        now: Seconds since the epoch.
    """

    before: int
    most: int | None = None
    now: int


async def purge_sealed(db: Database, signer: Signer, purge: Purge) -> int:
    """Remove what may go, batch by batch; return how many rows went. The newest checkpoint always stays.

    The first batch leaves a row in the trail, which says that there was a purge.

    Raises:
        Conflict: Another purge is under way.
    """
    deleted, is_first = 0, True
    while batch := await _next_batch(db, purge):
        deleted += await _remove(db, signer, batch, purge, is_first=is_first)
        is_first = False
    return deleted


async def _next_batch(db: Database, purge: Purge) -> list[Checkpoint]:
    """Return the oldest checkpoints, as far as they may go."""
    head = await find_head(db)
    # Rows that come late are looked for among the newest ones, so those stay whatever the retention.
    before_ms = min(purge.before * 1000, milliseconds_of(head.through) - 2 * LATE_SECONDS * 1000)
    most = head.number - 1 if purge.most is None else min(purge.most, head.number - 1)
    batch: list[Checkpoint] = []
    rows = 0
    for checkpoint in await list_checkpoints(db, after=0):
        if checkpoint.number > most or milliseconds_of(checkpoint.through) >= before_ms:
            break
        rows += checkpoint.count
        if batch and rows > _ROWS:
            break
        batch.append(checkpoint)
    return batch


async def _remove(db: Database, signer: Signer, batch: Sequence[Checkpoint], purge: Purge, *, is_first: bool) -> int:
    last, now = batch[-1], purge.now
    jwk = signer.current_key(now)
    key = read_statement_key(jwk).thumbprint
    tombstone = Tombstone(
        number=last.number, hash=last.hash, through=last.through, total=last.total, purged_at=now, key=key
    )
    jws = await signer.sign(tombstone.spell(), typ=TOMBSTONE_TYPE, thumbprint=key, now=now)
    ids = [record_id for checkpoint in batch for record_id in leaf_ids(checkpoint.leaves)]

    async def remove(tx: Writer) -> int:
        if await delete_checkpoints(tx, through=last.number) != len(batch):
            raise Conflict("another purge of audit events is under way")
        await replace_tombstone(tx, last.number, jws)
        await keep_key(tx, key, jwk)
        if is_first:
            said = detail(before=spell_time(purge.before), checkpoint=batch[0].number)
            event = AuditEvent(Action.AUDIT_PURGED, actor_id="cli", detail=said)
            await append_event(tx, new_id(now * 1000), event, now=now)
        return await delete_events(tx, ids)

    deleted = await db.write(remove)
    if deleted != len(ids):
        # It was so before; what tells which ones goes with the checkpoints.
        _log.error("sealed audit rows were gone before they were purged", missing=len(ids) - deleted)
    return deleted
