"""The trail and its seals as a sequence of parts, each of bounded size: how a database and an export are verified alike."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from authserver.audit.chain.hashing import leaf_ids
from authserver.audit.chain.records import NOTHING, Checkpoint
from authserver.audit.chain.store import find_head, find_tombstone, list_checkpoints, list_keys
from authserver.audit.records import AuditRecord
from authserver.audit.store import find_events, scan_events
from authserver.protocol.operator_errors import Conflict
from authserver.storage.database import Reader

_PAGE = 512
_MOST_UNLISTED = 10_000
_LAST = b"\xff" * 16


@dataclass(frozen=True, slots=True)
class Beginning:
    """What stands before the first checkpoint.

    Attributes:
        keys: Public keys (JWK) that signed, not vouched for by anybody.
        tombstone: What the last purge left, signed; None when nothing was purged.
    """

    keys: list[object]
    tombstone: str | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A checkpoint and, of the rows that it lists, those that are there, in the order they were found in."""

    checkpoint: Checkpoint
    rows: list[AuditRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A row that no checkpoint lists."""

    row: AuditRecord


Part = Beginning | Sealed | Unsealed


class PurgedMeanwhile(Conflict):
    """A purge of audit events ran while the trail was read."""


async def read_parts(db: Reader) -> AsyncIterator[Part]:
    """Yield the trail of a database: the beginning, every checkpoint with its rows, and the rows that none lists.

    It is the trail of one moment: what is sealed later counts as not sealed, and is not looked at with keys of before.

    Raises:
        PurgedMeanwhile: Rows went while they were read, so that what was yielded says nothing.
    """
    tombstone = await find_tombstone(db)
    last = (await find_head(db)).number
    yield Beginning(await list_keys(db), tombstone)
    async for part in _read(db, last=last):
        yield part
    if await find_tombstone(db) != tombstone:
        raise PurgedMeanwhile("audit events were purged meanwhile; try again")


async def _read(db: Reader, *, last: int) -> AsyncIterator[Part]:
    """Yield the checkpoints up to a number and all other rows."""
    unlisted: dict[bytes, AuditRecord] = {}
    after, number = NOTHING, 0
    while page := [each for each in await list_checkpoints(db, after=number) if each.number <= last]:
        for checkpoint in page:
            found: dict[bytes, AuditRecord] = {}
            wanted = set(leaf_ids(checkpoint.leaves))
            async for row in _scan(db, after, checkpoint.through):
                if row.id in wanted:
                    found[row.id] = row
                elif len(unlisted) < _MOST_UNLISTED:
                    # Perhaps it came late, and a later checkpoint lists it.
                    unlisted[row.id] = row
                else:
                    yield Unsealed(row)
            late = sorted(wanted - found.keys())
            found.update((row.id, row) for row in await find_events(db, late))
            for row_id in late:
                unlisted.pop(row_id, None)
            yield Sealed(checkpoint, sorted(found.values(), key=lambda row: row.id))
            after = max(after, checkpoint.through)
        number = page[-1].number
    for row in unlisted.values():
        yield Unsealed(row)
    async for row in _scan(db, after, _LAST):
        yield Unsealed(row)


async def _scan(db: Reader, after: bytes, through: bytes) -> AsyncIterator[AuditRecord]:
    while page := await scan_events(db, after=after, through=through, limit=_PAGE):
        for row in page:
            yield row
        after = page[-1].id
