"""``/admin/idps`` and ``/admin/xaa`` over HTTP (admin API, 14)."""

from typing import Any

import pytest

from authserver.outbound.client import OutboundClient
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.wire.harness import ISSUER, Wire
from server.tests.wire.operating import PEER, Admin, check_shape, rows
from server.tests.wire.xaa import Enterprise

pytestmark = pytest.mark.anyio

IDPS, POLICIES, MAPPINGS = "/admin/idps", "/admin/xaa/policies", "/admin/xaa/subject-mappings"
ELSEWHERE = {"name": "Elsewhere", "issuer": "https://idp.example", "jwks_uri": "https://idp.example/keys"}


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


async def an_idp(admin: Admin, **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", IDPS, expect=201, body=ELSEWHERE | members)
    check_shape("POST", IDPS, created)
    return dict(created)


async def test_a_provider_is_registered_changed_and_deleted(wire: Wire, admin: Admin) -> None:
    idp = await an_idp(admin)
    path = f"{IDPS}/{idp['id']}"
    assert idp == ELSEWHERE | {
        "id": idp["id"],
        "audience": ISSUER,
        "enabled": True,
        "created_at": "2026-09-21T14:13:20Z",
        "updated_at": "2026-09-21T14:13:20Z",
    }
    assert await admin.do("GET", path) == idp
    assert await admin.do("GET", IDPS) == [idp]
    assert await admin.do("PUT", path, body={}) == idp
    changed = await admin.do("PUT", path, body={"enabled": False, "issuer": "https://other.example"})
    assert changed == idp | {"enabled": False}
    await admin.do("DELETE", path, expect=204)
    for method in ("GET", "PUT", "DELETE"):
        await admin.refused(404, method, path, body={})
    await admin.refused(404, "POST", f"{path}/refresh-keys")
    told = await rows(wire, "idp.registered", "idp.updated", "idp.deleted")
    assert len(told) == 3
    assert {(row["actor_id"], row["ip"]) for row in told} == {("admin", PEER)}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"name": ""}, "name must be"),
        ({"issuer": None}, "issuer must be"),
        ({"issuer": "http://idp.example"}, "issuer must be"),
        ({"jwks_uri": "ftp://idp.example"}, "jwks_uri must be"),
        ({"jwks_uri": None, "issuer": "https://127.0.0.1:9"}, ""),
        ({"name": 7}, "name"),
    ],
)
async def test_a_provider_that_may_not_be_is_refused(admin: Admin, members: dict[str, Any], told: str) -> None:
    assert told in await admin.refused(400, "POST", IDPS, body=ELSEWHERE | members)
    assert await admin.do("GET", IDPS) == []


async def test_a_provider_is_registered_once(admin: Admin) -> None:
    await an_idp(admin)
    assert "already registered" in await admin.refused(400, "POST", IDPS, body=ELSEWHERE)


async def test_policies_are_made_changed_and_deleted(wire: Wire, admin: Admin) -> None:
    idp = await an_idp(admin)
    body = {"name": "acme", "idp_id": idp["id"], "scopes": [], "client_ids": ["c"], "resources": ["notes"]}
    policy = await admin.do("POST", POLICIES, expect=201, body=body)
    check_shape("POST", POLICIES, policy)
    assert policy | body == policy
    assert (policy["scopes_unrestricted"], policy["enabled"]) == (False, True)
    path = f"{POLICIES}/{policy['id']}"
    assert await admin.do("GET", path) == policy
    assert await admin.do("GET", POLICIES, idp_id=idp["id"]) == [policy]
    assert await admin.do("GET", POLICIES, idp_id="other") == []
    assert await admin.do("PUT", path, body={"scopes": None}) == policy
    changed = await admin.do("PUT", path, body={"scopes_unrestricted": True, "client_ids": [], "enabled": False})
    assert changed == policy | {"scopes_unrestricted": True, "client_ids": [], "enabled": False}
    capped = await admin.do("PUT", path, body={"scopes": ["notes:read"]})
    assert (capped["scopes"], capped["scopes_unrestricted"]) == (["notes:read"], False)
    assert "exclude" in await admin.refused(400, "PUT", path, body={"scopes": [], "scopes_unrestricted": True})
    await admin.do("DELETE", path, expect=204)
    for method in ("GET", "PUT", "DELETE"):
        await admin.refused(404, method, path, body={})
    assert len(await rows(wire, "xaa_policy.created", "xaa_policy.updated", "xaa_policy.deleted")) == 4


async def test_a_policy_needs_a_name_and_a_provider(admin: Admin) -> None:
    idp = await an_idp(admin)
    assert "idp_id is required" in await admin.refused(400, "POST", POLICIES, body={"name": "x"})
    assert "name must be" in await admin.refused(400, "POST", POLICIES, body={"idp_id": idp["id"]})
    assert "not found" in await admin.refused(404, "POST", POLICIES, body={"name": "x", "idp_id": "nothing"})


async def test_subjects_are_mapped_once(wire: Wire, admin: Admin) -> None:
    idp = await an_idp(admin)
    body = {"idp_id": idp["id"], "idp_subject": "00u1", "local_user_id": wire.user.id}
    mapping = await admin.do("POST", MAPPINGS, expect=201, body=body)
    check_shape("POST", MAPPINGS, mapping)
    assert mapping | body == mapping
    unmapped = await admin.do("POST", MAPPINGS, expect=201, body={"idp_id": idp["id"], "idp_subject": "00u2"})
    assert "local_user_id" not in unmapped
    listed = await admin.do("GET", MAPPINGS)
    assert sorted(each["id"] for each in listed) == sorted([mapping["id"], unmapped["id"]])
    assert await admin.do("GET", MAPPINGS, idp_id="other") == []
    assert "mapped already" in await admin.refused(400, "POST", MAPPINGS, body=body)
    assert "idp_subject is required" in await admin.refused(400, "POST", MAPPINGS, body={"idp_id": idp["id"]})
    await admin.refused(404, "POST", MAPPINGS, body=body | {"idp_id": "nothing"})
    await admin.refused(404, "POST", MAPPINGS, body=body | {"idp_subject": "x", "local_user_id": "nobody"})
    await admin.do("DELETE", f"{MAPPINGS}/{mapping['id']}", expect=204)
    await admin.refused(404, "DELETE", f"{MAPPINGS}/{mapping['id']}")


async def test_keys_are_fetched_anew_or_it_is_said_why_not(admin: Admin, acme: Enterprise) -> None:
    path = f"{IDPS}/{acme.idp.id}/refresh-keys"
    assert await admin.do("POST", path) == {"status": "refreshed"}
    acme.provider.fall()
    assert "status 500" in await admin.refused(502, "POST", path)
