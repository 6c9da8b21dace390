"""The device authorization grant (RFC 8628; ruling R44): from the device's first request to its tokens."""

import asyncio
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.authorization.device_limits import GUESSES_AT_ONCE, SECONDS_PER_GUESS, STARTS_AT_ONCE
from authserver.authorization.device_store import MOST_REQUESTS, TOLD_AFTER_EXPIRY
from authserver.authorization.store import revoke_families_of
from authserver.clients.administration import ClientChanges, NewClient
from authserver.protocol.grant_types import DEVICE_CODE, REFRESH_TOKEN
from server.tests.fakes.document_server import document_server
from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.harness import ISSUER, RESOURCE, VERIFIER, Answer, Wire, claims_of, query_of

pytestmark = pytest.mark.anyio

TOKEN_URL = f"{ISSUER}/oauth/token"
GRANTS = [DEVICE_CODE, REFRESH_TOKEN]


async def a_device(wire: Wire, **members: object) -> str:
    """Register a client that has no browser."""
    return str((await wire.register(**({"grant_types": GRANTS, "redirect_uris": []} | members)))["client_id"])


async def started(wire: Wire, client_id: str, **form: str | None) -> dict[str, Any]:
    """Start a device; return its answer."""
    answer = await wire.start_device(client_id, **form)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def allowed(wire: Wire, client_id: str, **form: str | None) -> str:
    """Start a device and have the user allow it; return the device code."""
    device = await started(wire, client_id, **form)
    done = await wire.answer_device(await wire.enter_code(device["user_code"]))
    assert (done.status_code, "Your device is connected" in done.text) == (200, True), done.text
    return str(device["device_code"])


def told(answer: Answer) -> tuple[int, str]:
    """Return status and error."""
    return answer.status_code, answer.json()["error"]


async def test_a_device_is_given_two_codes_and_where_to_enter_one(wire: Wire) -> None:
    answer = await wire.start_device(await a_device(wire))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["access-control-allow-origin"] == "*"
    device = answer.json()
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", device["user_code"])
    assert re.fullmatch("[A-Za-z0-9_-]{43}", device["device_code"])
    assert device | {"device_code": "", "user_code": ""} == {
        "device_code": "",
        "user_code": "",
        "verification_uri": f"{ISSUER}/device",
        "verification_uri_complete": f"{ISSUER}/device?user_code={device['user_code']}",
        "expires_in": 600,
        "interval": 5,
    }


async def test_a_device_gets_the_tokens_that_its_user_allowed(wire: Wire, now: int) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "authorization_pending")
    question = await wire.enter_code(device["user_code"].lower().replace("-", " "))
    assert "Tests" in question.text
    assert "nobody has checked it" in question.text
    assert "Read your notes" in question.text
    assert device["user_code"] in question.text
    assert "Continue only if you have just started this yourself" in question.text
    done = await wire.answer_device(question, scopes=["notes:read"])
    assert "You may return to your device" in done.text
    answer = await wire.poll(client_id, device["device_code"])
    tokens = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert (tokens["token_type"], tokens["scope"], tokens["expires_in"]) == ("Bearer", "notes:read", 900)
    claims = claims_of(tokens["access_token"])
    assert (claims["sub"], claims["aud"], claims["client_id"]) == (wire.user.id, [RESOURCE], client_id)
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
    actions = [action for action, _ in await wire.audit()]
    assert actions.count("consent.granted") == actions.count("token.issued") == 1
    assert "token.issue_denied" not in actions


async def test_a_client_without_the_refresh_grant_gets_no_refresh_token(wire: Wire) -> None:
    client_id = await a_device(wire, grant_types=[DEVICE_CODE])
    tokens = (await wire.poll(client_id, await allowed(wire, client_id))).json()
    assert "access_token" in tokens
    assert "refresh_token" not in tokens


async def test_no_row_holds_the_device_code(wire: Wire) -> None:
    client_id = await a_device(wire)
    waiting, code = (await started(wire, client_id))["device_code"], await allowed(wire, client_id)
    for table in ("device_requests", "authorizations", "audit_events"):
        for row in await wire.core.db.fetch_all(f"SELECT * FROM {table}"):
            assert waiting not in repr(dict(row))  # type: ignore[call-overload]  # both drivers' rows are mappings
            assert code not in repr(dict(row))  # type: ignore[call-overload]  # the same


