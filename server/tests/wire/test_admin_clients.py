"""``/admin/clients`` over HTTP (admin API, 3)."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from authserver.clients.store import find_client, insert_client
from server.tests.wire.harness import REDIRECT, RESOURCE, Wire
from server.tests.wire.operating import PEER, Admin, check_shape, rows

pytestmark = pytest.mark.anyio

CONFIDENTIAL = {
    "client_name": "reports",
    "grant_types": ["client_credentials"],
    "token_endpoint_auth_method": "client_secret_post",
    "scope": "notes:read",
}
UNKNOWN = "/admin/clients/nobody"


async def create(admin: Admin, **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", "/admin/clients", expect=201, body=CONFIDENTIAL | members)
    check_shape("POST", "/admin/clients", created)
    return dict(created)


async def machine_token(wire: Wire, created: dict[str, Any]) -> Any:
    return await wire.token(
        grant_type="client_credentials",
        client_id=created["client_id"],
        client_secret=created["client_secret"],
        resource=RESOURCE,
    )


async def test_a_created_client_has_what_was_asked_for_and_its_secret_works(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    assert created.pop("client_secret")
    client_id = created.pop("client_id")
    assert created == {
        "client_name": "reports",
        "redirect_uris": [],
        "grant_types": ["client_credentials"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "notes:read",
        "status": "active",
        "registration_source": "admin",
        "agent": False,
        "agent_description": "",
        "issued_at": "2026-09-21T14:13:20Z",
    }
    view = await admin.do("GET", f"/admin/clients/{client_id}")
    check_shape("GET", "/admin/clients/{id}", view)
    assert (view["id"], view["name"], view["cimd_url"]) == (client_id, "reports", "")
    assert not {"secret_hash", "client_secret"} & set(view)
    (row,) = [row for row in await rows(wire, "client.created_admin") if row["client_id"] == client_id]
    assert (row["actor_id"], row["detail"], row["ip"]) == ("admin", "name=reports", PEER)


async def test_a_client_without_a_method_is_public_and_gets_no_secret(admin: Admin) -> None:
    body = {"client_name": "app", "redirect_uris": [REDIRECT], "unknown": 1}
    created = await admin.do("POST", "/admin/clients", expect=201, body=body)
    check_shape("POST", "/admin/clients", created)
    assert "client_secret" not in created
    assert created["token_endpoint_auth_method"] == "none"
    assert created["grant_types"] == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"client_name": None}, "client_name is required"),
        ({"client_name": " "}, "client_name is required"),
        ({"client_name": 7}, "client_name"),
        ({"grant_types": ["authorization_code"]}, "redirect_uris is required"),
        ({"grant_types": ["password"]}, "password"),
        ({"redirect_uris": ["http://client.example/cb"]}, "redirect_uri"),
        ({"agent_description": "x" * 256}, "agent_description is longer than 255 bytes"),
        ({"client_name": "x\0y"}, "NUL"),
        ({"scope": 'a"b'}, "scope"),
    ],
)
async def test_what_may_not_be_registered_is_refused_with_the_reason(
    admin: Admin, members: dict[str, Any], told: str
) -> None:
    assert told in await admin.refused(400, "POST", "/admin/clients", body=CONFIDENTIAL | members)


async def test_all_problems_of_a_client_are_told_together(admin: Admin) -> None:
    told = await admin.refused(400, "POST", "/admin/clients", body={"response_types": ["token"]})
    assert "client_name is required; " in told
    assert "redirect_uris is required" in told
    assert "response_types" in told
    crooked = {"client_name": " ", "redirect_uris": ["http://a.example/", "b", "https://c.example/#d"], "scope": 'a"b'}
    told = await admin.refused(400, "POST", "/admin/clients", body=crooked)
    assert told.startswith("client validation failed: ")
    assert [told.count(name) for name in ("'http://a.example/'", "'b'", "'https://c.example/#d'")] == [1, 1, 1]
    assert told.count("; ") == 4
    assert ("client_name is required" in told, "scope" in told) == (True, True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b'{"client_name":"a"', b"\xff"])
async def test_a_body_that_is_no_json_object_is_refused(admin: Admin, body: bytes) -> None:
    answer = await admin.ask("POST", "/admin/clients", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("invalid JSON body")


async def test_a_body_that_is_wrong_throughout_is_refused_in_a_few_words(admin: Admin) -> None:
    members = b",".join([b"1"] * 100_000)
    for content, told in (
        (b'{"redirect_uris":[%b]}' % members, "100000 things are wrong"),
        (b'{"redirect_uris":{}, "scope": 1}', "redirect_uris: Input should be a valid array; scope: Input should be"),
    ):
        answer = await admin.ask("POST", "/admin/clients", content=content)
        assert answer.status_code == 400
        assert told in answer.json()["detail"]
    for path, body in (
        ("/admin/resources", {"x" * 100_000: 1}),
        ("/admin/resources", {"slug": "a", "backend_kind": "mint", "broker_provider_slug": "x" * 100_000}),
    ):
        answer = await admin.ask("POST", path, json=body)
        assert answer.status_code in {400, 404}
        assert len(answer.content) < 5000


async def test_a_body_of_more_than_a_mebibyte_is_refused(admin: Admin) -> None:
    answer = await admin.ask("POST", "/admin/clients", content=b'{"client_name": "' + b"x" * (1 << 20) + b'"}')
    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")


async def test_lists_are_pages_newest_first_and_can_be_narrowed(wire: Wire, admin: Admin) -> None:
    names = [f"n{number}" for number in range(3)]
    for name in names:
        wire.clock.seconds += 1
        await create(admin, client_name=name)
    await wire.register(client_name="self")
    listed = await admin.do("GET", "/admin/clients", source="admin", limit=2)
    check_shape("GET", "/admin/clients", listed)
    assert [client["name"] for client in listed] == ["n2", "n1"]
    after = await admin.do("GET", "/admin/clients", source="admin", limit=2, offset=2)
    assert after[0]["name"] == "n0"
    assert [client["name"] for client in await admin.do("GET", "/admin/clients", source="dcr")] == ["self"]
    assert await admin.do("GET", "/admin/clients", status="revoked") == []
    assert await admin.do("GET", "/admin/clients", status="nonsense") == []
    everything = await admin.do("GET", "/admin/clients")
    for limit in ("0", "-3", "many", "9" * 30):
        assert await admin.do("GET", "/admin/clients", limit=limit, offset="-1") == everything


async def test_an_unknown_client_is_404_for_readers_and_400_for_whoever_changes_it(admin: Admin) -> None:
    await admin.refused(404, "GET", UNKNOWN)
    await admin.refused(400, "PATCH", UNKNOWN, body={})
    await admin.refused(400, "POST", f"{UNKNOWN}/rotate-secret")
    for verb in ("suspend", "revoke", "reactivate"):
        await admin.refused(400, "PATCH", f"{UNKNOWN}/{verb}")
    await admin.refused(400, "DELETE", UNKNOWN)


async def test_a_patch_changes_what_it_names_and_null_changes_nothing(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    path = f"/admin/clients/{created['client_id']}"
    body = {"client_name": "renamed", "scope": None, "token_endpoint_auth_method": "none", "agent": True}
    view = await admin.do("PATCH", path, body=body)
    check_shape("PATCH", "/admin/clients/{id}", view)
    assert (view["name"], view["scope"], view["agent"]) == ("renamed", "notes:read", False)
    assert view["token_endpoint_auth_method"] == "client_secret_post"
    assert await admin.do("GET", path) == view
    (row,) = await rows(wire, "client.updated")
    assert (row["actor_id"], row["client_id"]) == ("admin", created["client_id"])
    assert "not supported" in await admin.refused(400, "PATCH", path, body={"grant_types": ["password"]})


async def test_a_rotated_secret_replaces_the_old_one_at_once(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    assert (await machine_token(wire, created)).status_code == 200
    rotated = await admin.do("POST", f"/admin/clients/{created['client_id']}/rotate-secret")
    check_shape("POST", "/admin/clients/{id}/rotate-secret", rotated)
    assert (await machine_token(wire, created)).status_code == 401
    assert (await machine_token(wire, rotated)).status_code == 200
    (row,) = await rows(wire, "client.secret_rotated")
    assert row["detail"] == ""
    public = await admin.do(
        "POST", "/admin/clients", expect=201, body={"client_name": "app", "redirect_uris": [REDIRECT]}
    )
    await admin.refused(400, "POST", f"/admin/clients/{public['client_id']}/rotate-secret")


async def test_suspended_clients_get_nothing_until_they_are_reactivated_and_revoked_ones_never(
    wire: Wire, admin: Admin
) -> None:
    created = await create(admin)
    path = f"/admin/clients/{created['client_id']}"
    await admin.refused(409, "PATCH", f"{path}/reactivate")
    assert await admin.do("PATCH", f"{path}/suspend") == {"status": "suspended"}
    await admin.refused(409, "PATCH", f"{path}/suspend")
    assert (await machine_token(wire, created)).status_code == 401
    assert await admin.do("PATCH", f"{path}/reactivate") == {"status": "active"}
    assert (await machine_token(wire, created)).status_code == 200
    for _ in range(2):
        assert await admin.do("PATCH", f"{path}/revoke") == {"status": "revoked"}
    await admin.refused(409, "PATCH", f"{path}/reactivate")
    assert (await machine_token(wire, created)).status_code == 401
    found = await rows(wire, "client.suspended", "client.reactivated", "client.revoked")
    assert sorted(row["action"] for row in found) == ["client.reactivated", "client.revoked", "client.suspended"]


async def test_a_client_with_live_tokens_is_deleted_by_force_alone(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    path = f"/admin/clients/{created['client_id']}"
    token = (await machine_token(wire, created)).json()["access_token"]
    await admin.refused(409, "DELETE", path)
    await admin.refused(409, "DELETE", path, force="TRUE")
    assert (await wire.introspect(token))["active"] is True
    assert await admin.do("DELETE", path, expect=204, force="true") is None
    assert await find_client(wire.core.db, created["client_id"]) is None
    assert await wire.introspect(token) == {"active": False}
    await admin.refused(400, "DELETE", path)
    (row,) = await rows(wire, "client.deleted")
    assert row["detail"] == "force=true"


async def test_a_client_whose_id_is_a_url_is_reached_with_its_slashes_escaped(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    client = await find_client(wire.core.db, created["client_id"])
    assert client is not None
    url = f"https://client.example/metadata.json?{'x' * 2000}"
    await wire.core.db.write(lambda tx: insert_client(tx, replace(client, id=url)))
    path = f"/admin/clients/{quote(url, safe='')}"
    assert (await admin.do("GET", path))["id"] == url
    assert await admin.do("PATCH", f"{path}/suspend") == {"status": "suspended"}
    await admin.refused(404, "GET", f"/admin/clients/{url}")


async def test_parameters_of_a_path_are_bounded(admin: Admin) -> None:
    assert await admin.refused(400, "GET", "/admin/clients/") == "id is required"
    assert await admin.refused(400, "GET", f"/admin/clients/{'x' * 257}") == "id too long"
    await admin.refused(404, "GET", f"/admin/clients/{'x' * 256}")
    url = f"https://client.example/{'x' * 2026}"
    assert await admin.refused(400, "GET", f"/admin/clients/{quote(url, safe='')}") == "id too long"


async def test_a_client_may_be_named_by_the_url_of_its_document_once(admin: Admin) -> None:
    body = {"client_id": "https://app.example/client.json", "client_name": "app", "redirect_uris": [REDIRECT]}
    created = await admin.do("POST", "/admin/clients", expect=201, body=body)
    check_shape("POST", "/admin/clients", created)
    assert (created["client_id"], created["registration_source"]) == (body["client_id"], "admin")
    view = await admin.do("GET", f"/admin/clients/{quote(created['client_id'], safe='')}")
    assert (view["id"], view["cimd_url"]) == (body["client_id"], "")
    again = await admin.refused(409, "POST", "/admin/clients", body=body)
    assert again == "there is a client with this client_id already"
    assert "client_id is not an http(s) URL" in await admin.refused(
        400, "POST", "/admin/clients", body=body | {"client_id": "app"}
    )
