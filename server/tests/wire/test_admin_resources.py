"""``/admin/resources``, their policies and the links between them, over HTTP (admin API, 6 to 8)."""

from typing import Any

import pytest

from server.tests.wire.harness import Wire
from server.tests.wire.operating import PEER, Admin, an_admin, check_shape, rows

pytestmark = pytest.mark.anyio

FILES = {
    "slug": "Files",
    "backend_kind": "mint",
    "uri": "https://files.example/MCP/",
    "display_name": "Files",
    "scopes": [{"name": "read", "description": "Read files"}, {"name": "write", "upstream": "rw"}],
}
BASE = "/admin/resources"
POLICY = f"{BASE}/files/policy"


async def create(admin: Admin, **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", BASE, expect=201, body=FILES | members)
    check_shape("POST", BASE, created)
    return dict(created)


async def a_client(admin: Admin, name: str = "caller") -> str:
    created = await admin.do(
        "POST", "/admin/clients", expect=201, body={"client_name": name, "redirect_uris": ["https://app.example/cb"]}
    )
    return str(created["client_id"])


async def test_a_resource_is_created_as_asked_and_found_again(wire: Wire, admin: Admin) -> None:
    created = await create(admin)
    resource_id = created["id"]
    assert created == FILES | {
        "id": resource_id,
        "slug": "files",
        "broker_provider_id": "",
        "policy": {"exchange": {"allowed_client_ids": []}, "runtime": {"client_ids": []}},
        "created_at": "2026-09-21T14:13:20Z",
        "updated_at": "2026-09-21T14:13:20Z",
    }
    assert await admin.do("GET", f"{BASE}/{resource_id}") == created
    assert await admin.do("GET", BASE, slug="files") == created  # an object, not an array
    assert created in await admin.do("GET", BASE, limit=500, backend_kind="mint")
    check_shape("GET", BASE, await admin.do("GET", BASE))
    assert await admin.do("GET", BASE, backend_kind="broker") == []
    assert len(await admin.do("GET", BASE, limit=1)) == 1
    assert await admin.do("GET", BASE, offset=1000) == []
    (row,) = [row for row in await rows(wire, "resource.created") if resource_id in row["detail"]]
    assert (row["actor_id"], row["detail"], row["ip"]) == ("admin", f"id={resource_id} slug=files", PEER)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"limit": 0}, "limit must be 1..500"),
        ({"limit": 501}, "limit must be 1..500"),
        ({"limit": "many"}, "limit must be 1..500"),
        ({"offset": -1}, "offset must be"),
        ({"offset": 2**30 + 1}, "offset must be"),
        ({"backend_kind": "other"}, "backend_kind must be mint or broker"),
        ({"slug": "notes", "limit": 5}, "slug cannot be combined"),
        ({"slug": "notes", "backend_kind": "mint"}, "slug cannot be combined"),
    ],
)
async def test_a_wrong_question_is_refused(admin: Admin, query: dict[str, Any], told: str) -> None:
    assert told in await admin.refused(400, "GET", BASE, **query)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"slug": "no slug"}, "slug must match"),
        ({"slug": None}, "slug must match"),
        ({"backend_kind": None}, "backend_kind must be mint or broker"),
        ({"uri": "files.example"}, "uri must be"),
        ({"broker_provider_id": "p"}, "broker_provider_id must be empty"),
        ({"scopes": [{"name": "a"}, {"name": "a"}]}, "given twice"),
        ({"scopes": [{"description": "nameless"}]}, "scope name must not be empty"),
        ({"scopes": [{"name": "a", "label": "b"}]}, "label"),
        ({"policy": {"runtime": {"client_ids": ["nobody"]}}}, "client not found: nobody"),
        ({"policy": {"runtime": {"client_ids": [""]}}}, "empty entries"),
        ({"policy": {"other": {}}}, "other"),
        ({"policy": {"runtime": {"client_ids": ["x"] * 1001}}}, "1000 entries at most"),
        ({"scopes": [{"name": f"s{number}"} for number in range(1001)]}, "1000 scopes at most"),
        ({"scopes": [{"name": "a" * 256}]}, "scope name must be at most 255"),
        ({"scopes": [{"name": "a", "description": "é" * 513}]}, "at most 1024 bytes"),
        ({"display_name": "x" * 256}, "display_name must be at most 255 bytes"),
        ({"uri": "https://files.example/" + "x" * 2048}, "uri must be at most 2048 characters"),
        ({"id": "x"}, "id"),
    ],
)
async def test_what_breaks_a_rule_is_refused(admin: Admin, members: dict[str, Any], told: str) -> None:
    assert told in await admin.refused(400, "POST", BASE, body=FILES | members)


