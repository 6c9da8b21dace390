"""Who is let in at the admin listener, and what is told to whom is not (admin API, 1 and 2)."""

from dataclasses import replace

import orjson
import pytest

from authserver.admin.api.table import TABLE
from authserver.config.model import Config
from authserver.config.secret import NO_SECRET
from authserver.telemetry.metrics import scrape
from server.tests.wire.harness import Wire
from server.tests.wire.operating import API_KEY, an_admin, problem_of, rows

pytestmark = pytest.mark.anyio

CLIENTS = "/admin/clients"


@pytest.fixture
def config(config: Config, *, has_key: bool) -> Config:
    return config if has_key else replace(config, admin=replace(config.admin, api_key=NO_SECRET))


@pytest.fixture
def has_key() -> bool:
    return True


@pytest.mark.parametrize("has_key", [False])
async def test_nobody_gets_in_while_no_key_is_configured(wire: Wire) -> None:
    for tried in (None, "", API_KEY):
        async with an_admin(wire, tried) as admin:
            answer = await admin.ask("GET", CLIENTS)
        assert answer.status_code == 401
        assert answer.json() == {"error": "unauthorized", "error_description": "admin API key not configured"}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, "missing API key"),
        ("", "missing API key"),
        ("Bearer ", "missing API key"),
        (API_KEY, "missing API key"),
        (f"Basic {API_KEY}", "missing API key"),
        ("Bearer wrong", "invalid API key"),
        (f"Bearer {API_KEY}x", "invalid API key"),
        (f"Bearer  {API_KEY}", "invalid API key"),
        ("Bearer \xff\xfe", "invalid API key"),
    ],
)
async def test_whoever_shows_no_right_key_is_told_so_at_every_endpoint(
    wire: Wire, header: str | None, told: str
) -> None:
    async with an_admin(wire, None) as admin:
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        for entry in TABLE:
            answer = await admin.ask(entry.method, entry.path.replace("{", "").replace("}", ""), headers=headers)
            assert answer.status_code == 401
            assert answer.json() == {"error": "unauthorized", "error_description": told}
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["www-authenticate"] == 'Bearer realm="admin"'
            assert answer.headers["cache-control"] == "no-store"


async def test_the_scheme_is_taken_in_any_case(wire: Wire) -> None:
    async with an_admin(wire, None) as admin:
        for scheme in ("Bearer", "bearer", "BEARER"):
            answer = await admin.ask("GET", CLIENTS, headers={"authorization": f"{scheme} {API_KEY}"})
            assert answer.status_code == 200


async def test_wrong_keys_of_one_address_leave_one_row_in_a_minute_and_missing_ones_none(wire: Wire) -> None:
    async with an_admin(wire, None) as nobody, an_admin(wire, "wrong") as wrong:
        for _ in range(3):
            await nobody.ask("GET", CLIENTS)
            await wrong.ask("GET", CLIENTS)
    (row,) = await rows(wire, "admin.auth_failed")
    assert (row["actor_id"], row["detail"], row["ip"]) == ("", "reason=invalid_key", "192.0.2.50")


async def test_unknown_paths_and_wrong_methods_are_problems(wire: Wire) -> None:
    async with an_admin(wire) as admin:
        for path in ("/admin/nothing", "/admin/", "/nothing", "/admin/clients/a/b/c", "/admin%2Fclients", "/admin/%ff"):
            problem_of(await admin.ask("GET", path), 404)
        answer = await admin.ask("DELETE", CLIENTS)
        problem_of(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert (await admin.ask("OPTIONS", CLIENTS)).status_code == 405
        head = await admin.ask("HEAD", CLIENTS)
        assert (head.status_code, head.content) == (200, b"")


async def test_requests_are_counted_by_the_template_of_their_path(wire: Wire) -> None:
    async with an_admin(wire) as admin:
        await admin.ask("GET", "/admin/clients/somebody")
    assert 'http_route="/admin/clients/{id}",http_status_code="404"' in scrape().decode()
    assert "somebody" not in scrape().decode()


async def test_the_api_is_not_on_the_public_listener(wire: Wire) -> None:
    answer = await wire.http.get(CLIENTS, headers={"authorization": f"Bearer {API_KEY}"})
    assert answer.status_code == 404


async def test_the_served_document_is_the_one_in_the_table(wire: Wire) -> None:
    async with an_admin(wire) as admin:
        answer = await admin.ask("GET", "/admin/openapi.json")
    document = orjson.loads(answer.content)
    assert document["openapi"] == "3.1.0"
    named = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert named == {(entry.method, entry.path) for entry in TABLE}


async def test_a_fault_is_told_without_its_cause(wire: Wire) -> None:
    async with an_admin(wire) as admin:
        await admin.ask("GET", CLIENTS)
        await wire.core.db.close()
        answer = await admin.ask("GET", CLIENTS)
    assert problem_of(answer, answer.status_code).startswith("internal error")
    assert answer.status_code >= 500
