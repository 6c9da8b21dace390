"""Audit trail, registration mode, statistics and status over HTTP (admin API, 13, 15 and 16)."""

from dataclasses import replace
from typing import Any

import pytest

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.config.model import Config
from server.tests.wire.harness import Wire
from server.tests.wire.operating import PEER, Admin, an_admin, check_shape, rows

pytestmark = pytest.mark.anyio

AUDIT = "/admin/audit"
DCR = "/admin/settings/dcr"
DAY = 86_400


@pytest.fixture
def config(config: Config, default_scope: str) -> Config:
    return replace(config, oauth=replace(config.oauth, default_client_scope=default_scope))


@pytest.fixture
def default_scope() -> str:
    return ""


async def happen(wire: Wire, detail: str, *, ago: int, actor: str = "somebody", client: str = "") -> None:
    """Have something happen in the past."""
    wire.clock.seconds -= ago
    event = AuditEvent(Action.USER_LOGIN, actor_id=actor, client_id=client, detail=detail)
    await wire.core.trail.record(event, now=wire.clock.seconds)
    wire.clock.seconds += ago


async def details(admin: Admin, **query: Any) -> list[str]:
    return [event["detail"] for event in await admin.do("GET", AUDIT, action="user.login", **query)]


async def test_the_trail_is_read_back_a_day_newest_first(wire: Wire, admin: Admin) -> None:
    for number, ago in enumerate((DAY + 5, DAY - 5, 60, 5)):
        await happen(wire, f"n={number}", ago=ago, client="c")
    assert await details(admin) == ["n=3", "n=2", "n=1"]
    assert await details(admin, since="2026-09-20T14:13:00Z") == ["n=3", "n=2", "n=1", "n=0"]
    assert await details(admin, since="2026-09-20T16:13:00.5+02:00") == ["n=3", "n=2", "n=1", "n=0"]
    assert await details(admin, until="2026-09-21T14:13:00Z") == ["n=2", "n=1"]
    assert await details(admin, limit=1, offset=1) == ["n=2"]
    assert await details(admin, offset=-1, limit=-1) == ["n=3", "n=2", "n=1"]
    assert await details(admin, actor_id="nobody") == []
    assert await details(admin, actor_id="somebody", client_id="c", limit=1) == ["n=3"]
    listed = await admin.do("GET", AUDIT)
    check_shape("GET", AUDIT, listed)
    members = ["action", "actor_id", "client_id", "created_at", "detail", "id", "ip", "reference", "trace_id"]
    assert sorted(listed[0]) == members


async def test_the_trail_is_walked_by_the_last_event_seen(wire: Wire, admin: Admin) -> None:
    for number in range(7):
        # By others about the client and by itself, in turn.
        await happen(wire, f"n={number}", ago=7 - number, actor="c" if number % 2 else "somebody", client="c")
    questions: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "6543210"),
        ({"client_id": "c"}, "6543210"),
        ({"client_id": "c", "actor_id": "c"}, "531"),
        ({"client_id": "c", "actor_id": "somebody"}, "6420"),
        ({"actor_id": "c"}, "531"),
    )
    for query, expected in questions:
        walked = ""
        cursor: dict[str, Any] = {}
        while page := await admin.do("GET", AUDIT, action="user.login", limit=2, **query, **cursor):
            walked += "".join(event["detail"][-1] for event in page)
            cursor = {"cursor": page[-1]["id"]}
        assert walked == expected
        by_offset = await admin.do("GET", AUDIT, action="user.login", limit=2, offset=1, **query)
        assert [event["detail"][-1] for event in by_offset] == list(expected[1:3])
        assert await admin.do("GET", AUDIT, action="user.login", offset=9, **query) == []
    assert await admin.refused(400, "GET", AUDIT, cursor="x") == "cursor must be the id of an event"
    told = await admin.refused(400, "GET", AUDIT, offset=1, **cursor)
    assert told == "cursor and offset cannot be combined"


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-09-21"},
        {"since": "2026-09-21T14:13:20"},
        {"since": "2026-99-21T14:13:20Z"},
        {"until": "9999-12-31T23:59:59-00:01"},
        {"since": "2026-08-22T14:12:00Z"},
        {"until": "2026-09-20T14:13:20Z"},
        {"until": "never"},
        {"limit": "1001"},
        {"limit": "ten"},
        {"limit": "9" * 40},
        {"offset": "100001"},
        {"offset": "1.5"},
    ],
)
async def test_questions_beyond_the_bounds_are_refused(admin: Admin, query: dict[str, str]) -> None:
    assert next(iter(query)) in await admin.refused(400, "GET", AUDIT, **query)


