"""Nobody changes the trail without being noticed."""

import asyncio
import hashlib
import tracemalloc
from pathlib import Path

import asyncpg
import pytest

from authserver.audit.chain import sealing
from authserver.audit.chain.late import LATE_SECONDS
from authserver.audit.chain.report import FaultKind
from authserver.audit.chain.sealing import ROWS, Sealer
from authserver.audit.chain.store import find_head, list_checkpoints
from authserver.audit.chain.verification import Pinned
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.store import append_event
from authserver.keys.statements import KeyringSigner
from authserver.protocol.identifiers import new_id, spell_id
from server.tests.audit.sealed import NOW, Trail, change_row, keyring_in, remove_row, unrecorded
from server.tests.conftest import open_target

pytestmark = pytest.mark.anyio


async def test_what_was_written_and_sealed_is_intact(trail: Trail) -> None:
    await trail.grow(3, 1, 5)
    await trail.write(2)

    report = await trail.verify()

    assert (report.is_intact, report.faults) == (True, [])
    assert (report.first, report.last, report.rows, report.unsealed) == (1, 3, 9, 2)
    assert list(report.keys.values()) == [True]


async def test_a_row_is_sealed_in_the_form_of_the_chains_that_are_there(trail: Trail) -> None:
    record_id = bytes.fromhex("01a0c4506c007000800000000000002a")
    event = AuditEvent(
        Action.USER_LOGIN,
        actor_id="u1",
        client_id="",
        ip="192.0.2.7",
        detail='name="\u00e9\\n"',
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )
    await trail.db.write(lambda tx: append_event(tx, record_id, event, now=NOW))
    assert await trail.seal() == 1

    text = (
        b'authplane audit row v1\n["AaDEUGwAcACAAAAAAAAAKg",1790000000,"user.login","u1","","192.0.2.7",'
        b'"name=\\"\xc3\xa9\\\\n\\"","0af7651916cd43dd8448eb211c80319c",null]'
    )
    (checkpoint,) = await list_checkpoints(trail.db, after=0)
    assert checkpoint.leaves == record_id + hashlib.sha256(text).digest()[:16]


async def test_nothing_to_seal_is_no_checkpoint(trail: Trail) -> None:
    assert await trail.seal() == 0
    await trail.grow(1)
    assert await trail.seal() == 0
    assert await trail.count("audit_checkpoints") == 1


async def test_rows_younger_than_a_second_wait(trail: Trail) -> None:
    await trail.write(1)
    assert await trail.sealer.seal() == 0
    trail.clock.pass_seconds(1.1)
    assert await trail.sealer.seal() == 1


async def test_the_end_of_a_process_seals_what_is_there(trail: Trail) -> None:
    await trail.write(3)
    assert await trail.sealer.seal_all() == 3
    assert (await trail.verify()).unsealed == 0


async def test_many_rows_are_several_checkpoints(trail: Trail) -> None:
    await trail.write(2 * ROWS + 1, each_ms=1)
    assert await trail.seal() == 2 * ROWS + 1
    assert [page.count for page in await list_checkpoints(trail.db, after=0)] == [ROWS, ROWS, 1]
    assert (await trail.verify()).is_intact


@pytest.mark.parametrize(
    "column",
    ["action_number", "actor_number", "client_number", "ip", "detail", "trace_id", "reference", "created_at"],
)
async def test_a_changed_row_is_found_and_named(trail: Trail, column: str) -> None:
    ids = await trail.grow(3, 3)
    value = 1 if column == "created_at" else "user.created" if column == "action_number" else "other"
    await change_row(trail.db, ids[4], column, value)

    report = await trail.verify()

    assert [(fault.kind, fault.checkpoint, fault.row) for fault in report.faults] == [
        (FaultKind.ROW_CHANGED, 2, spell_id(ids[4]))
    ]


async def test_a_text_that_was_changed_for_all_its_rows_is_found_in_each(trail: Trail) -> None:
    ids = await trail.grow(2)
    await trail.tamper("UPDATE names SET name = 'somebody' WHERE name = $1", "u1")

    report = await trail.verify()

    assert [(fault.kind, fault.row) for fault in report.faults] == [
        (FaultKind.ROW_CHANGED, spell_id(record_id)) for record_id in ids
    ]


async def test_a_removed_row_is_found_and_named(trail: Trail) -> None:
    ids = await trail.grow(3, 3)
    await remove_row(trail.db, ids[1])

    report = await trail.verify()

    assert [(fault.kind, fault.checkpoint, fault.row) for fault in report.faults] == [
        (FaultKind.ROW_REMOVED, 1, spell_id(ids[1]))
    ]
    assert report.first_bad_row() == spell_id(ids[1])


async def test_a_row_slipped_into_the_past_is_found_and_named(trail: Trail) -> None:
    await trail.grow(3)
    trail.clock.pass_seconds(2 * LATE_SECONDS)
    slipped_in = trail.id_before(2 * LATE_SECONDS - 1)
    await trail.grow(3)
    await trail.insert(slipped_in)
    assert await trail.seal() == 0

    report = await trail.verify()

    assert [(fault.kind, fault.row) for fault in report.faults] == [(FaultKind.ROW_INSERTED, spell_id(slipped_in))]


