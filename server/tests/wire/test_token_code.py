"""``POST /oauth/token`` with a code (public API §8.2, 8.3)."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import httpx2
import pytest

from authserver.authorization.store import revoke_families_of
from authserver.clients.store import find_client, update_client
from authserver.resources.administration import ResourcePatch
from authserver.telemetry.metrics import scrape
from server.tests.wire.harness import ISSUER, REDIRECT, RESOURCE, VERIFIER, Wire, claims_of

pytestmark = pytest.mark.anyio

OTHER_VERIFIER = "w" * 43


async def test_a_code_becomes_tokens_that_say_what_was_allowed(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    answer = await wire.redeem(client_id, await wire.code(client_id), redirect_uri=REDIRECT, resource="notes")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    tokens = answer.json()
    assert tokens.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 900, "notes:read")
    assert len(tokens["refresh_token"]) == 43
    claims = claims_of(tokens["access_token"])
    jti = claims.pop("jti")
    assert len(jti) == 22
    assert claims == {
        "iss": ISSUER,
        "sub": wire.user.id,
        "aud": [RESOURCE],
        "client_id": client_id,
        "scope": "notes:read",
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "auth_time": now,
        "amr": ["pwd"],
    }
    assert ("token.issued", "family=") in [(action, detail[:7]) for action, detail in await wire.audit()]


async def test_no_row_holds_the_code_or_the_refresh_token(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    tokens = (await wire.redeem(client_id, code)).json()
    for table in ("authorizations", "refresh_tokens", "issuances", "audit_events"):
        for row in await wire.core.db.fetch_all(f"SELECT * FROM {table}"):
            text = repr(dict(cast("Mapping[str, object]", row)))
            assert code not in text
            assert tokens["refresh_token"] not in text
            assert tokens["access_token"] not in text


async def test_a_redemption_counts_as_one_of_its_grant(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    before = scrape().decode().splitlines()
    assert (await wire.redeem(client_id, code)).status_code == 200
    (moved,) = (line for line in set(scrape().decode().splitlines()) - set(before) if "_tokens_issued_total" in line)
    assert moved.startswith('authserver_tokens_issued_total{grant_type="authorization_code"} ')


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"code": ""}, 400, "invalid_request"),
        ({"code_verifier": None}, 400, "invalid_request"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
        ({"client_secret": "a secret"}, 401, "invalid_client"),
        ({"code": "x" * 43}, 400, "invalid_grant"),
        ({"redirect_uri": REDIRECT + "/"}, 400, "invalid_grant"),
        ({"code_verifier": OTHER_VERIFIER}, 400, "invalid_grant"),
        ({"resource": "https://other.example.com/"}, 400, "invalid_target"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        ({"grant_type": None}, 400, "invalid_request"),
    ],
)
async def test_a_failed_check_leaves_the_code_to_its_owner(
    wire: Wire, form: dict[str, str | None], status: int, error: str
) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    refused = await wire.token(
        **({"grant_type": "authorization_code", "client_id": client_id, "code": code, "code_verifier": VERIFIER} | form)
    )
    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert refused.headers["cache-control"] == "no-store"
    assert refused.json()["reference"].startswith("ref_")
    assert (await wire.redeem(client_id, code)).status_code == 200


async def test_another_client_cannot_redeem_a_code(wire: Wire) -> None:
    first, second = (await wire.register())["client_id"], (await wire.register())["client_id"]
    code = await wire.code(first)
    refused = await wire.redeem(second, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await wire.redeem(first, code)).status_code == 200


async def test_a_code_dies_after_ten_minutes(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    wire.clock.seconds += 600
    assert (await wire.redeem(client_id, code)).json()["error"] == "invalid_grant"


async def test_a_code_presented_again_by_its_owner_withdraws_what_it_bought(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    tokens = (await wire.redeem(client_id, code)).json()
    again = await wire.redeem(client_id, code)
    assert again.json()["error_description"].startswith("authorization code has already been used")
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    assert (await wire.refresh(client_id, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    actions = dict(await wire.audit())
    assert actions["auth_code.reused"].endswith("verifier=valid")
    assert actions["family.revoked"].startswith("code_reuse family=")


async def test_a_code_found_in_a_log_withdraws_nothing(wire: Wire) -> None:
    client_id, stranger = (await wire.register())["client_id"], (await wire.register())["client_id"]
    code = await wire.code(client_id)
    tokens = (await wire.redeem(client_id, code)).json()
    for attempt in (
        await wire.redeem(client_id, code, code_verifier=OTHER_VERIFIER),
        await wire.redeem(stranger, code),
    ):
        assert attempt.json()["error"] == "invalid_grant"
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
    assert [detail[-7:] for action, detail in await wire.audit() if action == "auth_code.reused"] == ["invalid"] * 2


async def test_of_fifty_uses_at_once_one_gets_tokens_and_the_rest_withdraw_them(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    answers = await asyncio.gather(*(wire.redeem(client_id, code) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    families = await wire.core.db.fetch_all("SELECT revoked_at FROM authorizations WHERE consumed_at IS NOT NULL")
    assert [row["revoked_at"] is not None for row in families] == [True]
    issuances = await wire.core.db.fetch_all("SELECT revoked_at FROM issuances")
    assert [row["revoked_at"] is not None for row in issuances] == [True]


async def test_a_disabled_user_gets_no_tokens(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    await wire.core.accounts.disable_user(wire.user.id, now=now)
    assert (await wire.redeem(client_id, code)).json()["error"] == "invalid_grant"


async def test_a_consent_revoked_between_code_and_redemption_counts(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    await wire.core.db.write(lambda tx: tx.execute("UPDATE consent_grants SET revoked_at = $1", now))
    assert (await wire.redeem(client_id, code)).json()["error"] == "invalid_grant"
    rows = await wire.core.db.fetch_all("SELECT consumed_at FROM authorizations")
    assert [row["consumed_at"] for row in rows] == [None]


async def test_a_ceiling_lowered_after_consent_counts(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    client = await find_client(wire.core.db, client_id)
    assert client is not None
    await wire.core.db.write(lambda tx: update_client(tx, replace(client, scope="notes:write")))
    assert (await wire.redeem(client_id, code)).json()["error"] == "invalid_scope"


async def test_a_client_without_the_refresh_grant_gets_no_refresh_token(wire: Wire) -> None:
    client_id = (await wire.register(grant_types=["authorization_code"]))["client_id"]
    assert "refresh_token" not in await wire.tokens(client_id)


async def test_a_confidential_client_must_prove_itself(wire: Wire) -> None:
    registered = await wire.register(token_endpoint_auth_method="client_secret_basic")
    client_id, secret = registered["client_id"], registered["client_secret"]
    code = await wire.code(client_id)
    assert (await wire.redeem(client_id, code)).status_code == 401
    wrong = await wire.redeem(client_id, code, client_secret="wrong")
    assert wrong.headers["www-authenticate"] == 'Basic realm="authserver"'
    assert (await wire.redeem(client_id, code, client_secret=secret)).status_code == 200


async def test_a_repeated_parameter_is_refused_and_equal_resources_are_one(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    twice = f"grant_type=authorization_code&client_id={client_id}&code={code}&code={code}&code_verifier={VERIFIER}"
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await wire.http.post("/oauth/token", content=twice, headers=form)).json()["error"] == "invalid_request"
    assert (
        await wire.token(
            grant_type="authorization_code",
            client_id=client_id,
            code=code,
            code_verifier=VERIFIER,
            resource=[RESOURCE, RESOURCE],
        )
    ).status_code == 200


async def test_parameters_in_the_query_are_not_read(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    answer = await wire.http.post(f"/oauth/token?code={code}", data={"grant_type": "authorization_code"})
    assert answer.json()["error"] == "invalid_request"


async def test_a_token_without_a_resource_is_for_the_issuer(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id, resource=None)
    assert claims_of(tokens["access_token"])["aud"] == [ISSUER]


async def test_families_of_a_user_are_revoked_together(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = [await wire.tokens(client_id) for _ in range(2)]
    assert await wire.core.db.write(lambda tx: revoke_families_of(tx, user_id=wire.user.id, now=now)) == 2
    for each in tokens:
        assert (await wire.refresh(client_id, each["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_browser_client_may_read_the_answer(wire: Wire) -> None:
    answer: httpx2.Response = await wire.http.post(
        "/oauth/token", data={"grant_type": "x"}, headers={"origin": "https://app.example"}
    )
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_code_does_not_outlive_a_force_logout(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    assert await wire.core.accounts.force_logout(wire.user.id, now=now) == 0
    assert (await wire.redeem(client_id, code)).json()["error"] == "invalid_grant"


async def test_a_resource_that_moved_keeps_its_old_name_for_grants_made_before(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    await wire.core.resources.update_resource(
        wire.resource.id, ResourcePatch(uri="https://new.example.com/mcp"), now=now
    )
    await wire.server.watcher.poll()
    answer = await wire.redeem(client_id, code, resource=RESOURCE)
    assert claims_of(answer.json()["access_token"])["aud"] == [RESOURCE]


async def test_a_fault_is_answered_without_its_cause_and_leaves_the_code(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    with monkeypatch.context() as patch:
        patch.setattr(wire.keyring, "current", lambda _now: 1 / 0)
        answer = await wire.redeem(client_id, code)
    assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "division" not in answer.text
    assert ("token.issue_denied", "reason=server_error") in await wire.audit()
    assert (await wire.redeem(client_id, code)).status_code == 200


async def test_a_wrong_secret_is_recorded_for_the_client_it_was_tried_on(wire: Wire) -> None:
    client_id = (await wire.register(token_endpoint_auth_method="client_secret_basic"))["client_id"]
    await wire.redeem(client_id, "x" * 43, client_secret="wrong")
    rows = await wire.core.db.fetch_all("SELECT client_id FROM audit_events WHERE action = 'token.issue_denied'")
    assert [row["client_id"] for row in rows] == [client_id]


async def test_nobody_learns_of_a_code_or_spends_it_by_a_name_that_no_client_has(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    form = {"grant_type": "authorization_code", "code_verifier": VERIFIER}
    for name in ("nobody", "x" * 3000, "a\x00b"):
        for presented in (code, "c" * 43):
            answer = await wire.http.post("/oauth/token", data=form | {"code": presented}, auth=(name, "x"))
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    tokens = (await wire.redeem(client_id, code)).json()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    for name in ("nobody", "x" * 3000, "a\x00b"):
        answer = await wire.http.post("/oauth/token", data=form, auth=(name, "x"))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
