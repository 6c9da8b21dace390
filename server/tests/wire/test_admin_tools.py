"""``/admin/tools``: simulation of policies and inspection of tokens (admin API, 19)."""

import base64
from typing import Any

import pytest

from authserver.clients.administration import NewClient
from server.tests.wire.harness import REDIRECT, RESOURCE, Wire, claims_of
from server.tests.wire.operating import Admin, check_shape

pytestmark = pytest.mark.anyio

SIMULATE, INSPECT = "/admin/tools/simulate", "/admin/tools/token-inspect"


async def ask(admin: Admin, **question: str) -> dict[str, Any]:
    verdict = await admin.do("POST", SIMULATE, body=question)
    check_shape("POST", SIMULATE, verdict)
    return dict(verdict)


async def a_client(wire: Wire, **changes: Any) -> str:
    settings = {"name": "app", "redirect_uris": (REDIRECT,), "grant_types": ("authorization_code",)} | changes
    registered = await wire.core.clients.create(NewClient(**settings), now=wire.clock.seconds)
    return registered.client.id


async def test_a_user_is_asked_before_and_not_after_what_they_allowed(wire: Wire, admin: Admin) -> None:
    client_id = await a_client(wire)
    question = {"client_id": client_id, "user_id": wire.user.id, "resource": RESOURCE, "scope": "notes:read"}
    before = await ask(admin, **question)
    assert (before["outcome"], before["scopes"], before["refusal"]) == ("user_is_asked", ["notes:read"], None)
    assert before["resource_id"] == wire.resource.id
    answers = await admin.do("GET", f"/admin/users/{wire.user.id}/grants")
    assert answers["consent_grants"] == []  # nothing is written

    await wire.tokens(client_id, scope="notes:read")
    assert (await ask(admin, **question))["outcome"] == "allowed"
    assert (await ask(admin, **question | {"scope": "notes:read notes:write"}))["outcome"] == "user_is_asked"
    assert (await ask(admin, **question | {"user_id": ""}))["outcome"] == "user_is_asked"


async def test_the_step_that_says_no_is_the_last_one_and_is_explained(wire: Wire, admin: Admin) -> None:
    client_id = await a_client(wire, scope="notes:read")
    suspended = await a_client(wire)
    await wire.core.clients.suspend(suspended, now=wire.clock.seconds)
    good = {"client_id": client_id, "user_id": wire.user.id, "resource": RESOURCE, "scope": "notes:read"}
    for change, reason, step in (
        ({"client_id": "nobody"}, "client_unknown", "client looked up"),
        ({"client_id": suspended}, "client_not_active", "client looked up"),
        ({"resource": "https://elsewhere.example"}, "unknown_resource", "resource asked for"),
        ({"scope": "notes:burn"}, "invalid_scope", "scope compared"),
        ({"scope": "notes:write"}, "invalid_scope", "scope compared"),
        ({"user_id": "nobody"}, "subject_inactive", "user looked up"),
        ({"grant_type": "client_credentials"}, "public_client", "client authentication looked at"),
    ):
        verdict = await ask(admin, **good | change)
        refusal = verdict["refusal"]
        assert (verdict["outcome"], verdict["steps"][-1]["step"]) == ("refused", step), verdict
        assert refusal["meaning"]
        assert "no explanation" not in refusal["meaning"], refusal
        assert refusal["fix"]
        assert reason in {refusal["reason"], refusal["error"]}, refusal


async def test_a_machine_s_token_is_decided_by_its_own_rules(wire: Wire, admin: Admin) -> None:
    machine = {"grant_types": ("client_credentials",), "auth_method": "client_secret_basic", "redirect_uris": ()}
    client_id, bare = await a_client(wire, scope="notes:read", **machine), await a_client(wire, **machine)
    question = {"client_id": client_id, "grant_type": "client_credentials", "resource": RESOURCE}
    verdict = await ask(admin, **question)
    assert (verdict["outcome"], verdict["scopes"]) == ("allowed", ["notes:read"])
    assert (await ask(admin, **question | {"client_id": bare}))["refusal"]["reason"] == "client_without_scopes"
    assert (await ask(admin, **question | {"scope": "notes:write"}))["refusal"]["error"] == "invalid_scope"


async def test_a_question_needs_a_client_and_a_grant_that_can_be_simulated(admin: Admin) -> None:
    assert "client_id is required" in await admin.refused(400, "POST", SIMULATE, body={})
    body = {"client_id": "x", "grant_type": "password"}
    assert "grant_type must be one of" in await admin.refused(400, "POST", SIMULATE, body=body)


async def test_a_token_is_taken_apart(wire: Wire, admin: Admin) -> None:
    client_id = await a_client(wire)
    token = (await wire.tokens(client_id, scope="notes:read"))["access_token"]
    found = await admin.do("POST", INSPECT, body={"token": token})
    check_shape("POST", INSPECT, found)
    assert (found["ours"], found["active"], found["reasons"]) == (True, True, [])
    assert found["claims"] == claims_of(token)
    assert (found["header"]["typ"], found["issuance"]["client_id"]) == ("at+jwt", client_id)

    header, claims, _ = token.split(".")
    forged = await admin.do("POST", INSPECT, body={"token": f"{header}.{claims}.{'A' * 86}"})
    assert (forged["ours"], forged["active"], forged["reasons"]) == (False, False, ["unknown_token"])
    assert forged["issuance"]["id"] == claims_of(token)["jti"]

    await wire.core.clients.suspend(client_id, now=wire.clock.seconds)
    await admin.do("DELETE", f"/admin/issuances/{claims_of(token)['jti']}", expect=204)
    gone = await admin.do("POST", INSPECT, body={"token": token})
    assert (gone["ours"], gone["active"], gone["reasons"]) == (True, False, ["revoked", "client_not_active"])


def spelled(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


NESTED = spelled(b'{"a":' + b"[" * 300 + b"]" * 300 + b"}")
EMPTY = spelled(b"{}")


@pytest.mark.parametrize(
    "token", [None, "", "opaque", "a.b.c", "x" * 17_000, f"{NESTED}.{EMPTY}.AAAA", f"{EMPTY}.{NESTED}.AAAA"]
)
async def test_what_is_no_access_token_is_refused(admin: Admin, token: str | None) -> None:
    assert "token" in await admin.refused(400, "POST", INSPECT, body={"token": token})
