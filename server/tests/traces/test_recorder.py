import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from authserver.config.sections.traces import TracesConfig
from authserver.storage.database import Database, StorageUnavailable
from authserver.telemetry.decisions import Refused
from authserver.traces.recorder import BATCH_ROWS, BUFFER_ROWS, TraceRecorder, trim_expired
from authserver.traces.store import TRIM_ROWS, find_trace, list_traces
from server.tests.conftest import open_target

pytestmark = pytest.mark.anyio

DECISION = '{"endpoint":"GET /","request_id":"r","status":400,"reason":"x","description":"","steps":[]}'


def a_refusal(n: int, *, is_anonymous: bool = True, error: str = "invalid_grant", client_id: str = "") -> Refused:
    return Refused(reference=f"ref_{n}", error=error, client_id=client_id, decision=DECISION, is_anonymous=is_anonymous)


class Time:
    """Seconds, which a test moves."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __call__(self) -> int:
        return self.seconds


@pytest.fixture
def time(now: int) -> Time:
    return Time(now)


@pytest.fixture
async def recorder(db: Database, time: Time) -> AsyncIterator[TraceRecorder]:
    """A recorder that keeps 300."""
    recorder = TraceRecorder(db, TracesConfig(max=300), clock=time)
    yield recorder
    await recorder.close()


async def references(db: Database) -> list[str]:
    return [row["reference"] for row in await db.fetch_all("SELECT reference FROM refusal_traces ORDER BY id")]


async def test_a_refusal_is_kept_a_moment_later(db: Database, recorder: TraceRecorder, now: int) -> None:
    recorder.put(a_refusal(1, client_id="c"))
    await recorder.flushed()

    trace = await find_trace(db, "ref_1")

    assert trace is not None
    assert (trace.client_id, trace.created_at, trace.reason) == ("c", now, "x")
    assert await find_trace(db, "ref_2") is None


async def test_a_flood_costs_one_commit_a_batch_and_keeps_the_newest(
    db: Database, recorder: TraceRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    write = db.write

    async def counted(transaction: Callable[[Any], Awaitable[Any]]) -> Any:
        nonlocal commits
        commits += 1
        return await write(transaction)

    monkeypatch.setattr(db, "write", counted)
    for n in range(5000):
        recorder.put(a_refusal(n))
        assert len(recorder) <= BUFFER_ROWS
    await recorder.flushed()

    kept = await references(db)
    assert len(kept) <= 300
    assert kept[-1] == "ref_4999"
    assert commits <= BUFFER_ROWS // BATCH_ROWS + 2


async def test_in_a_flood_anonymous_refusals_make_room_for_the_others(db: Database, time: Time) -> None:
    recorder = TraceRecorder(db, TracesConfig(), clock=time)
    recorder.put(a_refusal(-1, is_anonymous=False))
    for n in range(BUFFER_ROWS + 10):
        recorder.put(a_refusal(n))
    await recorder.close()

    kept = set(await references(db))
    assert len(kept) == BUFFER_ROWS
    assert "ref_-1" in kept
    assert not {f"ref_{n}" for n in range(11)} & kept
    assert f"ref_{BUFFER_ROWS + 9}" in kept


async def test_anonymous_refusals_push_nobody_elses_out(db: Database, recorder: TraceRecorder) -> None:
    for n in range(60):
        recorder.put(a_refusal(-1 - n, is_anonymous=False))
    await recorder.flushed()
    for n in range(1000):
        recorder.put(a_refusal(n))
        if n % 50 == 0:
            await recorder.flushed()
    await recorder.flushed()

    kept = await references(db)
    assert kept[:60] == [f"ref_{-1 - n}" for n in range(60)]
    assert kept[-1] == "ref_999"
    assert 60 < len(kept) <= 300


async def test_those_of_users_and_clients_keep_within_their_share(db: Database, recorder: TraceRecorder) -> None:
    for n in range(300):
        recorder.put(a_refusal(n))
    await recorder.flushed()
    for n in range(300, 1000):
        recorder.put(a_refusal(n, is_anonymous=False))
        if n % 50 == 0:
            await recorder.flushed()
    await recorder.flushed()

    assert (await references(db))[-75:] == [f"ref_{n}" for n in range(925, 1000)]
    assert len(await references(db)) <= 300


async def test_two_processes_keep_the_table_within_its_bound(database_target: str, db: Database, time: Time) -> None:
    other_db = await open_target(database_target)
    recorders = [TraceRecorder(each, TracesConfig(max=300), clock=time) for each in (db, other_db)]
    for n in range(1000):
        for which, recorder in enumerate(recorders):
            recorder.put(a_refusal(2 * n + which))
        if n % 100 == 0:
            await asyncio.gather(*(recorder.flushed() for recorder in recorders))
    await asyncio.gather(*(recorder.close() for recorder in recorders))

    kept = await references(db)
    assert 0 < len(kept) <= 300 + BATCH_ROWS
    assert await find_trace(other_db, kept[-1]) is not None
    await other_db.close()


async def test_what_a_database_that_is_away_could_not_take_is_written_when_it_is_back(
    db: Database, recorder: TraceRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authserver.traces.recorder.RETRY_SECONDS", 0.01)
    write, asked = db.write, asyncio.Event()
    is_away = True

    async def sometimes(transaction: Callable[[Any], Awaitable[Any]]) -> Any:
        if is_away:
            asked.set()
            raise StorageUnavailable("away")
        return await write(transaction)

    monkeypatch.setattr(db, "write", sometimes)
    recorder.put(a_refusal(1))
    async with asyncio.timeout(5):
        await asked.wait()
    is_away = False
    await recorder.flushed()

    assert await references(db) == ["ref_1"]


async def test_closing_does_not_wait_for_a_database_that_is_away(
    db: Database, recorder: TraceRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_transaction: object) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(db, "write", away)
    recorder.put(a_refusal(1))
    async with asyncio.timeout(5):
        await recorder.close()
    assert len(recorder) == 0


async def test_old_refusals_go_batch_by_batch(db: Database, time: Time, now: int) -> None:
    recorder = TraceRecorder(db, TracesConfig(), clock=time)
    for n in range(TRIM_ROWS + 20):
        recorder.put(a_refusal(n))
    await recorder.flushed()
    time.seconds += 24 * 3600 + 1
    recorder.put(a_refusal(-1))
    await recorder.flushed()

    await recorder.tick()
    assert recorder._trimming is not None
    await recorder._trimming

    assert await references(db) == ["ref_-1"]
    assert await trim_expired(db, before=now) == 0
    await recorder.close()


async def test_nobody_waits_until_old_refusals_are_gone(db: Database, time: Time) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    class Stuck:
        async def write(self, transaction: object) -> int:
            begun.set()
            await never.wait()
            return 0

    recorder = TraceRecorder(cast("Database", Stuck()), TracesConfig(), clock=time)
    async with asyncio.timeout(30):
        await recorder.tick()
        await begun.wait()
        await recorder.tick()
        await recorder.close()


async def test_the_newest_are_listed_by_client_and_error(db: Database, recorder: TraceRecorder, now: int) -> None:
    recorder.put(a_refusal(1, client_id="a"))
    recorder.put(a_refusal(2, client_id="b", error="invalid_scope"))
    recorder.put(a_refusal(3, client_id="a", error="invalid_scope"))
    await recorder.flushed()

    async def listed(**wanted: Any) -> list[str]:
        return [trace.reference for trace in await list_traces(db, **({"limit": 10, "since": now} | wanted))]

    assert await listed() == ["ref_3", "ref_2", "ref_1"]
    assert await listed(limit=1) == ["ref_3"]
    assert await listed(client_id="a") == ["ref_3", "ref_1"]
    assert await listed(error="invalid_scope", client_id="a") == ["ref_3"]
    assert await listed(since=now + 1) == []
