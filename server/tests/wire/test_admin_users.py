"""``/admin/users`` over HTTP (admin API, 5)."""

from typing import Any

import pytest

from server.tests.wire.harness import EMAIL, PASSWORD, Wire
from server.tests.wire.operating import PEER, Admin, check_shape, rows

pytestmark = pytest.mark.anyio

USERS = "/admin/users"
NOBODY = f"{USERS}/nobody"
BOB = {"email": "bob@example.com", "password": "a password of Bob", "name": "Bob"}


async def create(admin: Admin, **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", USERS, expect=201, body=BOB | members)
    check_shape("POST", USERS, created)
    return dict(created)


async def test_a_created_user_is_local_and_can_sign_in(wire: Wire, admin: Admin) -> None:
    created = await create(admin, password=PASSWORD, role="admin", unknown=1)
    user_id = created.pop("id")
    assert created == {
        "email": "bob@example.com",
        "name": "Bob",
        "role": "admin",
        "status": "active",
        "provider": "local",
        "created_at": "2026-09-21T14:13:20Z",
    }
    assert await admin.do("GET", f"{USERS}/{user_id}") == {"id": user_id, **created}
    assert (await wire.sign_in(email="bob@example.com")).status_code == 303
    (row,) = [row for row in await rows(wire, "user.created") if user_id in row["detail"]]
    assert (row["actor_id"], row["detail"], row["ip"]) == ("admin", f"user={user_id}", PEER)


@pytest.mark.parametrize("role", [None, "", "owner", "ADMIN"])
async def test_any_role_but_admin_is_user(admin: Admin, role: str | None) -> None:
    assert (await create(admin, role=role))["role"] == "user"


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"email": None}, "email and password are required"),
        ({"password": ""}, "email and password are required"),
        ({"email": "bob"}, "email is not an address"),
        ({"password": "x" * 1025}, "password must be at most 1024 bytes"),
        ({"name": "é" * 128}, "name must be at most 255 bytes"),
        ({"email": 1}, "email"),
    ],
)
async def test_what_is_no_user_is_refused(admin: Admin, members: dict[str, Any], told: str) -> None:
    assert told in await admin.refused(400, "POST", USERS, body=BOB | members)


async def test_addresses_are_unique_in_any_case(wire: Wire, admin: Admin) -> None:
    await admin.refused(409, "POST", USERS, body=BOB | {"email": EMAIL.upper()})
    bob = await create(admin)
    await admin.refused(409, "PATCH", f"{USERS}/{bob['id']}", body={"email": EMAIL})


async def test_lists_hold_everybody_and_can_be_paged_by_the_last_one_seen(wire: Wire, admin: Admin) -> None:
    wire.clock.seconds += 1
    bob = await create(admin)
    everybody = await admin.do("GET", USERS)
    check_shape("GET", USERS, everybody)
    assert [user["id"] for user in everybody] == [wire.user.id, bob["id"]]
    assert await admin.do("GET", USERS, limit=1) == everybody[:1]
    assert await admin.do("GET", USERS, limit=1, after=wire.user.id) == everybody[1:]
    await admin.refused(400, "GET", USERS, after="nobody")
    await admin.refused(400, "GET", USERS, limit=501)


async def test_a_patch_changes_what_it_names(wire: Wire, admin: Admin) -> None:
    bob = await create(admin)
    path = f"{USERS}/{bob['id']}"
    view = await admin.do("PATCH", path, body={"name": "Robert", "email": None, "role": "admin", "status": "disabled"})
    assert view == bob | {"name": "Robert"}
    (row,) = await rows(wire, "user.updated")
    assert row["detail"] == f"user={bob['id']}"


async def test_nobody_is_404(admin: Admin) -> None:
    await admin.refused(404, "GET", NOBODY)
    await admin.refused(404, "PATCH", NOBODY, body={})
    for verb in ("disable", "enable"):
        await admin.refused(404, "PATCH", f"{NOBODY}/{verb}")
    await admin.refused(404, "POST", f"{NOBODY}/password", body={"password": "x"})
    await admin.refused(404, "DELETE", NOBODY)
    await admin.refused(404, "GET", f"{NOBODY}/tokens")
    await admin.refused(404, "DELETE", f"{NOBODY}/tokens")


async def test_a_disabled_user_is_shut_out_until_enabled_again(wire: Wire, admin: Admin) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id)
    path = f"{USERS}/{wire.user.id}"
    await admin.refused(409, "PATCH", f"{path}/enable")
    assert await admin.do("PATCH", f"{path}/disable") == {"status": "disabled"}
    await admin.refused(409, "PATCH", f"{path}/disable")
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 400
    assert await admin.do("PATCH", f"{path}/enable") == {"status": "active"}
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
    found = await rows(wire, "user.disabled", "user.enabled")
    assert [row["detail"] for row in found] == [f"user={wire.user.id}"] * 2


async def test_a_new_password_ends_the_sessions_of_the_old_one(wire: Wire, admin: Admin) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    path = f"{USERS}/{wire.user.id}/password"
    await admin.refused(400, "POST", path, body={})
    await admin.do("POST", path, expect=204, body={"password": "another password"})
    assert (await wire.authorize(client_id)).headers["location"].startswith("/login")
    assert (await wire.sign_in()).status_code == 422


async def test_a_user_with_live_tokens_is_deleted_by_force_alone(wire: Wire, admin: Admin) -> None:
    tokens = await wire.tokens((await wire.register())["client_id"])
    path = f"{USERS}/{wire.user.id}"
    await admin.refused(409, "DELETE", path)
    await admin.refused(409, "DELETE", path, force="1")
    await admin.do("DELETE", path, expect=204, force="true")
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    await admin.refused(404, "DELETE", path, force="true")
    (row,) = await rows(wire, "user.deleted")
    assert row["detail"] == f"user={wire.user.id} force=true"
