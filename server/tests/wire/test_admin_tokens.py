"""``/admin/tokens`` and the tokens of a user over HTTP (admin API, 4)."""

from typing import Any

import pytest

from server.tests.wire.harness import RESOURCE, Wire, claims_of
from server.tests.wire.operating import Admin, check_shape, rows

pytestmark = pytest.mark.anyio

TOKENS = "/admin/tokens"


async def machine_token(wire: Wire, admin: Admin) -> tuple[str, str]:
    """Get a machine a token for itself; return it and the client's id."""
    body = {
        "client_name": "reports",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "notes:read",
    }
    created = await admin.do("POST", "/admin/clients", expect=201, body=body)
    form = {name: created[name] for name in ("client_id", "client_secret")}
    answer = await wire.token(grant_type="client_credentials", resource=RESOURCE, **form)
    return answer.json()["access_token"], created["client_id"]


async def family(wire: Wire) -> tuple[str, dict[str, Any]]:
    client_id = (await wire.register())["client_id"]
    return client_id, await wire.tokens(client_id)


async def test_lists_hold_families_and_machine_tokens_paged_apart(wire: Wire, admin: Admin) -> None:
    client_id, _ = await family(wire)
    token, machine = await machine_token(wire, admin)
    listed = await admin.do("GET", TOKENS)
    check_shape("GET", TOKENS, listed)
    first, second = listed["tokens"]
    assert listed["total"] == 2
    assert first.pop("jti")
    at = "2026-09-21T14:13:20Z"
    assert first == {
        "type": "authorization_code",
        "client_id": client_id,
        "user_id": wire.user.id,
        "scope": "notes:read",
        "resource": RESOURCE,
        "status": "active",
        "created_at": at,
    }
    assert second == {
        "jti": claims_of(token)["jti"],
        "type": "client_credentials",
        "client_id": machine,
        "scope": "notes:read",
        "resource": RESOURCE,
        "status": "active",
        "created_at": at,
        "expires_at": "2026-09-21T15:13:20Z",
    }
    assert await admin.do("GET", TOKENS, limit=1, offset=1) == {"tokens": [], "total": 2}
    assert (await admin.do("GET", TOKENS, client_id=machine))["tokens"] == [second]
    of_user = await admin.do("GET", TOKENS, user_id=wire.user.id)
    assert ([token["type"] for token in of_user["tokens"]], of_user["total"]) == (["authorization_code"], 1)
    assert await admin.do("GET", f"/admin/users/{wire.user.id}/tokens") == of_user
    assert await admin.do("GET", TOKENS, user_id="nobody", limit="x", offset="-4") == {"tokens": [], "total": 0}


async def test_a_revoked_family_takes_all_its_tokens_with_it_once(wire: Wire, admin: Admin) -> None:
    client_id, tokens = await family(wire)
    (listed,) = (await admin.do("GET", TOKENS))["tokens"]
    for _ in range(2):
        await admin.do("DELETE", f"{TOKENS}/{listed['jti']}", expect=204)
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 400
    assert (await admin.do("GET", TOKENS))["tokens"] == [listed | {"status": "revoked"}]
    (row,) = await rows(wire, "token.revoked")
    assert (row["actor_id"], row["client_id"], row["detail"]) == ("admin", client_id, f"family={listed['jti']}")


async def test_a_revoked_machine_token_is_inactive_and_still_listed_as_it_was(wire: Wire, admin: Admin) -> None:
    token, client_id = await machine_token(wire, admin)
    jti = claims_of(token)["jti"]
    for _ in range(2):
        await admin.do("DELETE", f"{TOKENS}/{jti}", expect=204)
    assert await wire.introspect(token) == {"active": False}
    (row,) = await rows(wire, "token.revoked")
    assert (row["client_id"], row["detail"]) == (client_id, f"machine_jti={jti}")
    assert [token["status"] for token in (await admin.do("GET", TOKENS))["tokens"]] == ["active"]


async def test_what_is_neither_is_400(wire: Wire, admin: Admin) -> None:
    _, tokens = await family(wire)
    for name in ("nothing", "A" * 22, claims_of(tokens["access_token"])["jti"]):
        await admin.refused(400, "DELETE", f"{TOKENS}/{name}")
    assert (await wire.introspect(tokens["access_token"]))["active"] is True


async def test_a_forced_logout_ends_sessions_and_every_family(wire: Wire, admin: Admin) -> None:
    client_id, tokens = await family(wire)
    await wire.tokens(client_id)
    path = f"/admin/users/{wire.user.id}/tokens"
    assert await admin.do("DELETE", path) == {"user_id": wire.user.id, "tokens_revoked": 2}
    assert await admin.do("DELETE", path) == {"user_id": wire.user.id, "tokens_revoked": 0}
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    assert (await wire.authorize(client_id)).headers["location"].startswith("/login")
    found = await rows(wire, "user.force_logout")
    assert sorted(row["detail"] for row in found) == [f"user={wire.user.id} revoked={n}" for n in (0, 2)]
