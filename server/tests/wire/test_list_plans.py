"""What operators read stays flat on a full database: every statement finds its rows by an index, and in its order.

The statements are those that really ran, of every read of the admin API with every filter it has, of the stream of events and
of the scrape. A new one is examined without being named here. Commands and purges: ``cli/test_full_database.py``.
"""

import contextlib

import pytest

from authserver.admin.api.table import TABLE
from authserver.audit.following import follow_events
from authserver.protocol.identifiers import first_id
from server.tests.wire.asked import add_unnamed, ask_everything, spelled
from server.tests.wire.harness import Wire
from server.tests.wire.operating import Admin
from server.tests.wire.recording import record_all
from server.tests.wire.work import EXCEPTIONS, examine, fill

pytestmark = pytest.mark.anyio

STREAM = "/admin/audit/stream"


@pytest.fixture
async def full(wire: Wire, database_target: str) -> Wire:
    """The server on a full database."""
    await fill(database_target, now=wire.clock.seconds)
    return wire


async def test_every_read_of_the_admin_api_is_flat(
    full: Wire, admin: Admin, database_target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = [entry for entry in TABLE if entry.method == "GET" or entry.path.startswith("/admin/tools/")]
    named = await ask_everything(full)
    assert set(named) <= {(entry.method, entry.path) for entry in reading}
    asked = add_unnamed(named, (entry for entry in reading if entry.path != STREAM))
    recording = record_all(monkeypatch)
    for method, path, request in spelled(asked):
        answer = await admin.ask(method, path, params=request.get("query"), json=request.get("body"))
        assert answer.status_code in {200, 400, 404}, (path, request, answer.text)
        if "limit" in request.get("query", ()):
            assert answer.status_code == 200, (path, request, answer.text)
    assert not (grown := await examine(database_target, recording, exceptions=EXCEPTIONS)), "\n".join(grown)


async def test_the_stream_of_events_and_the_scrape_are_flat(
    full: Wire, admin: Admin, database_target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record_all(monkeypatch)
    started = first_id((full.clock.seconds - 7 * 86_400) * 1000)
    seen = 0
    async with contextlib.aclosing(
        follow_events(full.core.db, full.clock.milliseconds, started=started, shown=set())
    ) as pages:
        while page := await anext(pages):
            seen += len(page)
    assert seen > 3000
    assert (await admin.ask("GET", "/metrics")).status_code == 200
    assert not (grown := await examine(database_target, recording, exceptions=EXCEPTIONS)), "\n".join(grown)