async def test_how_many_events_are_listed_is_a_number_within_its_bound(admin: Admin) -> None:
    assert await admin.refused(400, "GET", AUDIT, limit="ten") == "limit must be a whole number"
    assert await admin.refused(400, "GET", AUDIT, limit=2**40) == "limit must be at most 1000"
    assert await admin.refused(400, "GET", AUDIT, offset=2**40) == "offset must be at most 100000"


async def test_health_is_told_by_the_public_listener_alone(wire: Wire, admin: Admin) -> None:
    for path in ("/livez", "/health", "/ready"):
        assert (await wire.http.get(path)).status_code == 200
        assert (await admin.ask("GET", path)).status_code == 404


async def test_the_earliest_start_may_be_computed_by_a_clock_that_is_a_minute_off(wire: Wire, admin: Admin) -> None:
    await happen(wire, "old", ago=30 * DAY - 5)
    assert await details(admin, since="2026-08-22T14:12:21Z") == ["old"]


async def test_the_registration_mode_changes_at_once_and_stays(wire: Wire, admin: Admin) -> None:
    assert await admin.do("GET", DCR) == {"mode": "open"}
    assert await admin.do("PATCH", DCR, body={"mode": "admin_only", "unknown": 1}) == {"mode": "admin_only"}
    assert (await wire.http.post("/oauth/register", json={"client_name": "x"})).status_code == 403
    assert await admin.do("GET", DCR) == {"mode": "admin_only"}
    for mode in (None, "", "shut"):
        assert "mode must be one of" in await admin.refused(400, "PATCH", DCR, body={"mode": mode})
    (row,) = await rows(wire, "dcr.mode_updated")
    assert (row["actor_id"], row["detail"]) == ("admin", "dcr mode changed from open to admin_only")
    assert row["ip"] == PEER


async def test_statistics_count_what_began_and_what_ended_today(wire: Wire, admin: Admin) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.tokens(client_id)
    before = {"clients": 2, "users": 1, "active_tokens_24h": 1, "revoked_tokens": 0, "connections": 0}
    assert await admin.do("GET", "/admin/stats") == before
    await admin.do("DELETE", f"/admin/users/{wire.user.id}/tokens")
    assert (await admin.do("GET", "/admin/stats"))["revoked_tokens"] == 1
    wire.clock.seconds += DAY
    assert await admin.do("GET", "/admin/stats") == before | {"active_tokens_24h": 0}


async def test_the_status_tells_of_every_part_and_since_when(wire: Wire, admin: Admin) -> None:
    wire.clock.seconds += 3 * DAY + 4 * 3600 + 6
    status = await admin.do("GET", "/admin/system/status")
    check_shape("GET", "/admin/system/status", status)
    assert (status["uptime"], status["uptime_secs"]) == ("3d 4h 0m 6s", 3 * DAY + 4 * 3600 + 6)
    storage, signing, encryption = status["subsystems"]
    assert storage == {"name": "storage", "status": "healthy", "driver": wire.core.config.storage.driver}
    assert signing == {"name": "signing", "status": "healthy", "driver": "keyfile"}
    assert encryption == {"name": "encryption", "status": "not_configured"}
    await wire.core.db.close()
    status = await admin.do("GET", "/admin/system/status")
    assert status["subsystems"][0]["status"] == "unhealthy"


async def test_the_configuration_is_shown_without_what_is_secret(wire: Wire, admin: Admin) -> None:
    shown = await admin.do("GET", "/admin/system/config")
    check_shape("GET", "/admin/system/config", shown)
    assert shown["dpop"]["nonce_ttl"] == "1m0s"
    assert shown["dcr"] == {"mode": "open"}
    (notice,) = shown["notices"]
    assert notice["id"] == "oauth-default-client-scope-required-v0.3.0"
    config = wire.core.config
    for secret in (config.session.secret.reveal(), config.admin.api_key.reveal(), config.signing.key_path):
        assert secret not in str(shown)
    await admin.do("PATCH", DCR, body={"mode": "admin_only"})
    shown = await admin.do("GET", "/admin/system/config")
    assert (shown["dcr"], shown["notices"]) == ({"mode": "admin_only"}, [])


@pytest.mark.parametrize("default_scope", ["notes:read"])
async def test_with_a_default_ceiling_there_is_no_notice(admin: Admin) -> None:
    assert (await admin.do("GET", "/admin/system/config"))["notices"] == []


async def test_each_check_of_the_key_leaves_a_row(wire: Wire, admin: Admin) -> None:
    verified = await admin.do("POST", "/admin/auth/verify")
    check_shape("POST", "/admin/auth/verify", verified)
    assert verified["valid"] is True
    async with an_admin(wire, "wrong") as nobody:
        assert (await nobody.ask("POST", "/admin/auth/verify")).status_code == 401
    (row,) = await rows(wire, "admin.ui.login")
    assert (row["actor_id"], row["detail"]) == ("admin", "api_key_verified")