async def test_two_rows_that_changed_places_are_found_and_named(trail: Trail) -> None:
    ids = await trail.grow(4)
    spare = new_id(0)
    await change_row(trail.db, ids[1], "id", spare)
    await change_row(trail.db, ids[2], "id", ids[1])
    await change_row(trail.db, spare, "id", ids[2])

    report = await trail.verify()

    assert [(fault.kind, fault.row) for fault in report.faults] == [
        (FaultKind.ROW_CHANGED, spell_id(ids[1])),
        (FaultKind.ROW_CHANGED, spell_id(ids[2])),
    ]


async def test_another_process_waits_until_the_one_that_seals_is_silent(trail: Trail) -> None:
    await trail.grow(1)
    other = Sealer(trail.db, KeyringSigner(trail.keyring), trail.clock)
    await trail.write(1)
    trail.clock.pass_seconds(2)
    assert await other.seal() == 0
    trail.clock.pass_seconds(10)
    assert await other.seal() == 1


async def test_a_process_that_ends_leaves_the_sealing_to_the_next_at_once(trail: Trail) -> None:
    await trail.grow(1)
    await trail.sealer.seal_all()
    await trail.write(1)
    trail.clock.pass_seconds(2)
    assert await Sealer(trail.db, KeyringSigner(trail.keyring), trail.clock).seal() == 1


async def test_a_cut_tail_is_found_by_a_checkpoint_that_was_written_down(trail: Trail) -> None:
    ids = await trail.grow(3, 3)
    head = await find_head(trail.db)
    await trail.tamper("DELETE FROM audit_checkpoints WHERE number = 2")
    for record_id in ids[3:]:
        await remove_row(trail.db, record_id)

    assert (await trail.verify()).is_intact
    report = await trail.verify(pinned=Pinned(head.number, head.hash))

    assert [(fault.kind, fault.checkpoint) for fault in report.faults] == [(FaultKind.TAIL_REMOVED, 1)]


async def test_a_trail_that_was_replaced_is_found_by_a_checkpoint_that_was_written_down(trail: Trail) -> None:
    await trail.grow(3)
    head = await find_head(trail.db)
    await trail.tamper("DELETE FROM audit_checkpoints")
    trail.clock.pass_seconds(20)
    assert await Sealer(trail.db, KeyringSigner(trail.keyring), trail.clock).seal() == 3

    report = await trail.verify(pinned=Pinned(head.number, head.hash))

    assert [(fault.kind, fault.checkpoint) for fault in report.faults] == [(FaultKind.CHECKPOINT_CHANGED, 1)]


async def test_a_removed_checkpoint_is_found(trail: Trail) -> None:
    await trail.grow(2, 2, 2)
    await trail.tamper("DELETE FROM audit_checkpoints WHERE number = 2")

    faults = {(fault.kind, fault.checkpoint) for fault in (await trail.verify()).faults}

    assert (FaultKind.CHECKPOINT_REMOVED, 2) in faults


async def test_a_beginning_without_a_tombstone_is_found(trail: Trail) -> None:
    ids = await trail.grow(2, 2)
    await trail.tamper("DELETE FROM audit_checkpoints WHERE number = 1")
    for record_id in ids[:2]:
        await remove_row(trail.db, record_id)

    faults = {(fault.kind, fault.checkpoint) for fault in (await trail.verify()).faults}

    assert (FaultKind.CHECKPOINT_REMOVED, 1) in faults


@pytest.mark.parametrize("column", ["through", "row_count", "late_count", "total", "leaves"])
async def test_a_changed_checkpoint_is_found(trail: Trail, column: str) -> None:
    await trail.grow(2, 2)
    value = new_id(0) if column == "through" else bytes(64) if column == "leaves" else 7
    await trail.tamper(f"UPDATE audit_checkpoints SET {column} = $1 WHERE number = 2", value)

    faults = {(fault.kind, fault.checkpoint) for fault in (await trail.verify()).faults}

    assert (FaultKind.CHECKPOINT_CHANGED, 2) in faults


async def test_a_changed_signature_is_found(trail: Trail) -> None:
    await trail.grow(2)
    await trail.tamper("UPDATE audit_checkpoints SET jws = substr(jws, 1, length(jws) - 6) || 'AAAAAA'")

    assert [fault.kind for fault in (await trail.verify()).faults] == [FaultKind.SIGNATURE_INVALID]


async def test_a_row_changed_together_with_the_list_of_its_checkpoint_is_found(trail: Trail) -> None:
    ids = await trail.grow(2)
    (checkpoint,) = await list_checkpoints(trail.db, after=0)
    await change_row(trail.db, ids[0], "detail", "x")
    await trail.tamper("UPDATE audit_checkpoints SET leaves = $1", ids[0] + bytes(16) + checkpoint.leaves[32:])

    faults = {(fault.kind, fault.checkpoint) for fault in (await trail.verify()).faults}

    assert faults >= {(FaultKind.CHECKPOINT_CHANGED, 1)}


