"""What a purge of audit events leaves can be verified."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from authserver.audit.chain.parts import Part, PurgedMeanwhile, read_parts
from authserver.audit.chain.purging import Purge, purge_sealed
from authserver.audit.chain.report import FaultKind
from authserver.audit.chain.store import find_head, list_checkpoints
from authserver.audit.chain.verification import Pinned, verify, verify_database
from authserver.audit.store import list_events
from authserver.keys.statements import KeyringSigner
from authserver.storage.database import Row, Value
from server.tests.audit.sealed import Trail, keyring_in, remove_row, unrecorded

pytestmark = pytest.mark.anyio

HOUR = 3600


async def purge(trail: Trail, *, age: int, most: int | None = None) -> int:
    now = trail.clock() // 1000
    return await purge_sealed(trail.db, KeyringSigner(trail.keyring), Purge(before=now - age, most=most, now=now))


async def grow_by_the_hour(trail: Trail, *counts: int) -> list[bytes]:
    ids = []
    for count in counts:
        ids += await trail.grow(count)
        trail.clock.pass_seconds(HOUR)
    return ids


async def test_whole_checkpoints_go_and_the_rest_is_intact(trail: Trail) -> None:
    ids = await grow_by_the_hour(trail, 3, 2, 4, 1)

    assert await purge(trail, age=2 * HOUR + 60) == 5

    report = await trail.verify()
    assert (report.is_intact, report.faults) == (True, [])
    assert (report.first, report.last, report.rows, report.purged) == (3, 4, 5, 5)
    (purged, *_) = await list_events(trail.db, limit=1)
    assert (purged.action, purged.actor_id) == ("audit.purged", "cli")
    assert purged.detail == "before=2026-09-21T16:12:28Z checkpoint=1"
    assert set(await trail.rows()) == {*ids[5:], purged.id}


async def test_purges_follow_one_another(trail: Trail) -> None:
    await grow_by_the_hour(trail, 1, 1)
    assert await purge(trail, age=HOUR + 60) == 1
    # The row that tells of the purge is sealed, too.
    assert await trail.seal() == 1
    await grow_by_the_hour(trail, 1, 1)
    assert await purge(trail, age=HOUR + 60) == 3
    report = await trail.verify()
    assert (report.is_intact, report.first, report.last, report.purged) == (True, 5, 5, 4)
    assert await trail.count("audit_tombstones") == 1


async def test_nothing_goes_that_may_still_come_late_and_never_the_newest(trail: Trail) -> None:
    await trail.grow(1, 1, 1)
    assert await purge(trail, age=0) == 0
    trail.clock.pass_seconds(HOUR)
    assert await purge(trail, age=0) == 0
    await trail.grow(1)
    assert await purge(trail, age=0) == 3
    assert (await trail.verify()).is_intact


async def test_what_is_still_to_be_delivered_stays(trail: Trail) -> None:
    await grow_by_the_hour(trail, 1, 1, 1, 1)
    assert await purge(trail, age=0, most=2) == 2


async def test_a_row_that_came_late_stays_with_its_checkpoint(trail: Trail) -> None:
    await grow_by_the_hour(trail, 2)
    await trail.grow(1)
    late = trail.id_before(5)
    await trail.insert(late)
    trail.clock.pass_seconds(20)
    assert await trail.sealer.seal() == 1
    trail.clock.pass_seconds(HOUR)
    await trail.grow(1)
    assert await purge(trail, age=0, most=2) == 3
    assert late in await trail.rows()
    assert (await trail.verify()).is_intact


async def test_removing_more_than_the_purge_did_is_found(trail: Trail) -> None:
    ids = await grow_by_the_hour(trail, 1, 1, 1)
    await purge(trail, age=2 * HOUR + 60)
    await remove_row(trail.db, ids[1])
    await trail.tamper("DELETE FROM audit_checkpoints WHERE number = 2")
    kinds = [(fault.kind, fault.checkpoint) for fault in (await trail.verify()).faults]
    assert (FaultKind.CHECKPOINT_REMOVED, 2) in kinds


async def test_a_tombstone_of_somebody_else_is_found(trail: Trail, tmp_path: Path) -> None:
    await grow_by_the_hour(trail, 1, 1, 1)
    (honest,) = trail.jwks
    trail.keyring = await keyring_in(tmp_path / "others")
    await purge(trail, age=2 * HOUR + 60)
    assert [fault.kind for fault in (await trail.verify(trusted=[honest])).faults] == [FaultKind.KEY_NOT_TRUSTED]


async def test_a_purge_without_its_tombstone_is_found(trail: Trail) -> None:
    await grow_by_the_hour(trail, 1, 1, 1)
    await purge(trail, age=2 * HOUR + 60)
    await trail.tamper("DELETE FROM audit_tombstones")
    kinds = [(fault.kind, fault.checkpoint) for fault in (await trail.verify()).faults]
    assert (FaultKind.CHECKPOINT_REMOVED, 1) in kinds


async def test_rows_that_were_gone_before_are_said_to_be(trail: Trail, capfd: pytest.CaptureFixture[str]) -> None:
    ids = await grow_by_the_hour(trail, 2, 1)
    await remove_row(trail.db, ids[0])
    assert await purge(trail, age=HOUR + 60) == 1
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["missing"] for line in lines if line["level"] == "ERROR"] == [1]


async def test_the_checkpoint_at_which_a_purge_ended_is_known(trail: Trail) -> None:
    await grow_by_the_hour(trail, 1, 1)
    (first, _) = await list_checkpoints(trail.db, after=0)
    head = await find_head(trail.db)
    await purge(trail, age=HOUR + 60)
    assert (await trail.verify(pinned=Pinned(first.number, first.hash))).is_intact
    assert (await trail.verify(pinned=Pinned(head.number, head.hash))).is_intact
    changed = await trail.verify(pinned=Pinned(first.number, head.hash))
    assert [fault.kind for fault in changed.faults] == [FaultKind.CHECKPOINT_CHANGED]


class PurgedWhileRead:
    """A database in which a purge follows the reading of the first checkpoints, before their rows are read."""

    def __init__(self, trail: Trail, *ages: int) -> None:
        self._trail = trail
        self._ages = list(ages)

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        return await self._trail.db.fetch_one(sql, *args)

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        rows = await self._trail.db.fetch_all(sql, *args)
        if "FROM audit_checkpoints" in sql and args[0] == 0 and self._ages:
            assert await purge(self._trail, age=self._ages.pop(0)) > 0
        return rows


async def test_a_verification_that_met_a_purge_is_made_anew(trail: Trail) -> None:
    await grow_by_the_hour(trail, 3, 2, 4, 1)
    report = await verify_database(PurgedWhileRead(trail, 2 * HOUR + 60), trusted=trail.jwks)
    assert (report.is_intact, report.first, report.purged) == (True, 3, 5)


async def test_a_verification_that_meets_a_purge_each_time_says_so(trail: Trail) -> None:
    await grow_by_the_hour(trail, 1, 1, 1, 1)
    purges = PurgedWhileRead(trail, 3 * HOUR + 60, 2 * HOUR + 60, HOUR + 60)
    with pytest.raises(PurgedMeanwhile):
        await verify_database(purges, trusted=trail.jwks)


@pytest.mark.parametrize("parts_before", range(5))
async def test_an_export_that_met_a_purge_is_none(trail: Trail, parts_before: int) -> None:
    await grow_by_the_hour(trail, 3, 2, 4, 1)
    parts = read_parts(trail.db)
    for _ in range(parts_before):
        await anext(parts)
    assert await purge(trail, age=2 * HOUR + 60) == 5
    if parts_before:
        with pytest.raises(PurgedMeanwhile):
            _ = [part async for part in parts]
    else:
        assert (await verify(parts, trusted=trail.jwks)).is_intact


async def test_what_is_sealed_with_a_new_key_while_the_trail_is_read_is_not_sealed_yet(trail: Trail) -> None:
    await trail.grow(2, 2)
    trusted, parts = trail.jwks, read_parts(trail.db)
    begun = await anext(parts)
    await trail.keyring.rotate(trail.clock() // 1000, unrecorded)
    trail.clock.pass_seconds(20)
    await trail.grow(2)

    async def all_parts() -> AsyncIterator[Part]:
        yield begun
        async for part in parts:
            yield part

    report = await verify(all_parts(), trusted=trusted)
    assert (report.is_intact, report.checkpoints, report.unsealed) == (True, 2, 2)
