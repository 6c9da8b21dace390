"""Notes down which statements the server runs, so that their plans can be looked at."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from authserver.storage.database import Append, Claim, Database, FirstUse, Reader, Row, Value, Writer
from authserver.storage.names import number_of
from authserver.storage.postgres import PostgresDatabase
from authserver.storage.sqlite import SqliteDatabase

T = TypeVar("T")
Statement = tuple[str, tuple[Value, ...]]


def insert_of(append: Append) -> str:
    """Return the statement that an append stands for."""
    marks = ", ".join(
        number_of(f"${n}") if column in append.named else f"${n}" for n, column in enumerate(append.columns, start=1)
    )
    return f"INSERT INTO {append.table} ({append.names}) VALUES ({marks})"


@dataclass
class Recording:
    """What was run, by kind, in order."""

    reads: list[Statement] = field(default_factory=list)
    writes: list[Statement] = field(default_factory=list)
    claims: list[tuple[Claim | FirstUse, tuple[Value, ...]]] = field(default_factory=list)
    points: list[Statement] = field(default_factory=list)


@dataclass
class _RecordingWriter:
    tx: Writer
    recording: Recording

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        self.recording.writes.append((sql, args))
        return await self.tx.fetch_one(sql, *args)

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        self.recording.writes.append((sql, args))
        return await self.tx.fetch_all(sql, *args)

    async def hold(self, sql: str, *args: Value) -> Row | None:
        self.recording.writes.append((sql, args))
        return await self.tx.hold(sql, *args)

    async def execute(self, sql: str, *args: Value) -> int:
        self.recording.writes.append((sql, args))
        return await self.tx.execute(sql, *args)

    async def claim(self, claim: Claim | FirstUse, *values: Value) -> bool:
        self.recording.writes.append((claim.statement, values))
        self.recording.claims.append((claim, values))
        return await self.tx.claim(claim, *values)

    async def append(self, append: Append, *values: Value) -> None:
        self.recording.writes.append((insert_of(append), values))
        await self.tx.append(append, *values)

    async def number_of(self, name: str) -> int:
        return await self.tx.number_of(name)

    async def settle(self, append: Append) -> None:
        await self.tx.settle(append)


def record(db: Database, monkeypatch: Any) -> Recording:
    """Have a database note down what it runs from now on."""
    recording = Recording()
    fetch_one, fetch_all, write = db.fetch_one, db.fetch_all, db.write

    async def recording_fetch_one(sql: str, *args: Value) -> Row | None:
        recording.reads.append((sql, args))
        recording.points.append((sql, args))
        return await fetch_one(sql, *args)

    async def recording_fetch_all(sql: str, *args: Value) -> Sequence[Row]:
        recording.reads.append((sql, args))
        return await fetch_all(sql, *args)

    async def recording_write(transaction: Callable[[Writer], Awaitable[T]]) -> T:
        return await write(lambda tx: transaction(_RecordingWriter(tx, recording)))

    monkeypatch.setattr(db, "fetch_one", recording_fetch_one)
    monkeypatch.setattr(db, "fetch_all", recording_fetch_all)
    monkeypatch.setattr(db, "write", recording_write)
    return recording


def record_all(monkeypatch: Any) -> Recording:
    """Have every database of this process note down what it runs from now on, whoever opened it and in whatever thread."""
    recording = Recording()
    for kind in (SqliteDatabase, PostgresDatabase):
        _record_kind(kind, recording, monkeypatch)
    return recording


def _record_kind(kind: Any, recording: Recording, monkeypatch: Any) -> None:
    fetch_one, fetch_all, write, survey = kind.fetch_one, kind.fetch_all, kind.write, kind.survey

    async def recording_fetch_one(self: Any, sql: str, *args: Value) -> Row | None:
        recording.reads.append((sql, args))
        row: Row | None = await fetch_one(self, sql, *args)
        return row

    async def recording_fetch_all(self: Any, sql: str, *args: Value) -> Sequence[Row]:
        recording.reads.append((sql, args))
        rows: Sequence[Row] = await fetch_all(self, sql, *args)
        return rows

    async def recording_write(self: Any, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        result: T = await write(self, lambda tx: transaction(_RecordingWriter(tx, recording)))
        return result

    async def recording_survey(self: Any, query: Callable[[Reader], Awaitable[T]]) -> T:
        result: T = await survey(self, lambda reader: query(_RecordingWriter(cast("Writer", reader), recording)))
        return result

    monkeypatch.setattr(kind, "fetch_one", recording_fetch_one)
    monkeypatch.setattr(kind, "fetch_all", recording_fetch_all)
    monkeypatch.setattr(kind, "write", recording_write)
    monkeypatch.setattr(kind, "survey", recording_survey)
