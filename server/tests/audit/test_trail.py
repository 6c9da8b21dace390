import asyncio
import io
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail, bounded, detail, subject_name
from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.telemetry import logs, metrics
from authserver.telemetry.origin import RequestOrigin, set_origin
from authserver.telemetry.trace_context import TraceContext

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000


class Clock:
    """Milliseconds that pass at each look."""

    def __init__(self) -> None:
        self.ms = NOW * 1000

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


@pytest.fixture
def trail(db: Database) -> AuditTrail:
    return AuditTrail(db, Clock())


async def test_a_recorded_event_is_a_row(db: Database, trail: AuditTrail) -> None:
    await trail.record(AuditEvent(Action.USER_LOGIN, actor_id="u1", client_id="c1", reference="ref_x"), now=NOW)

    (record,) = await list_events(db, limit=10)
    assert (record.action, record.actor_id, record.client_id) == ("user.login", "u1", "c1")
    assert (record.reference, record.created_at) == ("ref_x", NOW)
    assert uuid.UUID(bytes=record.id).version == 7


async def test_address_and_trace_come_from_the_request(db: Database, trail: AuditTrail) -> None:
    async def request() -> None:
        set_origin(
            RequestOrigin(ip="192.0.2.7", request_id="r", trace=TraceContext(trace_id="a" * 32, is_sampled=False))
        )
        await trail.record(AuditEvent(Action.USER_LOGIN), now=NOW)

    await asyncio.create_task(request())
    await trail.record(AuditEvent(Action.USER_LOGIN), now=NOW)

    outside, inside = await list_events(db, limit=10)
    assert (inside.ip, inside.trace_id) == ("192.0.2.7", "a" * 32)
    assert (outside.ip, outside.trace_id) == ("", "")


async def test_an_appended_event_shares_the_fate_of_its_transaction(db: Database, trail: AuditTrail) -> None:
    async def committed(tx: Writer) -> None:
        await trail.append(tx, AuditEvent(Action.USER_CREATED), now=NOW)

    async def undone(tx: Writer) -> None:
        await trail.append(tx, AuditEvent(Action.USER_DELETED), now=NOW)
        raise LookupError

    await db.write(committed)
    with pytest.raises(LookupError):
        await db.write(undone)

    assert [record.action for record in await list_events(db, limit=10)] == ["user.created"]


class FullDatabase:
    """A database that takes no writes."""

    dialect = "sqlite"

    async def write(self, _transaction: Callable[[Writer], Awaitable[Any]]) -> Any:
        raise StorageUnavailable("the write queue is full")


async def test_an_event_that_cannot_be_stored_goes_whole_into_the_log_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.BytesIO()
    monkeypatch.setattr(logs._output, "stream", stream)

    event = AuditEvent(Action.USER_LOGIN, actor_id="u1", detail="a=b")
    await AuditTrail(FullDatabase(), Clock()).record(event, now=NOW)  # type: ignore[arg-type]  # it can only refuse

    line = json.loads(stream.getvalue())
    assert line["level"] == "ERROR"
    assert (line["action"], line["actor_id"], line["detail"], line["created_at"]) == ("user.login", "u1", "a=b", NOW)
    assert b'authserver_audit_events_dropped_total{action="user.login"}' in metrics.scrape()


class SlowDatabase:
    """A database whose commits end when the test says so."""

    dialect = "sqlite"

    def __init__(self, db: Database) -> None:
        self._db = db
        self.may_commit = asyncio.Event()
        self.asked = asyncio.Event()
        self.commits = 0

    async def write(self, transaction: Callable[[Writer], Awaitable[Any]]) -> Any:
        self.asked.set()
        await self.may_commit.wait()
        self.commits += 1
        return await self._db.write(transaction)


async def test_events_recorded_soon_share_commits_and_keep_their_order(db: Database) -> None:
    slow = SlowDatabase(db)
    trail = AuditTrail(slow, Clock())  # type: ignore[arg-type]  # what it is asked for is there

    await trail.record_soon(AuditEvent(Action.TOKEN_INTROSPECTED, client_id="c0"), now=NOW)
    await asyncio.wait_for(slow.asked.wait(), 5)
    for n in range(1, 100):
        await trail.record_soon(AuditEvent(Action.TOKEN_INTROSPECTED, client_id=f"c{n}"), now=NOW)
    slow.may_commit.set()
    await trail.flush()

    written = [record.client_id for record in await list_events(db, limit=200)]
    assert written == [f"c{n}" for n in reversed(range(100))]
    assert slow.commits == 2


async def test_events_recorded_soon_are_written_though_nobody_flushes(db: Database) -> None:
    slow = SlowDatabase(db)
    slow.may_commit.set()
    trail = AuditTrail(slow, Clock())  # type: ignore[arg-type]  # what it is asked for is there

    for round_of in (1, 256):
        slow.asked.clear()
        for _ in range(round_of):
            await trail.record_soon(AuditEvent(Action.TOKEN_INTROSPECTED), now=NOW)
        await asyncio.wait_for(slow.asked.wait(), 5)
    await trail.flush()

    assert len(await list_events(db, limit=300)) == 257
    assert slow.commits == 2


