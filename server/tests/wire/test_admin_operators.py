"""Operators with names, roles and resources (decision 0028), and the matrix of roles and endpoints."""

from dataclasses import replace
from typing import Any

import pytest

from authserver.admin.api.table import TABLE
from authserver.admin.operators import NewOperator
from authserver.admin.records import ROLES, Role
from authserver.config.model import Config
from authserver.config.secret import NO_SECRET
from server.tests.wire.harness import Wire
from server.tests.wire.operating import API_KEY, Admin, an_admin, check_shape, problem_of, rows

pytestmark = pytest.mark.anyio

OPERATORS = "/admin/operators"


@pytest.fixture
def config(config: Config, *, has_key: bool) -> Config:
    return config if has_key else replace(config, admin=replace(config.admin, api_key=NO_SECRET))


@pytest.fixture
def has_key() -> bool:
    return True


async def create(admin: Admin, name: str = "ada", role: str = "operator", **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", OPERATORS, expect=201, body={"name": name, "role": role, **members})
    check_shape("POST", OPERATORS, created)
    return dict(created)


def filled(path: str) -> str:
    return path.replace("{", "").replace("}", "")


async def test_an_operator_acts_under_a_name_and_its_key_is_stored_nowhere(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    key = created.pop("key")
    assert key.startswith("apo_")
    assert len(key) == 47
    assert created == {"name": "ada", "role": "operator", "created_by": "admin", "created_at": "2026-09-21T14:13:20Z"}
    assert await admin.do("GET", OPERATORS) == [created]
    async with an_admin(wire, key) as ada:
        await ada.do(
            "POST", "/admin/clients", expect=201, body={"client_name": "x", "redirect_uris": ["https://a.b/c"]}
        )
    (made,) = await rows(wire, "operator.created")
    assert (made["actor_id"], made["detail"]) == ("admin", "name=ada role=operator")
    assert [row["actor_id"] for row in await rows(wire, "client.created_admin")].count("ada") == 1
    names = ("name", "role", "key_hash", "resources", "created_by")
    (stored,) = await wire.core.db.fetch_all(f"SELECT {', '.join(names)} FROM operators")
    assert key[4:] not in str([stored[name] for name in names])
    await wire.core.trail.flush()
    assert key not in str(await wire.audit())


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"name": "admin"}, "name must"),
        ({"name": "cli"}, "name must"),
        ({"name": "Ada"}, "name must"),
        ({"name": ""}, "name must"),
        ({"name": "a" * 65}, "name must"),
        ({"name": "a\n"}, "name must"),
        ({"role": "god"}, "role must be one of read-only, auditor, operator, owner"),
        ({"resources": ["nothing"]}, "resource not found"),
        ({"resources": []}, "1..100"),
        ({"resources": ["notes"], "role": "owner"}, "an owner is for everything"),
        ({"expires_at": "2026-09-21T14:13:20Z"}, "must be in the future"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "must be before the year 10000"),
        ({"expires_at": "2027-01-01"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"expires_in": 0}, "must be in the future"),
        ({"expires_in": 10**20}, "must be before the year 10000"),
        ({"expires_in": 60, "expires_at": "2027-01-01T00:00:00Z"}, "exclude each other"),
        ({"scope": "all"}, "scope"),
    ],
)
async def test_what_is_no_operator_is_refused(admin: Admin, members: dict[str, Any], told: str) -> None:
    body = {"name": "ada", "role": "operator"} | members
    assert told in await admin.refused(400, "POST", OPERATORS, body=body)
    assert await admin.do("GET", OPERATORS) == []


async def test_a_revoked_key_is_refused_at_once_and_its_name_is_never_given_again(wire: Wire, admin: Admin) -> None:
    key = (await create(admin, role="read-only"))["key"]
    async with an_admin(wire, key) as ada:
        await ada.do("GET", "/admin/clients")
        for _ in range(2):
            await admin.do("DELETE", f"{OPERATORS}/ada", expect=204)
        answer = await ada.ask("GET", "/admin/clients")
    assert (answer.status_code, answer.json()["error_description"]) == (401, "invalid API key")
    await admin.refused(409, "POST", OPERATORS, body={"name": "ada", "role": "owner"})
    await admin.refused(404, "DELETE", f"{OPERATORS}/nobody")
    (row,) = await rows(wire, "operator.revoked")
    assert (row["actor_id"], row["detail"]) == ("admin", "name=ada")
    (failed,) = await rows(wire, "admin.auth_failed")
    assert (failed["actor_id"], failed["detail"]) == ("", "reason=expired_or_revoked operator=ada")
    (view,) = await admin.do("GET", OPERATORS)
    assert "revoked_at" in view