async def test_a_trail_sealed_with_a_key_of_somebody_else_is_found(trail: Trail, tmp_path: Path) -> None:
    await trail.grow(2)
    await trail.tamper("DELETE FROM audit_checkpoints")
    trail.clock.pass_seconds(20)
    other = await keyring_in(tmp_path / "other")
    assert await Sealer(trail.db, KeyringSigner(other), trail.clock).seal() == 2

    assert [fault.kind for fault in (await trail.verify()).faults] == [FaultKind.KEY_NOT_TRUSTED]
    untrusting = await trail.verify(trusted=[])
    assert (untrusting.is_intact, untrusting.is_vouched_for) == (True, False)


async def test_after_a_rotation_either_key_vouches_for_the_whole_trail(trail: Trail) -> None:
    await trail.grow(2)
    (old,) = trail.jwks
    await trail.keyring.rotate(trail.clock() // 1000, unrecorded)
    trail.clock.pass_seconds(10)
    await trail.grow(2, 2)
    new = next(jwk for jwk in trail.jwks if jwk != old)

    for trusted in ([old], [new]):
        report = await trail.verify(trusted=trusted)
        assert (report.is_intact, report.faults) == (True, [])
        assert list(report.keys.values()) == [True, True]


async def test_a_key_that_vanished_before_its_successor_signed_must_be_trusted_by_name(
    trail: Trail, tmp_path: Path
) -> None:
    await trail.grow(2)
    (old,) = trail.jwks
    trail.clock.pass_seconds(20)
    successor = Trail(trail.db, await keyring_in(tmp_path / "successor"), trail.clock)
    await successor.grow(2)

    assert [fault.kind for fault in (await trail.verify(trusted=[old])).faults] == [FaultKind.KEY_NOT_TRUSTED]
    assert (await trail.verify(trusted=[old, *successor.jwks])).is_intact


async def test_a_row_that_was_committed_late_is_sealed_and_counted(trail: Trail) -> None:
    await trail.grow(3)
    late = trail.id_before(5)
    await trail.insert(late)
    trail.clock.pass_seconds(10)
    assert await trail.sealer.seal() == 1

    report = await trail.verify()
    assert (report.is_intact, report.rows, report.late, report.unsealed) == (True, 4, 1, 0)


async def test_rows_of_a_clock_that_was_set_back_are_sealed(trail: Trail) -> None:
    await trail.grow(2)
    trail.clock.pass_seconds(-3600)
    await trail.write(3)
    assert await trail.seal() == 3
    assert (await trail.verify()).rows == 5


@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
async def test_rows_of_a_transaction_that_is_held_open_are_sealed_when_it_commits(
    trail: Trail, database_target: str
) -> None:
    action = await trail.db.write(lambda tx: tx.number_of("user.login"))
    connection = await asyncpg.connect(database_target)
    transaction = connection.transaction()
    await transaction.start()
    held = trail.id_before(0)
    await connection.execute(
        "INSERT INTO audit_rows (id, action_number, created_at) VALUES ($1, $2, $3)", held, action, NOW
    )
    await trail.grow(2, 2)
    await transaction.commit()
    await connection.close()
    trail.clock.pass_seconds(10)

    assert await trail.sealer.seal() == 1

    report = await trail.verify()
    assert (report.is_intact, report.rows, report.late, report.unsealed) == (True, 5, 1, 0)


@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
async def test_two_instances_that_seal_under_load_seal_each_row_once(trail: Trail, database_target: str) -> None:
    other_db = await open_target(database_target)
    other = Sealer(other_db, KeyringSigner(trail.keyring), trail.clock)
    written: list[bytes] = []
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(60):
            written.extend(await trail.write(20, each_ms=1))
            # Longer than a lease: whoever comes first gets it.
            trail.clock.pass_seconds(11)
        done.set()

    async def seal(sealer: Sealer) -> int:
        sealed = 0
        while not done.is_set():
            sealed += await sealer.seal(settled_ms=0)
            await asyncio.sleep(0)
        return sealed

    _, first, second = await asyncio.gather(write(), seal(trail.sealer), seal(other))
    rest = await trail.seal()
    trail.clock.pass_seconds(15)
    rest += await trail.sealer.seal()
    await other_db.close()

    report = await trail.verify()
    assert (report.is_intact, report.faults, report.unsealed) == (True, [], 0)
    assert first + second + rest == report.rows == len(written)


async def test_verifying_takes_no_more_memory_for_a_longer_trail(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "ROWS", 16)
    peaks = []
    for checkpoints in (140, 420):
        while (await find_head(trail.db)).number < checkpoints:
            await trail.grow(160)
        tracemalloc.start()
        report = await trail.verify()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (report.is_intact, report.rows) == (True, 16 * report.last)
    assert peaks[1] < 1.5 * peaks[0]
