"""Makes one statement of the server fail, whichever is wanted: the database went away, or we have made a mistake."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from authserver.storage.database import Append, Claim, Database, FirstUse, Row, StorageUnavailable, Value, Writer
from server.tests.wire.harness import Answer, Wire

T = TypeVar("T")

CANARY = "canary-of-the-cause"
MOST_STATEMENTS = 40


@dataclass
class Faults:
    """Counts statements, and fails one.

    Attributes:
        failing: The number of the statement that fails, from 1; 0 fails none.
        error: What it fails with.
        seen: Statements so far.
        task: Whose statements count: what runs beside the request, such as the writing of traces, does not.
    """

    failing: int = 0
    error: Exception | None = None
    seen: int = 0
    task: asyncio.Task[Any] | None = None

    def begin(self, failing: int, error: Exception | None = None) -> None:
        """Count anew."""
        self.failing, self.error, self.seen = failing, error, 0
        self.task = asyncio.current_task()

    @property
    def is_meant(self) -> bool:
        """Whether it is the request that asks."""
        return self.task is asyncio.current_task()

    def step(self) -> None:
        """Count a statement.

        Raises:
            Exception: It is the one that fails.
        """
        self.seen += 1
        if self.seen == self.failing and self.error is not None:
            raise self.error


@dataclass
class _FailingWriter:
    tx: Writer
    faults: Faults

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        self.faults.step()
        return await self.tx.fetch_one(sql, *args)

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        self.faults.step()
        return await self.tx.fetch_all(sql, *args)

    async def hold(self, sql: str, *args: Value) -> Row | None:
        self.faults.step()
        return await self.tx.hold(sql, *args)

    async def execute(self, sql: str, *args: Value) -> int:
        self.faults.step()
        return await self.tx.execute(sql, *args)

    async def claim(self, claim: Claim | FirstUse, *values: Value) -> bool:
        self.faults.step()
        return await self.tx.claim(claim, *values)

    async def append(self, append: Append, *values: Value) -> None:
        self.faults.step()
        await self.tx.append(append, *values)

    async def number_of(self, name: str) -> int:
        self.faults.step()
        return await self.tx.number_of(name)

    async def settle(self, append: Append) -> None:
        await self.tx.settle(append)


def inject(db: Database, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Have a database fail where it is told to, from now on."""
    faults = Faults()
    fetch_one, fetch_all, write = db.fetch_one, db.fetch_all, db.write

    async def failing_fetch_one(sql: str, *args: Value) -> Row | None:
        if faults.is_meant:
            faults.step()
        return await fetch_one(sql, *args)

    async def failing_fetch_all(sql: str, *args: Value) -> Sequence[Row]:
        if faults.is_meant:
            faults.step()
        return await fetch_all(sql, *args)

    async def failing_write(transaction: Callable[[Writer], Awaitable[T]]) -> T:
        if not faults.is_meant:
            return await write(transaction)
        before = faults.seen

        async def failing(tx: Writer) -> T:
            # A transaction may be run again: what failed fails again.
            faults.seen = before
            return await transaction(_FailingWriter(tx, faults))

        return await write(failing)

    patched: dict[str, Any] = {"fetch_one": failing_fetch_one, "fetch_all": failing_fetch_all, "write": failing_write}
    for name, method in patched.items():
        monkeypatch.setattr(db, name, method)
    return faults


def faults() -> list[Exception]:
    """Return what a statement may fail with."""
    return [StorageUnavailable(CANARY), ZeroDivisionError(CANARY)]


def check_fault(answer: Answer, error: Exception) -> None:
    """Check the answer to a fault of ours (errors.md §1, ruling R11)."""
    away = isinstance(error, StorageUnavailable)
    assert answer.status_code == (503 if away else 500), answer.text
    assert (answer.headers.get("retry-after") is not None) == away
    assert CANARY not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["error"], body["error_description"].partition(" (")[0]) == ("server_error", "internal error")
    assert body["request_id"] == answer.headers["x-request-id"]


async def fail_each_statement(
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    request: Callable[[], Awaitable[Answer]],
    check: Callable[[Answer, Exception], None],
) -> int:
    """Send a request once for each of its statements, with that one failing; return how many there are."""
    injected = inject(wire.core.db, monkeypatch)
    for error in faults():
        for number in range(1, MOST_STATEMENTS):
            injected.begin(number, error)
            answer = await request()
            await wire.core.trail.flush()
            if injected.seen < number:
                break
            check(answer, error)
    injected.begin(0)
    return number - 1