async def test_what_is_not_there_is_not_found_and_a_slug_is_taken_once(admin: Admin) -> None:
    await create(admin)
    assert 'slug "files" is already in use' in await admin.refused(409, "POST", BASE, body=FILES)
    await admin.refused(404, "POST", BASE, body=FILES | {"broker_provider_slug": "github"})
    await admin.refused(404, "GET", BASE, slug="Files")
    for method in ("GET", "PATCH", "DELETE"):
        await admin.refused(404, method, f"{BASE}/nothing", body={})


async def test_a_patch_changes_what_it_names_and_an_empty_one_nothing(wire: Wire, admin: Admin) -> None:
    client = await a_client(admin)
    created = await create(admin, policy={"runtime": {"client_ids": [client]}})
    path = f"{BASE}/{created['id']}"
    assert await admin.do("PATCH", path, body={"slug": None}) == created

    patched = await admin.do(
        "PATCH", path, body={"policy": {"exchange": {"allowed_client_ids": [client]}}, "display_name": "All files"}
    )
    assert patched["policy"] == {"exchange": {"allowed_client_ids": [client]}, "runtime": {"client_ids": []}}
    assert patched["display_name"] == "All files"
    assert "broker_provider_slug" in await admin.refused(400, "PATCH", path, body={"broker_provider_slug": "x"})
    (row,) = await rows(wire, "resource.patched")
    assert row["detail"] == f"id={created['id']} slug=files fields=display_name,policy"


async def test_a_policy_may_ask_for_bound_tokens(admin: Admin) -> None:
    created = await create(admin, policy={"dpop": {"required": True}})
    assert created["policy"]["dpop"] == {"required": True}


async def test_the_lists_of_a_policy_change_entry_by_entry(wire: Wire, admin: Admin) -> None:
    await create(admin)
    client, other = await a_client(admin), await a_client(admin, "other")
    for path, name in (
        (f"{POLICY}/exchange/allowed-clients", "allowed_client_ids"),
        (f"{POLICY}/runtime/client-ids", "client_ids"),
    ):
        assert await admin.do("GET", path) == {name: []}
        assert await admin.do("POST", path, body={"client_id": client}) == {name: [client]}
        assert await admin.do("POST", path, body={"client_id": client}) == {name: [client]}
        assert await admin.do("POST", path, body={"client_id": other}) == {name: [client, other]}
        assert await admin.do("DELETE", f"{path}/{client}") == {name: [other]}
        assert await admin.do("DELETE", f"{path}/{client}") == {name: [other]}
        assert await admin.do("GET", path) == {name: [other]}
        assert "client not found" in await admin.refused(400, "POST", path, body={"client_id": "nobody"})
        assert "slug" in await admin.refused(400, "POST", path, body={"slug": client})
        await admin.refused(404, "GET", path.replace("/files/", "/Files/"))
        assert "longer" in await admin.refused(400, "POST", path, body={"client_id": "x" * 17_000})
    told = await rows(
        wire,
        "resource.policy.exchange.allowed_client.added",
        "resource.policy.exchange.allowed_client.removed",
        "resource.policy.runtime.client.added",
        "resource.policy.runtime.client.removed",
    )
    about = [row for row in told if row["client_id"] == client]
    assert [(row["detail"], row["ip"]) for row in about] == [(f"slug=files client_id={client}", PEER)] * 4


async def test_a_mint_resource_has_no_return_urls(admin: Admin) -> None:
    await create(admin)
    path = f"{POLICY}/connect/allowed-return-urls"
    assert "mint" in await admin.refused(400, "GET", path)
    assert "mint" in await admin.refused(400, "POST", path, body={"url": "https://app.example/"})
    assert "mint" in await admin.refused(400, "DELETE", path, url="https://app.example/")
    assert "url is required" in await admin.refused(400, "DELETE", path)


async def linked(admin: Admin) -> dict[str, Any]:
    await create(admin)
    await create(admin, slug="deep", uri="", scopes=[{"name": "r"}, {"name": "w"}])
    link = {"source": "files", "target": "deep", "scope_map": {"read": ["r"], "write": ["w", "r"]}}
    checked = await admin.do("POST", "/admin/fronting", body=link, dry_run="true")
    assert (checked["created_at"], checked["created_by"]) == ("0001-01-01T00:00:00Z", "")
    assert await admin.do("GET", "/admin/fronting") == []
    created = await admin.do("POST", "/admin/fronting", expect=201, body=link)
    check_shape("POST", "/admin/fronting", created)
    assert checked == created | {"created_at": checked["created_at"], "created_by": ""}
    return dict(created)