async def test_a_key_ends_when_it_was_said_to(wire: Wire, admin: Admin) -> None:
    key = (await create(admin, expires_at="2026-09-21T16:13:30+02:00"))["key"]
    async with an_admin(wire, key) as ada:
        wire.clock.seconds += 9
        assert (await ada.ask("GET", "/admin/clients")).status_code == 200
        wire.clock.seconds += 1
        assert (await ada.ask("GET", "/admin/clients")).status_code == 401


@pytest.mark.parametrize("has_key", [False])
async def test_operators_get_in_where_no_other_key_is_configured(wire: Wire) -> None:
    _, key = await wire.core.operators.create(NewOperator(name="ada", role="owner"), now=wire.clock.seconds)
    async with an_admin(wire, key) as ada, an_admin(wire, "apo_wrong") as nobody:
        assert (await ada.do("GET", OPERATORS))[0]["name"] == "ada"
        answer = await nobody.ask("GET", OPERATORS)
    assert answer.json()["error_description"] == "admin API key not configured"


@pytest.mark.parametrize("role", ROLES)
async def test_every_endpoint_refuses_each_role_below_its_own_and_none_above(
    wire: Wire, admin: Admin, role: str
) -> None:
    key = (await create(admin, role=role))["key"]
    async with an_admin(wire, key) as ada:
        for entry in TABLE:
            answer = await ada.ask(entry.method, filled(entry.path), json={})
            if ROLES[role] < entry.role:
                assert problem_of(answer, 403) == f"the role {role} may not do this; it takes {entry.role}"
            else:
                assert answer.status_code not in {401, 403}, (entry.path, answer.text)
                assert answer.status_code < 500, (entry.path, answer.text)


async def test_who_is_for_some_resources_may_use_what_is_about_those_alone(wire: Wire, admin: Admin) -> None:
    created = await create(admin, resources=["notes"])
    assert created["resources"] == [wire.resource.id]
    async with an_admin(wire, created["key"]) as ada:
        for entry in TABLE:
            answer = await ada.ask(entry.method, filled(entry.path), json={})
            if entry.resources is None or entry.resources:
                assert answer.status_code == 403, (entry.path, answer.text)
            else:
                assert answer.status_code == 200


async def test_a_key_for_some_resources_cannot_give_one_the_uri_of_another(wire: Wire, admin: Admin) -> None:
    body = {"slug": "files", "backend_kind": "mint", "uri": "https://files.example"}
    files = await admin.do("POST", "/admin/resources", expect=201, body=body)
    key = (await create(admin, resources=["files"]))["key"]
    path = f"/admin/resources/{files['id']}"
    async with an_admin(wire, key) as ada:
        told = await ada.refused(403, "PATCH", path, body={"uri": wire.resource.uri})
        assert told == "this key is for some resources only, and cannot give one another URI"
        changed = await ada.do("PATCH", path, body={"display_name": "Files"})
    assert (changed["uri"], changed["display_name"]) == ("https://files.example", "Files")


def test_only_owners_make_owners() -> None:
    assert {entry.role for entry in TABLE if entry.path.startswith(OPERATORS)} == {Role.OWNER}
    asking = ("/admin/auth/verify", "/admin/tools/")
    changing = [entry for entry in TABLE if entry.method != "GET" and not entry.path.startswith(asking)]
    assert {entry.role for entry in changing} <= {Role.OPERATOR, Role.OWNER}


async def test_keys_of_operators_are_told_from_the_owners(wire: Wire) -> None:
    for key in (f"apo_{API_KEY}", API_KEY[:-1], "apo_", "apo_" + "A" * 43):
        async with an_admin(wire, key) as nobody:
            assert (await nobody.ask("GET", OPERATORS)).status_code == 401


async def test_a_resource_whose_slug_is_the_id_of_another_does_not_get_its_keys(wire: Wire, admin: Admin) -> None:
    body = {"slug": "files", "backend_kind": "mint", "uri": "https://files.example"}
    files = await admin.do("POST", "/admin/resources", expect=201, body=body)
    await wire.core.db.write(lambda tx: tx.execute("UPDATE resources SET id = 'notes' WHERE id = $1", files["id"]))
    for named in (["notes"], ["files", "notes"]):
        told = await admin.refused(400, "POST", OPERATORS, body={"name": "ada", "role": "operator", "resources": named})
        assert told == "one resource has the slug and another the id 'notes': name it by the other"
    assert (await create(admin, resources=["files"]))["resources"] == ["notes"]
    assert (await create(admin, name="bob", resources=[wire.resource.id]))["resources"] == [wire.resource.id]