async def test_a_user_is_asked_even_if_everything_was_allowed_before(wire: Wire) -> None:
    client_id = await a_device(wire)
    await allowed(wire, client_id)
    device = await started(wire, client_id)
    page = await wire.http.get("/device", params={"user_code": device["user_code"]})
    assert f'value="{device["user_code"]}"' in page.text
    assert "Compare this with the code that your device shows" in page.text
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "authorization_pending")
    question = await wire.enter_code(device["user_code"])
    assert "You allowed this before" in question.text
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "slow_down")


async def test_a_consent_given_to_a_device_covers_no_redirect(wire: Wire) -> None:
    client_id = (await wire.register(grant_types=["authorization_code", *GRANTS]))["client_id"]
    await allowed(wire, client_id)
    answer = await wire.authorize(client_id)
    assert answer.headers["location"].startswith("/consent?")


async def test_a_consent_given_on_a_redirect_keeps_covering_it(wire: Wire) -> None:
    client_id = (await wire.register(grant_types=["authorization_code", *GRANTS]))["client_id"]
    await wire.code(client_id)
    await allowed(wire, client_id)
    assert "code" in query_of(await wire.authorize(client_id))


async def test_who_is_not_signed_in_signs_in_and_comes_back_with_the_code(wire: Wire) -> None:
    device = await started(wire, await a_device(wire))
    sent = await wire.http.get("/device", params={"user_code": device["user_code"]})
    assert sent.status_code == 303
    login = sent.headers["location"]
    assert login == f"/login?redirect=%2Fdevice%3Fuser_code%3D{device['user_code']}"
    form = await wire.http.get(login)
    fields = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', form.text))
    back = await wire.http.post(
        "/login", data={**fields, "email": wire.user.email, "password": "correct horse battery staple"}
    )
    assert back.headers["location"] == f"/device?user_code={device['user_code']}"


async def test_a_device_that_is_denied_is_told_so_until_its_code_expires(wire: Wire) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    done = await wire.answer_device(await wire.enter_code(device["user_code"]), action="deny")
    assert "Nothing was allowed" in done.text
    for _ in range(2):
        answer = await wire.poll(client_id, device["device_code"])
        assert told(answer) == (400, "access_denied")
        assert answer.json()["reference"].startswith("ref_")
    assert [action for action, _ in await wire.audit() if "consent" in action] == ["consent.denied"]
    assert (await wire.enter_code(device["user_code"])).status_code == 422


async def test_a_device_that_proves_a_key_gets_tokens_bound_to_it(wire: Wire, now: int) -> None:
    client_id, prover = await a_device(wire), ProvingClient(url=TOKEN_URL)
    thief = ProvingClient(url=TOKEN_URL, key=ec.generate_private_key(ec.SECP256R1()))
    code = await allowed(wire, client_id, dpop_jkt=prover.jkt)
    assert told(await wire.poll(client_id, code)) == (400, "invalid_grant")
    assert told(await wire.poll(client_id, code, proof=thief.proof(now=now))) == (400, "invalid_grant")
    proof = prover.proof(now=now)
    tokens = (await wire.poll(client_id, code, proof=proof)).json()
    assert tokens["token_type"] == "DPoP"
    assert claims_of(tokens["access_token"])["cnf"] == {"jkt": prover.jkt}
    unbound = await wire.refresh(client_id, tokens["refresh_token"])
    assert told(unbound) == (400, "invalid_grant")
    assert told(await wire.poll(client_id, code, proof=proof)) == (400, "invalid_dpop_proof")
    refreshed = await wire.refresh(client_id, tokens["refresh_token"], proof=prover.proof(now=now))
    assert refreshed.json()["token_type"] == "DPoP"


