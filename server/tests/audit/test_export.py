"""An export proves as much as the database does."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from authserver.audit.chain.export import InvalidExport, read_export, write_export
from authserver.audit.chain.parts import read_parts
from authserver.audit.chain.report import FaultKind, Report
from authserver.audit.chain.verification import verify
from authserver.protocol.identifiers import spell_id
from server.tests.audit.sealed import NOW, Trail

pytestmark = pytest.mark.anyio

Lines = list[dict[str, Any]]


async def exported(trail: Trail) -> Lines:
    return [json.loads(line) async for line in write_export(read_parts(trail.db), now=NOW)]


async def verified(lines: Lines, trail: Trail) -> Report:
    return await verify(read_export(as_file(lines)), trusted=trail.jwks)


def as_file(lines: Lines) -> io.BytesIO:
    return io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())


async def test_an_export_is_as_intact_as_its_database(trail: Trail) -> None:
    await trail.grow(3, 2)
    await trail.write(2)
    lines = await exported(trail)
    kinds = [line["type"] for line in lines]
    assert kinds == ["export", "key", "checkpoint", *["row"] * 3, "checkpoint", *["row"] * 2, *["unsealed"] * 2, "end"]

    report = await verified(lines, trail)

    assert report == await trail.verify()
    assert (report.is_intact, report.rows, report.unsealed) == (True, 5, 2)


async def test_an_empty_trail_is_exported_and_verified(trail: Trail) -> None:
    report = await verified(await exported(trail), trail)
    assert (report.is_intact, report.checkpoints) == (True, 0)


def change(lines: Lines) -> None:
    lines[3]["ip"] = "192.0.2.8"


def remove(lines: Lines) -> None:
    del lines[3]


def swap(lines: Lines) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def duplicate(lines: Lines) -> None:
    lines.insert(4, {**lines[4], "id": "AAAAAAAAAAAAAAAAAAAAAA"})


def move(lines: Lines) -> None:
    """Move the last row of the first checkpoint to the second one."""
    lines.insert(6, lines.pop(5))


@pytest.mark.parametrize(
    ("tamper", "kinds"),
    [
        (change, [FaultKind.ROW_CHANGED]),
        (remove, [FaultKind.ROW_REMOVED]),
        (swap, [FaultKind.ROWS_REORDERED]),
        (duplicate, [FaultKind.ROWS_REORDERED, FaultKind.ROW_INSERTED]),
        (move, [FaultKind.ROW_REMOVED, FaultKind.ROW_INSERTED]),
    ],
)
async def test_an_export_that_was_edited_is_found_and_the_row_named(
    trail: Trail, tamper: Callable[[Lines], None], kinds: list[FaultKind]
) -> None:
    ids = await trail.grow(3, 3)
    lines = await exported(trail)
    tamper(lines)
    lines[-1]["lines"] = len(lines) - 2

    report = await verified(lines, trail)

    assert [fault.kind for fault in report.faults] == kinds
    if tamper in {change, remove}:
        assert report.first_bad_row() == spell_id(ids[0])


async def test_checkpoints_in_another_order_are_found(trail: Trail) -> None:
    await trail.grow(1, 1)
    lines = await exported(trail)
    lines[2:6] = [*lines[4:6], *lines[2:4]]
    kinds = {fault.kind for fault in (await verified(lines, trail)).faults}
    assert kinds >= {FaultKind.CHECKPOINT_REMOVED, FaultKind.ROWS_REORDERED}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda lines: lines[:-1], "the file ends early"),
        (lambda lines: [*lines[:-2], lines[-1]], "the file should have"),
        (lambda lines: lines[1:], "not an export"),
        (lambda lines: [], "line 1 is no JSON"),
        (lambda lines: [lines[0], {"type": "coffee"}], "'coffee' has no place"),
        (lambda lines: [*lines[:2], lines[3]], "'row' has no place"),
        (lambda lines: [*lines[:3], {**lines[3], "created_at": "1"}], "line 4 is malformed"),
        (lambda lines: [*lines[:3], {**lines[3], "detail": None}], "line 4 is malformed"),
        (lambda lines: [*lines[:2], {**lines[2], "leaves": "§"}], "line 3 is malformed"),
        (lambda lines: [*lines[:2], {**lines[2], "through": "x"}], "line 3 is malformed"),
    ],
)
async def test_what_is_no_whole_export_is_refused(trail: Trail, spoil: Callable[[Lines], Lines], sentence: str) -> None:
    await trail.grow(2)
    with pytest.raises(InvalidExport, match=sentence):
        await verified(spoil(await exported(trail)), trail)