async def test_who_records_while_too_many_wait_waits_for_the_commit(db: Database) -> None:
    slow = SlowDatabase(db)
    trail = AuditTrail(slow, Clock())  # type: ignore[arg-type]  # what it is asked for is there
    event = AuditEvent(Action.TOKEN_INTROSPECTED)
    await trail.record_soon(event, now=NOW)
    await asyncio.wait_for(slow.asked.wait(), 5)
    for _ in range(4096):
        await trail.record_soon(event, now=NOW)

    late = asyncio.create_task(trail.record_soon(event, now=NOW))
    await asyncio.sleep(0)
    assert not late.done()
    slow.may_commit.set()
    await late
    await trail.flush()

    assert len(await list_events(db, limit=5000)) == 4098


async def test_events_recorded_soon_that_cannot_be_stored_go_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    monkeypatch.setattr(logs._output, "stream", stream)
    trail = AuditTrail(FullDatabase(), Clock())  # type: ignore[arg-type]  # it can only refuse

    for client_id in ("c1", "c2"):
        await trail.record_soon(AuditEvent(Action.TOKEN_INTROSPECTED, client_id=client_id), now=NOW)
    await trail.flush()

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["msg"], line["client_id"]) for line in lines] == [
        ("audit event dropped", "c1"),
        ("audit event dropped", "c2"),
    ]


async def test_pages_are_read_newest_first_by_the_last_id(db: Database, trail: AuditTrail) -> None:
    for n in range(5):
        await trail.record(AuditEvent(Action.USER_LOGIN, actor_id=f"u{n}"), now=NOW)

    first = await list_events(db, limit=2)
    second = await list_events(db, limit=2, before=first[-1].id)

    assert [record.actor_id for record in [*first, *second]] == ["u4", "u3", "u2", "u1"]


async def test_lists_are_filtered(db: Database, trail: AuditTrail) -> None:
    await trail.record(AuditEvent(Action.USER_LOGIN, actor_id="u1"), now=NOW)
    await trail.record(AuditEvent(Action.USER_LOGIN, actor_id="u2", client_id="c"), now=NOW)
    await trail.record(AuditEvent(Action.USER_CREATED, actor_id="admin"), now=NOW)

    assert len(await list_events(db, limit=10, action="user.login")) == 2
    assert [r.actor_id for r in await list_events(db, limit=10, actor_id="u1")] == ["u1"]
    assert [r.actor_id for r in await list_events(db, limit=10, client_id="c", action="user.login")] == ["u2"]
    assert len(await list_events(db, limit=10, since=NOW)) == 3
    assert await list_events(db, limit=10, since=NOW + 1) == []


def test_details_are_key_value_pairs_in_the_order_given() -> None:
    assert detail("code_reuse", session="s-1", verifier="valid", missing=None, force=True, revoked=3) == (
        "code_reuse session=s-1 verifier=valid force=true revoked=3"
    )


def test_values_that_could_be_read_otherwise_are_quoted() -> None:
    assert detail(name="a b") == 'name="a b"'
    assert detail(name='x" actor=admin\n') == 'name="x\\" actor=admin\\n"'
    assert detail(name="a=b") == 'name="a=b"'
    assert detail(name="") == 'name=""'
    assert detail(name="\ud800é") == 'name="\\ud800\\u00e9"'


def test_lists_are_one_value() -> None:
    assert detail(scopes=("b", "a")) == 'scopes="b a"'
    assert detail(scopes=frozenset({"b", "a"})) == 'scopes="a b"'
    assert detail(scopes=["one"]) == "scopes=one"


def test_identifiers_are_spelled_as_on_the_wire() -> None:
    assert detail(family=bytes(16)) == "family=AAAAAAAAAAAAAAAAAAAAAA"
    assert detail(hash=b"\xab" * 32) == "hash=abababab"


@pytest.mark.parametrize(
    ("subject", "hidden"),
    [
        ("https://idp.example:alice@acme.example", True),
        ("https://idp.example:mailto:alice@acme.example", True),
        ("https://idp.example:alice@acme.example:7", True),
        ("alice@acme.example", True),
        ("@@alice@acme.example@", True),
        ("https://idp.example:alice@acme", False),
        ("usr_7", False),
        ("@" * 10_000, False),
        ("a@" * 10_000, False),
    ],
)
def test_a_subject_is_named_without_an_e_mail_address_and_the_same_each_time(subject: str, *, hidden: bool) -> None:
    named = subject_name(subject)
    assert (named != subject) == hidden
    assert "alice@acme.example" not in named
    assert named == subject_name(subject)
    assert subject.startswith("https://idp.example:") <= named.startswith("https://idp.example:")


@pytest.mark.parametrize(("number", "ends"), [(0, []), (1, ["name-0"]), (100, ["name-99"]), (1000, ["..."])])
def test_names_that_a_request_chooses_take_a_bounded_room(number: int, ends: list[str]) -> None:
    kept = bounded(f"name-{n}" for n in range(number))
    assert kept[-1:] == ends
    assert len(" ".join(kept)) <= 1004