async def test_polling_too_fast_makes_the_interval_longer(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = (await started(wire, client_id))["device_code"]
    seen = []
    for wait in (0, 3, 8, 9, 10):
        wire.clock.seconds += wait
        seen.append((await wire.poll(client_id, code)).json()["error"])
    # 5 s at first; 10 s after the second poll, which came too soon, and so did the third; then 15 s.
    assert seen == ["authorization_pending", "slow_down", "slow_down", "slow_down", "slow_down"]
    wire.clock.seconds += 25
    answer = await wire.poll(client_id, code)
    assert told(answer) == (400, "authorization_pending")
    assert "reference" not in answer.json()
    assert answer.json()["error_description"] == "the user has not answered yet"


async def test_of_many_polls_at_once_one_is_in_time(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = (await started(wire, client_id))["device_code"]
    answers = await asyncio.gather(*(wire.poll(client_id, code) for _ in range(20)))
    errors = [answer.json()["error"] for answer in answers]
    assert (errors.count("authorization_pending"), errors.count("slow_down")) == (1, 19)


async def test_polls_leave_nothing_behind(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = (await started(wire, client_id))["device_code"]
    before = await wire.audit()
    for _ in range(3):
        wire.clock.seconds += 5
        assert told(await wire.poll(client_id, code)) == (400, "authorization_pending")
    await wire.server.traces.flushed()
    assert await wire.audit() == before
    assert await wire.core.db.fetch_all("SELECT error FROM refusal_traces WHERE error = 'authorization_pending'") == []


async def test_an_expired_device_is_told_so_and_then_unknown(wire: Wire) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    question = await wire.enter_code(device["user_code"])
    wire.clock.seconds += 600
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "expired_token")
    assert (await wire.enter_code(device["user_code"])).status_code == 422
    late = await wire.answer_device(question)
    assert (late.status_code, "has expired" in late.text) == (400, True)
    wire.clock.seconds += TOLD_AFTER_EXPIRY + 1
    await started(wire, client_id)
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "invalid_grant")


async def test_a_device_allowed_in_the_last_second_has_time_to_come(wire: Wire) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    question = await wire.enter_code(device["user_code"])
    wire.clock.seconds += 599
    await wire.answer_device(question)
    wire.clock.seconds += 59
    assert (await wire.poll(client_id, device["device_code"])).status_code == 200


async def test_an_allowed_device_that_comes_too_late_is_told_so(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = await allowed(wire, client_id)
    wire.clock.seconds += 600
    assert told(await wire.poll(client_id, code)) == (400, "expired_token")


async def test_a_code_presented_again_by_its_client_withdraws_what_it_bought(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = await allowed(wire, client_id)
    tokens = (await wire.poll(client_id, code)).json()
    again = await wire.poll(client_id, code)
    assert told(again) == (400, "invalid_grant")
    assert again.json()["error_description"].startswith("device code has already been used")
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    assert (await wire.refresh(client_id, tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_another_client_gets_nothing_for_a_code_and_spends_nothing(wire: Wire) -> None:
    client_id, stranger = await a_device(wire), await a_device(wire)
    device = await started(wire, client_id)
    assert told(await wire.poll(stranger, device["device_code"])) == (400, "invalid_grant")
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "authorization_pending")
    await wire.answer_device(await wire.enter_code(device["user_code"]))
    assert told(await wire.poll(stranger, device["device_code"])) == (400, "invalid_grant")
    tokens = (await wire.poll(client_id, device["device_code"])).json()
    assert told(await wire.poll(stranger, device["device_code"])) == (400, "invalid_grant")
    assert (await wire.introspect(tokens["access_token"]))["active"] is True


async def test_of_fifty_polls_at_once_one_gets_tokens(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = await allowed(wire, client_id)
    answers = await asyncio.gather(*(wire.poll(client_id, code) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}


async def test_a_device_code_and_a_code_of_a_redirect_are_nothing_where_the_other_belongs(wire: Wire) -> None:
    client_id = (await wire.register(grant_types=["authorization_code", *GRANTS]))["client_id"]
    device_code = await allowed(wire, client_id)
    code = await wire.code(client_id)
    assert told(await wire.redeem(client_id, device_code, code_verifier=VERIFIER)) == (400, "invalid_grant")
    assert told(await wire.poll(client_id, code)) == (400, "invalid_grant")
    assert (await wire.redeem(client_id, code)).status_code == 200
    assert (await wire.poll(client_id, device_code)).status_code == 200


async def test_what_the_user_may_not_do_any_more_the_device_may_not_either(wire: Wire, now: int) -> None:
    client_id = await a_device(wire)
    withdrawn, disabled = await allowed(wire, client_id), await allowed(wire, client_id)
    await wire.core.db.write(
        lambda tx: tx.execute("UPDATE consent_grants SET revoked_at = $1 WHERE client_id = $2", now, client_id)
    )
    assert told(await wire.poll(client_id, withdrawn)) == (400, "invalid_grant")
    await wire.core.db.write(
        lambda tx: tx.execute("UPDATE consent_grants SET revoked_at = NULL WHERE client_id = $1", client_id)
    )
    await wire.core.accounts.disable_user(wire.user.id, now=now)
    assert told(await wire.poll(client_id, disabled)) == (400, "invalid_grant")


async def test_a_revoked_client_loses_what_was_allowed_and_not_collected(wire: Wire, now: int) -> None:
    client_id = await a_device(wire)
    code = await allowed(wire, client_id)
    await wire.core.db.write(lambda tx: revoke_families_of(tx, client_id=client_id, now=now))
    assert told(await wire.poll(client_id, code)) == (400, "invalid_grant")


async def test_a_client_whose_ceiling_shrank_is_refused_and_spends_nothing(wire: Wire) -> None:
    client_id = await a_device(wire)
    code = await allowed(wire, client_id)
    await wire.core.clients.update(client_id, ClientChanges(scope="notes:read"), now=wire.clock.seconds)
    assert told(await wire.poll(client_id, code)) == (400, "invalid_scope")
    await wire.core.clients.update(client_id, ClientChanges(scope="notes:read notes:write"), now=wire.clock.seconds)
    assert told(await wire.poll(client_id, code, resource="https://elsewhere.example/")) == (400, "invalid_target")
    assert (await wire.poll(client_id, code, resource=RESOURCE)).status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_id": None}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_secret": "x"}, 401, "invalid_client"),
        ({"scope": "notes:burn"}, 400, "invalid_scope"),
        ({"scope": 'notes:"'}, 400, "invalid_scope"),
        ({"resource": "https://elsewhere.example/"}, 400, "invalid_target"),
        ({"dpop_jkt": "x" * 300}, 400, "invalid_request"),
    ],
)
async def test_what_cannot_succeed_is_refused_at_once_and_written_nowhere(
    wire: Wire, form: dict[str, str | None], status: int, error: str
) -> None:
    given: dict[str, Any] = {"client_id": await a_device(wire)} | form
    refused = await wire.start_device(**given)
    assert told(refused) == (status, error)
    assert refused.headers["cache-control"] == "no-store"
    assert refused.json()["reference"].startswith("ref_")
    assert await wire.core.db.fetch_all("SELECT id FROM device_requests") == []


async def test_a_client_without_the_grant_is_refused_at_both_endpoints(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    assert told(await wire.start_device(client_id)) == (400, "unauthorized_client")
    assert told(await wire.poll(client_id, "x" * 43)) == (400, "unauthorized_client")
    assert "token.issue_denied" not in [action for action, _ in await wire.audit()]


async def test_a_client_with_a_secret_proves_itself_at_both_endpoints(wire: Wire, now: int) -> None:
    registered = await wire.core.clients.create(
        NewClient(name="Set-top box", grant_types=GRANTS, auth_method="client_secret_basic"), now=now
    )
    auth = (registered.client.id, registered.client_secret or "")
    assert told(await wire.start_device(registered.client.id)) == (401, "invalid_client")
    form = {"scope": "notes:read", "resource": "notes"}
    device = (await wire.http.post("/oauth/device_authorization", data=form, auth=auth)).json()
    await wire.answer_device(await wire.enter_code(device["user_code"]))
    poll = {"grant_type": DEVICE_CODE, "device_code": device["device_code"]}
    assert told(await wire.poll(registered.client.id, device["device_code"])) == (401, "invalid_client")
    assert (await wire.http.post("/oauth/token", data=poll, auth=auth)).status_code == 200
    assert told(await wire.http.post("/oauth/token", data=poll | {"device_code": "x"}, auth=auth)) == (
        400,
        "invalid_grant",
    )
    assert ("token.issue_denied", "reason=invalid_grant") in await wire.audit()


async def test_a_client_that_is_a_document_is_fetched_when_its_device_starts(wire: Wire) -> None:
    async with document_server() as documents:
        client_id = documents.document("/tv", grant_types=GRANTS, redirect_uris=None, client_name="Television")
        device = await started(wire, client_id)
        question = await wire.enter_code(device["user_code"])
        assert "127.0.0.1" in question.text
        assert "It calls itself “<bdi>Television</bdi>”" in question.text
        await wire.answer_device(question)
        assert (await wire.poll(client_id, device["device_code"])).status_code == 200
        assert documents.paths() == ["/tv"]
        refused = await wire.start_device(documents.url("/no-such-document"))
        assert told(refused) == (401, "invalid_client")


async def test_a_suspended_client_is_neither_asked_about_nor_allowed(wire: Wire, now: int) -> None:
    client_id = await a_device(wire)
    device, other = await started(wire, client_id), await started(wire, client_id)
    question = await wire.enter_code(device["user_code"])
    await wire.core.clients.suspend(client_id, now=now)
    assert (await wire.answer_device(question)).status_code == 403
    assert (await wire.enter_code(other["user_code"])).status_code == 403
    assert told(await wire.poll(client_id, device["device_code"])) == (401, "invalid_client")


async def test_an_answer_must_come_from_the_page_that_asked(wire: Wire) -> None:
    client_id = await a_device(wire)
    device, other = await started(wire, client_id), await started(wire, client_id)
    question, another = await wire.enter_code(device["user_code"]), await wire.enter_code(other["user_code"])
    fields = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', question.text)[:2])
    token = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)"', another.text)[:2])["csrf_token"]
    answer = {**fields, "scopes": "notes:read", "action": "allow"}
    forged = [
        await wire.http.post("/device", data=answer | {"csrf_token": token}),
        await wire.http.post("/device", data={**answer, "csrf_token": ""}),
        await wire.http.post("/device", data=answer, headers={"origin": "https://evil.example"}),
        await wire.http.post("/device", data=answer, headers={"sec-fetch-site": "cross-site"}),
        await wire.http.post("/device", data={"user_code": device["user_code"]}),
    ]
    assert [page.status_code for page in forged] == [403] * 5
    assert (await wire.new_browser().post("/device", data=answer)).status_code == 401
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "authorization_pending")
    assert (await wire.http.post("/device", data=answer | {"scopes": "notes:burn"})).status_code == 400
    assert (await wire.http.post("/device", data=answer | {"action": "maybe"})).status_code == 400
    assert (await wire.http.post("/device", data=answer | {"scopes": ""})).status_code == 400
    assert (await wire.http.post("/device", data=answer)).status_code == 200
    assert (await wire.http.post("/device", data=answer)).status_code == 400


async def test_of_two_users_who_enter_a_code_the_first_to_answer_decides(wire: Wire, now: int) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    await wire.core.accounts.create_user(
        email="bob@example.com", password="correct horse battery staple", name="Bob", now=now
    )
    async with wire.new_browser() as bob:
        await wire.sign_in(bob, email="bob@example.com")
        theirs = await wire.enter_code(device["user_code"], bob)
        mine = await wire.enter_code(device["user_code"])
        answers = await asyncio.gather(wire.answer_device(mine), wire.answer_device(theirs, browser=bob))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    assert (await wire.poll(client_id, device["device_code"])).status_code == 200


async def test_user_codes_cannot_be_guessed_at_will(wire: Wire) -> None:
    device = await started(wire, await a_device(wire))
    for _ in range(GUESSES_AT_ONCE):
        page = await wire.enter_code("BCDF-GHJK")
        assert (page.status_code, "No device waits with this code" in page.text) == (422, True)
        assert re.search("ref_[a-z2-7]{20}", page.text)
    limited = await wire.enter_code(device["user_code"])
    assert limited.status_code == 429
    assert 0 < int(limited.headers["retry-after"]) <= SECONDS_PER_GUESS
    assert "Too many codes were entered. Wait a minute, then enter the code again." in limited.text
    assert f'value="{device["user_code"]}"' in limited.text
    assert re.search("ref_[a-z2-7]{20}", limited.text)
    assert (await wire.enter_code("no code")).status_code == 422


async def test_devices_cannot_be_started_at_will(wire: Wire) -> None:
    client_id = await a_device(wire)
    refused = [await wire.start_device(client_id, scope="notes:burn") for _ in range(3)]
    assert {answer.status_code for answer in refused} == {400}
    # One more a second is let in, and this takes less than a second each.
    started_before = 0
    while (answer := await wire.start_device(client_id)).status_code == 200:
        started_before += 1
        assert started_before < STARTS_AT_ONCE * 3
    assert started_before >= STARTS_AT_ONCE
    assert told(answer) == (429, "slow_down")
    assert int(answer.headers["retry-after"]) >= 1


async def test_the_table_of_waiting_devices_is_bounded(wire: Wire, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_REQUESTS == 50_000
    monkeypatch.setattr("authserver.authorization.device_store.MOST_REQUESTS", 3)
    client_id = await a_device(wire)
    for _ in range(3):
        await started(wire, client_id)
    full = await wire.start_device(client_id)
    assert (told(full), full.headers["retry-after"]) == ((429, "slow_down"), "60")
    wire.clock.seconds += 600 + TOLD_AFTER_EXPIRY + 1
    await started(wire, client_id)
    rows = await wire.core.db.fetch_all("SELECT created_at FROM device_requests")
    assert [row["created_at"] for row in rows] == [wire.clock.seconds]
