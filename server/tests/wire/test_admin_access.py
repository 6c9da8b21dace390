"""Who is let in at the admin listener, and what is told to whom is not (admin API, 1 and 2)."""

import ast
import hashlib
import hmac
import inspect
import re
from dataclasses import replace

import orjson
import pytest

from authserver.admin import access
from authserver.admin import operators as operators_module
from authserver.admin.api.table import TABLE
from authserver.admin.records import OperatorRecord
from authserver.admin.store import find_operator_by_key
from authserver.config.model import Config
from authserver.config.secret import NO_SECRET
from authserver.protocol.identifiers import TokenHash
from authserver.storage.database import Reader
from authserver.telemetry.metrics import scrape
from server.tests.wire.harness import Wire
from server.tests.wire.operating import API_KEY, Admin, an_admin, problem_of, rows

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


async def test_a_key_is_compared_by_digest_in_constant_time_whatever_it_looks_like(
    wire: Wire, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long it takes is not measured: what is compared is of one length, and holds nothing of what was sent."""
    operators = (await admin.do("POST", "/admin/operators", expect=201, body={"name": "ada", "role": "owner"}))["key"]
    compared: list[tuple[bytes, bytes]] = []
    looked_up: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    async def find(db: Reader, key_hash: TokenHash) -> OperatorRecord | None:
        looked_up.append(key_hash)
        return await find_operator_by_key(db, key_hash)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    monkeypatch.setattr(operators_module, "find_operator_by_key", find)
    near = [API_KEY[:n] for n in range(len(API_KEY) + 1)]
    wrong = [*near[:-1], f"{API_KEY}x", API_KEY.swapcase(), "\xff" * 500, operators[:-1], f"{operators}x", "apo_"]
    for key, status in [(API_KEY, 200), (operators, 200), *((key, 401) for key in wrong)]:
        del compared[:], looked_up[:]
        async with an_admin(wire, None) as nobody:
            headers = {"authorization": f"Bearer {key}".encode("latin-1")}
            assert (await nobody.ask("GET", CLIENTS, headers=headers)).status_code == status
        digest = hashlib.sha256(key.encode()).digest()
        assert compared == [(digest, hashlib.sha256(API_KEY.encode()).digest())]
        assert looked_up == ([digest] if key.startswith("apo_") else [])


def test_no_key_is_compared_in_another_way() -> None:
    """A comparison that ends at the first difference would have to be written down in these two."""
    for module in (access, operators_module):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Compare):
                names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                assert names.isdisjoint({"key", "api_key", "key_hash"}), ast.unparse(node)


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
        for method in ("DELETE", "OPTIONS", "TRACE"):
            answer = await admin.ask(method, CLIENTS)
            problem_of(answer, 405)
            assert answer.headers["allow"] == "GET, HEAD, POST"
            problem_of(await admin.ask(method, "/admin/nothing"), 404)
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


@pytest.mark.parametrize(
    "value", ["%00", "a%00b", "%ff", "%ed%a0%80", "%F0%9F%98%80", "%27%3B--", "%2F..%2F", "." * 256]
)
async def test_a_parameter_of_the_path_may_hold_anything_and_is_no_fault(wire: Wire, admin: Admin, value: str) -> None:
    for entry in TABLE:
        if entry.parameters:
            path = re.sub(r"\{\w+\}", value, entry.path)
            answer = await admin.ask(entry.method, path, json={})
            assert answer.status_code < 500, (entry.method, path, answer.text)