async def test_links_are_made_found_changed_and_cut(wire: Wire, admin: Admin) -> None:
    link = await linked(admin)
    assert link == {
        "source_slug": "files",
        "target_slug": "deep",
        "scope_map": {"read": ["r"], "write": ["w", "r"]},
        "created_at": "2026-09-21T14:13:20Z",
        "created_by": "admin",
    }
    path = "/admin/fronting/files/deep"
    assert await admin.do("GET", path) == link
    assert await admin.do("GET", "/admin/fronting", source="files", target="deep") == [link]
    assert await admin.do("GET", "/admin/fronting", source="deep") == []
    assert await admin.do("GET", "/admin/fronting", offset=1) == []
    await admin.refused(400, "GET", "/admin/fronting", limit=501)
    assert await admin.do("GET", f"{BASE}/files/fronting") == {"slug": "files", "fronts": [link], "fronted_by": []}
    assert await admin.do("GET", f"{BASE}/deep/fronting") == {"slug": "deep", "fronts": [], "fronted_by": [link]}
    assert await admin.do("GET", f"{BASE}/none/fronting") == {"slug": "none", "fronts": [], "fronted_by": []}
    assert await admin.do("PATCH", path, body={}) == link
    assert (await admin.do("PATCH", path, body={"scope_map": {"read": ["w"]}}))["scope_map"] == {"read": ["w"]}
    assert "scope_map" in await admin.refused(400, "PATCH", path, body={"scope_map": {"burn": ["w"]}})
    await admin.do("DELETE", path, expect=204)
    for method in ("GET", "PATCH", "DELETE"):
        await admin.refused(404, method, path, body={})
    told = await rows(wire, "fronting_link.created", "fronting_link.patched", "fronting_link.deleted")
    assert sorted((row["action"], row["detail"], row["actor_id"], row["ip"]) for row in told) == [
        ("fronting_link.created", "source=files target=deep scopes=read->r,write->r+w", "admin", PEER),
        ("fronting_link.deleted", "source=files target=deep", "admin", PEER),
        ("fronting_link.patched", "source=files target=deep scopes=read->w", "admin", PEER),
    ]


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"source": None}, 400),
        ({"target": "files"}, 400),
        ({"target": "nothing"}, 400),
        ({"scope_map": {}}, 400),
        ({"scope_map": {"read": []}}, 400),
        ({"scope_map": {"read": ["r", "r"]}}, 400),
        ({"scope_map": {"read": ["burn"]}}, 400),
        ({"source": "deep", "target": "files", "scope_map": {"r": ["read"]}}, 400),
        ({"source_slug": "files"}, 400),
        ({}, 409),
    ],
)
async def test_a_link_that_may_not_be_is_refused(admin: Admin, members: dict[str, Any], status: int) -> None:
    await linked(admin)
    body = {"source": "files", "target": "deep", "scope_map": {"read": ["r"]}} | members
    await admin.refused(status, "POST", "/admin/fronting", body=body)
    await admin.refused(status, "POST", "/admin/fronting", body=body, dry_run="true")


DEEP_ONLY = {"name": "ada", "role": "operator", "resources": ["deep"]}


async def test_a_linked_resource_goes_with_its_links_or_not_at_all(wire: Wire, admin: Admin) -> None:
    link = await linked(admin)
    deep = await admin.do("GET", BASE, slug="deep")
    answer = await admin.ask("DELETE", f"{BASE}/{deep['id']}")
    assert (answer.status_code, answer.json()["dependents"]) == (409, [link])
    await admin.refused(400, "PATCH", f"{BASE}/{deep['id']}", body={"slug": "deeper"})
    key = (await admin.do("POST", "/admin/operators", expect=201, body=DEEP_ONLY))["key"]
    async with an_admin(wire, key) as ada:
        await ada.refused(403, "DELETE", "/admin/fronting/files/deep")
        told = await ada.refused(403, "DELETE", f"{BASE}/{deep['id']}", cascade="true")
    assert "one by one" in told
    await admin.do("DELETE", f"{BASE}/{deep['id']}", expect=204, cascade="true")
    assert await admin.do("GET", "/admin/fronting") == []
    found = await rows(wire, "fronting_link.deleted", "resource.deleted")
    assert sorted((row["detail"], row["ip"]) for row in found) == [
        (f"id={deep['id']} slug=deep cascaded_links=1", PEER),
        ("source=files target=deep reason=resource_cascade", PEER),
    ]
