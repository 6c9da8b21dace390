"""The trail as a file that can be verified without its database: lines of JSON, the seals among the rows."""

import base64
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import orjson

from authserver.audit.chain.parts import Beginning, Part, Sealed, Unsealed
from authserver.audit.chain.records import Checkpoint
from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import parse_id, spell_id
from authserver.protocol.operator_errors import Invalid

T = TypeVar("T")

_VERSION = 1
_MOST_LINE_BYTES = 4 * 1024 * 1024
_MOST_ROWS = 8192
"""Of one checkpoint; those that we write list a thousand at most."""


class InvalidExport(Invalid):
    """The file is no export, or cannot be read to its end; the text names the line."""


async def write_export(parts: AsyncIterator[Part], *, now: int) -> AsyncIterator[bytes]:
    """Yield the lines of an export.

    Args:
        parts: The trail.
        now: Seconds since the epoch.
    """
    lines = 0
    yield _line({"type": "export", "version": _VERSION, "exported_at": now})
    async for part in parts:
        for members in _members(part):
            lines += 1
            yield _line(members)
    yield _line({"type": "end", "lines": lines})


def _members(part: Part) -> Iterator[dict[str, Any]]:
    match part:
        case Beginning():
            for jwk in part.keys:
                yield {"type": "key", "jwk": jwk}
            if part.tombstone is not None:
                yield {"type": "tombstone", "jws": part.tombstone}
        case Sealed():
            checkpoint = part.checkpoint
            yield {
                "type": "checkpoint",
                "number": checkpoint.number,
                "through": spell_id(checkpoint.through),
                "count": checkpoint.count,
                "late": checkpoint.late,
                "total": checkpoint.total,
                "jws": checkpoint.jws,
                "cosignature": checkpoint.cosignature,
                "leaves": base64.b64encode(checkpoint.leaves).decode("ascii"),
            }
            for row in part.rows:
                yield {"type": "row", **_row(row)}
        case Unsealed():
            yield {"type": "unsealed", **_row(part.row)}


async def read_export(file: BinaryIO) -> AsyncIterator[Part]:
    """Yield the parts of an export.

    Raises:
        InvalidExport: The file is none, or ends before its end.
    """
    lines = _read_lines(file)
    beginning, next_line = _read_beginning(lines)
    yield beginning
    sealed: Sealed | None = None
    for number, line in itertools.chain([next_line], lines):
        kind = line["type"]
        if kind == "row" and sealed is not None and len(sealed.rows) < _MOST_ROWS:
            sealed.rows.append(_read(_record, line, number))
            continue
        if sealed is not None:
            yield sealed
            sealed = None
        if kind == "checkpoint":
            sealed = Sealed(_read(_checkpoint, line, number))
        elif kind == "unsealed":
            yield Unsealed(_read(_record, line, number))
        elif kind != "end":
            raise InvalidExport(f"line {number}: {kind!r} has no place there")


def _read_beginning(lines: Iterator[tuple[int, dict[str, Any]]]) -> tuple[Beginning, tuple[int, dict[str, Any]]]:
    """Return what stands before the first checkpoint, and the line that follows."""
    keys: list[object] = []
    tombstone: str | None = None
    for number, line in lines:
        if line["type"] == "key":
            keys.append(line.get("jwk"))
        elif line["type"] == "tombstone" and tombstone is None:
            tombstone = _read(lambda members: _text(members["jws"]), line, number)
        else:
            return Beginning(keys, tombstone), (number, line)
    raise AssertionError("the lines have an end")


def _read(record: Callable[[dict[str, Any]], T], line: dict[str, Any], number: int) -> T:
    try:
        return record(line)
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidExport(f"line {number} is malformed") from exc


def _read_lines(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines between the first and the end, and the end; each with its number."""
    first = _parse(file.readline(_MOST_LINE_BYTES), 1)
    if first.get("type") != "export" or first.get("version") != _VERSION:
        raise InvalidExport("not an export of an audit trail, or of another version")
    lines = 0
    for number, text in enumerate(iter(lambda: file.readline(_MOST_LINE_BYTES), b""), start=2):
        line = _parse(text, number)
        if line["type"] == "end" and line.get("lines") != lines:
            raise InvalidExport(f"the file should have {line.get('lines')} lines and has {lines}")
        yield number, line
        if line["type"] == "end":
            return
        lines += 1
    raise InvalidExport(f"the file ends early, with line {lines + 1}")


def _parse(text: bytes, number: int) -> dict[str, Any]:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise InvalidExport(f"line {number} is no JSON") from exc
    if not isinstance(line, dict) or not isinstance(line.get("type"), str):
        raise InvalidExport(f"line {number} is malformed")
    return line


def _line(members: dict[str, Any]) -> bytes:
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


_TEXTS = ("action", "actor_id", "client_id", "ip", "detail", "trace_id")


def _row(record: AuditRecord) -> dict[str, Any]:
    texts = {name: getattr(record, name) for name in _TEXTS}
    return {
        "id": spell_id(record.id),
        "created_at": record.created_at,
        **texts,
        "reference": record.reference,
    }


def _record(line: dict[str, Any]) -> AuditRecord:
    return AuditRecord(
        id=_identifier(line["id"]),
        created_at=_whole(line["created_at"]),
        **{name: _text(line[name]) for name in _TEXTS},
        reference=None if line["reference"] is None else _text(line["reference"]),
    )


def _checkpoint(line: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        number=_whole(line["number"]),
        through=_identifier(line["through"]),
        count=_whole(line["count"]),
        late=_whole(line["late"]),
        total=_whole(line["total"]),
        jws=_text(line["jws"]),
        cosignature=None if line["cosignature"] is None else _text(line["cosignature"]),
        leaves=base64.b64decode(_text(line["leaves"]), validate=True),
    )


def _identifier(value: object) -> bytes:
    identifier = parse_id(value) if isinstance(value, str) else None
    if identifier is None:
        raise ValueError("no identifier")
    return identifier


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
