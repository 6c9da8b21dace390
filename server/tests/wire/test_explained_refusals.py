"""Every refusal's reference id, taken from where its sender sees it, yields the decision and the fix."""

import io
import re
from typing import Any

import httpx2
import orjson
import pytest

from authserver.clients.administration import NewClient
from authserver.protocol.grant_types import CLIENT_CREDENTIALS, DEVICE_CODE
from authserver.protocol.identifiers import hash_token
from authserver.telemetry.logs import flush_logs
from authserver.traces.explaining import explain
from authserver.traces.store import find_trace
from server.tests.fakes.document_server import document_server
from server.tests.wire.harness import REDIRECT, RESOURCE, VERIFIER, Wire, query_of

pytestmark = pytest.mark.anyio

REFERENCE = re.compile(r"ref_[a-z2-7]{20}")


def reference_of(answer: httpx2.Response) -> str:
    """Return the one reference id that an answer shows: in its body, or in the redirect it is."""
    text = query_of(answer)["error_description"] if "location" in answer.headers else answer.text
    references: set[str] = set(REFERENCE.findall(text))
    assert len(references) == 1, text
    return references.pop()


async def explained(wire: Wire, answer: httpx2.Response, reason: str) -> dict[str, str]:
    """Return the explanation of a refusal, as text by member."""
    await wire.server.traces.flushed()
    trace = await find_trace(wire.core.db, reference_of(answer))
    assert trace is not None, answer.text
    told = explain(trace)
    assert told["reason"] == reason
    assert trace.request_id == answer.headers["x-request-id"]
    assert "(not known)" not in f"{told['meaning']} {told['fix']}", told
    return {name: str(value) for name, value in told.items()}


async def test_a_redirect_uri_page_is_explained_by_both_lists(wire: Wire) -> None:
    client_id = (await wire.register(redirect_uris=["http://127.0.0.1:4000/callback", REDIRECT]))["client_id"]
    answer = await wire.authorize(client_id, redirect_uri="http://127.0.0.1:3000/cb?code=x")
    assert answer.status_code == 400

    told = await explained(wire, answer, "redirect_uri_mismatch")

    assert "requested http://127.0.0.1:3000/cb?...; registered: http://127.0.0.1:4000/callback, " in told["meaning"]
    assert "the port of a loopback" in told["fix"]
    assert client_id in told["fix"]
    assert (told["error"], told["status"], told["endpoint"]) == ("Invalid Redirect URI", "400", "GET /oauth/authorize")


async def test_a_redirect_uri_that_a_document_lacks_is_mended_in_the_document(wire: Wire) -> None:
    async with document_server() as documents:
        client_id = documents.document("/client")
        answer = await wire.authorize(client_id, redirect_uri=REDIRECT)
    assert answer.status_code == 400

    told = await explained(wire, answer, "redirect_uri_not_in_document")

    assert f"requested {REDIRECT}; there: http://127.0.0.1/callback" in told["meaning"]
    assert f"in the document at {client_id}" in told["fix"]
    assert "client update" not in told["fix"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/oauth/token", "POST"),
        ("POST", "/oauth/authorize", "GET, HEAD"),
        ("OPTIONS", "/login", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method_is_explained_by_the_right_ones(
    wire: Wire, logged: io.BytesIO, method: str, path: str, allowed: str
) -> None:
    answer = await wire.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)

    told = await explained(wire, answer, "method_not_allowed")

    assert told["meaning"] == f"The path does not serve {method}; it serves: {allowed}."
    assert told["fix"].startswith(f"Use {allowed}.")
    flush_logs()
    (line,) = [line for line in map(orjson.loads, logged.getvalue().splitlines()) if "reference" in line]
    assert (line["msg"], line["reference"]) == ("request refused", reference_of(answer))


async def test_a_path_that_is_nothing_stays_plain_and_leaves_no_trace(wire: Wire) -> None:
    answer = await wire.http.get("/nowhere")
    await wire.server.traces.flushed()
    assert (answer.status_code, answer.text) == (404, "not found\n")
    assert await wire.core.db.fetch_all("SELECT id FROM refusal_traces") == []


AUTHORIZE_CASES: list[tuple[dict[str, str | None], str, str]] = [
    ({"client_id": "nobody"}, "client_unknown", "No client is registered as nobody"),
    ({"response_type": "token"}, "unsupported_response_type", "response_type=code"),
    ({"response_type": None}, "parameter_missing", "Send the parameter"),
    ({"code_challenge": None}, "pkce_missing", "PKCE"),
    ({"code_challenge_method": "plain"}, "pkce_not_s256", "code_challenge_method is plain"),
    ({"resource": "https://elsewhere.example/mcp"}, "unknown_resource", "https://elsewhere.example/mcp"),
    ({"scope": "notes:read admin"}, "scope_not_in_catalog", "declared: notes:read, notes:write"),
    ({"prompt": "none"}, "login_required", "nobody is signed in"),
    ({"prompt": "none login"}, "prompt_none_not_alone", "Send `none` alone"),
    ({"request": "x"}, "request_not_supported", "Request objects"),
    ({"state": "s" * 5000}, "parameter_too_long", "longer than anybody needs"),
]


@pytest.mark.parametrize(("parameters", "reason", "words"), AUTHORIZE_CASES, ids=[case[1] for case in AUTHORIZE_CASES])
async def test_a_refusal_at_authorize_is_explained(
    wire: Wire, parameters: dict[str, str | None], reason: str, words: str
) -> None:
    client_id = (await wire.register())["client_id"]
    asked = {"client_id": client_id} | parameters
    answer = await wire.authorize(asked.pop("client_id") or "", **asked)

    told = await explained(wire, answer, reason)

    assert words in f"{told['meaning']} {told['fix']}"


async def test_a_slug_where_a_uri_is_needed_is_explained_by_the_uri(wire: Wire) -> None:
    new = NewClient(
        name="cron", grant_types=(CLIENT_CREDENTIALS,), auth_method="client_secret_basic", scope="notes:read"
    )
    machine = await wire.core.clients.create(new, now=wire.clock.seconds)
    answer = await wire.http.post(
        "/oauth/token",
        data={"grant_type": CLIENT_CREDENTIALS, "resource": "notes"},
        auth=(machine.client.id, machine.client_secret or ""),
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
    assert "'notes' is not a registered resource" in answer.json()["error_description"]
    told = await explained(wire, answer, "resource_named_by_slug")
    assert told["fix"] == f"Send the URI {RESOURCE} as `resource`."


async def test_a_document_that_cannot_be_had_is_explained_by_the_cause(wire: Wire) -> None:
    async with document_server() as documents:
        url = documents.url("/no-such-document")
        first, second = await wire.authorize(url), await wire.authorize(url)

    assert "it was answered with status 404" in (await explained(wire, first, "client_document_unusable"))["meaning"]
    told = await explained(wire, second, "client_document_unusable")
    assert "a failure that is remembered" in told["steps"]


async def test_a_ceiling_is_explained_by_what_was_cut(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.core.db.write(lambda tx: tx.execute("UPDATE clients SET scope = 'notes:read' WHERE id = $1", client_id))
    told = await explained(wire, await wire.authorize(client_id, scope="notes:write"), "scope_outside_ceiling")
    assert "asked for notes:write; registered: notes:read" in told["meaning"]
    assert f"--id {client_id} --scope" in told["fix"]


async def test_a_refusal_of_a_code_is_explained(wire: Wire) -> None:
    client_id, other = (await wire.register())["client_id"], (await wire.register())["client_id"]
    code = await wire.code(client_id)
    for form, reason, words in [
        ({"code": "invented"}, "code_unknown", "No such code"),
        ({"code_verifier": "w" * 43}, "pkce_mismatch", "same attempt"),
        ({"redirect_uri": "https://client.example/other?code=1"}, "redirect_uri_changed", f"authorized {REDIRECT}"),
        ({"resource": "https://elsewhere.example/"}, "unknown_resource", "https://elsewhere.example/"),
        ({"client_id": other}, "client_mismatch", client_id),
        ({"client_id": "nobody"}, "client_not_found", "No client nobody"),
        (
            {"grant_type": "magic"},
            "unsupported_grant_type",
            "served are: authorization_code, refresh_token, client_credentials",
        ),
    ]:
        given = {"client_id": client_id, "code": code} | form
        answer = await wire.redeem(given.pop("client_id"), given.pop("code"), **given)
        assert answer.json()["reference"] == reference_of(answer)
        told = await explained(wire, answer, reason)
        assert words in f"{told['meaning']} {told['fix']}", told

    assert (await wire.redeem(client_id, code)).status_code == 200
    wire.clock.seconds += 7
    told = await explained(wire, await wire.redeem(client_id, code), "code_reused")
    assert "7 seconds ago (used before; its family is revoked)" in told["meaning"]


async def test_a_refusal_of_a_refresh_is_explained(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    first = (await wire.tokens(client_id))["refresh_token"]
    told = await explained(wire, await wire.refresh(client_id, first, scope="notes:write"), "scope_not_granted")
    assert "asked for notes:write; granted: notes:read" in told["meaning"]
    await explained(wire, await wire.refresh(client_id, "invented"), "refresh_token_unknown")

    second = (await wire.refresh(client_id, first)).json()["refresh_token"]
    wire.clock.seconds += 31
    told = await explained(wire, await wire.refresh(client_id, first), "refresh_token_reused")
    assert "31 seconds ago, and this is no retry: oauth.refresh_grace=30s" in told["meaning"]
    await explained(wire, await wire.refresh(client_id, second), "family_revoked")


async def test_a_refusal_of_registration_is_explained(wire: Wire) -> None:
    async def register(**members: object) -> httpx2.Response:
        return await wire.http.post("/oauth/register", json={"client_name": "x", "redirect_uris": [REDIRECT]} | members)

    await explained(wire, await register(redirect_uris=["http://elsewhere.example/"]), "invalid_redirect_uri")
    await explained(wire, await register(client_name=7), "json_unreadable")
    await explained(wire, await register(grant_types=["magic"]), "invalid_client_metadata")
    await wire.core.mode.set("approved_redirects", actor_id="admin", now=wire.clock.seconds)
    told = await explained(wire, await register(), "redirect_uri_not_approved")
    assert REDIRECT in told["meaning"]
    await wire.core.mode.set("admin_only", actor_id="admin", now=wire.clock.seconds)
    told = await explained(wire, await register(), "registration_closed")
    assert "dcr.mode=admin_only" in told["meaning"]


async def test_a_rejected_sign_in_is_explained_to_the_operator_alone(wire: Wire) -> None:
    answers = {}
    for email in ("ada@example.com", "nobody@example.com"):
        form = re.findall(r'name="csrf_token" value="([^"]*)"', (await wire.http.get("/login")).text)
        data = {"csrf_token": form[0], "email": email, "password": "a wrong one"}
        answers[email] = await wire.http.post("/login", data=data)
        assert answers[email].status_code == 422

    known = await explained(wire, answers["ada@example.com"], "credentials_rejected")
    unknown = await explained(wire, answers["nobody@example.com"], "credentials_rejected")

    assert "invalid_credentials" in known["meaning"]
    assert wire.user.id in known["steps"]
    assert "user_not_found" in unknown["meaning"]
    rows = await wire.core.db.fetch_all("SELECT reference FROM audit_events WHERE action = 'user.login_failed'")
    assert {row["reference"] for row in rows} == {reference_of(answer) for answer in answers.values()}
    await explained(wire, await wire.http.post("/login", data={"email": "x", "password": "y"}), "csrf")
    await explained(wire, await wire.http.post("/login", content=b"a=%zz", headers=FORM), "form_unreadable")


FORM = {"content-type": "application/x-www-form-urlencoded"}


async def test_a_refusal_at_the_consent_page_is_explained(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await explained(wire, await wire.http.get("/consent"), "missing_session")
    await explained(wire, await wire.http.post("/consent", data={"action": "allow"}), "not_authenticated")
    await wire.sign_in()
    await explained(wire, await wire.http.get("/consent", params={"session_id": "x"}), "invalid_session")
    await explained(wire, await wire.http.post("/consent", data={"action": "allow"}), "csrf")
    asked = await wire.authorize(client_id)
    await explained(wire, await wire.allow(asked, scopes=[]), "no_permissions_selected")
    await explained(wire, await wire.allow(asked, scopes=["admin"]), "scope_not_asked_for")
    told = await explained(wire, await wire.allow(asked, action="deny"), "user_denied")
    assert (told["error"], told["client_id"]) == ("access_denied", client_id)
    await explained(wire, await wire.authorize(client_id, prompt="none"), "consent_required")
    await explained(wire, await wire.http.get("/authorize"), "link_expired")
    cross = await wire.http.post("/logout", headers={"sec-fetch-site": "cross-site"})
    await explained(wire, cross, "cross_site")


async def test_an_inactive_token_is_explained_by_its_audit_row(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    token = (await wire.tokens(client_id))["access_token"]
    stranger = await wire.register(token_endpoint_auth_method="client_secret_post")
    form = {"token": token, "client_id": stranger["client_id"], "client_secret": stranger["client_secret"]}
    assert (await wire.http.post("/oauth/introspect", data=form)).json() == {"active": False}

    await wire.server.traces.flushed()
    await wire.core.trail.flush()
    row = await wire.core.db.fetch_one(
        "SELECT reference FROM audit_events WHERE action = 'token.introspect_denied' ORDER BY id DESC LIMIT 1"
    )
    assert row is not None
    trace = await find_trace(wire.core.db, row["reference"])

    assert trace is not None
    assert trace.reason == "caller_not_authorized_for_token"
    assert client_id in str(explain(trace)["meaning"])
    wrong = await wire.http.post("/oauth/introspect", data=form | {"client_secret": "wrong"})
    told = await explained(wire, wrong, "invalid_client_secret")
    assert stranger["client_id"] in told["fix"]


async def test_a_fault_is_explained_under_the_reference_of_its_audit_row(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)

    async def broken(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("authserver.tokens.redemption.check_target", broken)
    answer = await wire.redeem(client_id, code)

    assert answer.status_code == 500
    await explained(wire, answer, "internal_error")
    row = await wire.core.db.fetch_one("SELECT reference FROM audit_events WHERE action = 'token.issue_denied'")
    assert row is not None
    assert row["reference"] == answer.json()["reference"]


async def test_a_success_leaves_no_trace(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id)
    await wire.introspect(tokens["access_token"])
    await wire.server.traces.flushed()
    assert await wire.core.db.fetch_all("SELECT id FROM refusal_traces") == []


CANARIES = {
    "state": "canary-state-2d1f",
    "password": "canary-password-8c3e",
    "email": "canary-mail-77aa@example.com",
    "secret": "canary-secret-51bd",
    "query": "canary-query-9e0c",
    "login_hint": "canary-hint-44f1",
}


async def test_no_secret_reaches_a_trace_the_log_or_the_audit_trail(wire: Wire, logged: io.BytesIO) -> None:
    """Canaries through every endpoint, refused each time, and then every sink is searched."""
    client = await wire.register(token_endpoint_auth_method="client_secret_post")
    client_id, public = client["client_id"], (await wire.register())["client_id"]
    code = await wire.code(public)
    tokens = await wire.tokens(public)
    secrets = [*CANARIES.values(), code, VERIFIER, client["client_secret"], *tokens_of(tokens)]
    for value in (
        {"scope": "x"},
        {"resource": "urn:x"},
        {"redirect_uri": f"https://client.example/cb2?{CANARIES['query']}"},
    ):
        hints = {"state": CANARIES["state"], "login_hint": CANARIES["login_hint"]}
        await wire.authorize(public, **(hints | value))
    form = re.findall(r'name="csrf_token" value="([^"]*)"', (await wire.http.get("/login")).text)
    await wire.http.post(
        "/login", data={"csrf_token": form[0], "email": CANARIES["email"], "password": CANARIES["password"]}
    )
    await wire.redeem(public, code, code_verifier="w" * 43)
    await wire.redeem(public, code, redirect_uri=f"{REDIRECT}?{CANARIES['query']}")
    await wire.redeem(client_id, code, client_secret=CANARIES["secret"])
    await wire.redeem(client_id, code, client_secret=client["client_secret"])
    await wire.refresh(client_id, tokens["refresh_token"], client_secret=client["client_secret"])
    await wire.refresh(public, tokens["refresh_token"], scope="admin")
    for path in ("/oauth/introspect", "/oauth/revoke"):
        for token in tokens_of(tokens):
            await wire.http.post(
                path, data={"token": token, "client_id": client_id, "client_secret": CANARIES["secret"]}
            )
            await wire.http.post(path, data={"token": token}, auth=(client_id, CANARIES["secret"]))
            await wire.http.post(path, data={"token": token, "client_id": client_id} | secret_of(client))
    await wire.http.post("/consent", data={"session_id": code, "csrf_token": CANARIES["secret"], "action": "allow"})
    await wire.http.post(
        "/oauth/register", json={"client_name": "x", "redirect_uris": [f"http://u:{CANARIES['secret']}@h/"]}
    )

    await wire.server.traces.flushed()
    await wire.core.trail.flush()
    flush_logs()
    rows = await wire.core.db.fetch_all("SELECT decision, client_id, error FROM refusal_traces")
    audit = await wire.core.db.fetch_all("SELECT * FROM audit_events")
    sinks = {
        "traces": "".join(row["decision"] + row["client_id"] + row["error"] for row in rows),
        "audit": "".join(str(row["detail"]) + str(row["actor_id"]) for row in audit),
        "log": logged.getvalue().decode(),
    }
    assert len(rows) >= 12
    assert "request refused" in sinks["log"]
    found = [(sink, secret) for sink, text in sinks.items() for secret in secrets if secret in text]
    assert found == []


def tokens_of(tokens: dict[str, Any]) -> list[str]:
    return [tokens["access_token"], tokens["refresh_token"]]


def secret_of(client: dict[str, Any]) -> dict[str, str]:
    return {"client_secret": client["client_secret"]}


async def test_the_log_lines_of_reuse_name_the_family_and_what_was_reused(wire: Wire, logged: io.BytesIO) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    token = (await wire.redeem(client_id, code)).json()["refresh_token"]
    await wire.refresh(client_id, token)
    wire.clock.seconds += 31
    await wire.refresh(client_id, token)
    other = await wire.code(client_id)
    await wire.redeem(client_id, other)
    await wire.redeem(client_id, other)

    flush_logs()
    lines = [orjson.loads(line) for line in logged.getvalue().splitlines()]
    (refresh,) = [line for line in lines if line["msg"] == "refresh token reuse detected — family revoked"]
    (redeem,) = [line for line in lines if line["msg"] == "authorization code reuse detected — family revoked"]
    assert refresh["token_id"] == hash_token(token).hex()[:8]
    assert redeem["session_id"] == redeem["family_id"]


async def test_what_devices_and_their_users_are_refused_is_explained(wire: Wire) -> None:
    grants = [DEVICE_CODE, "refresh_token"]
    client_id = (await wire.register(grant_types=grants, redirect_uris=[]))["client_id"]
    device = (await wire.start_device(client_id)).json()
    await explained(wire, await wire.enter_code("BBBB-BBBB"), "user_code_unknown")
    await explained(wire, await wire.enter_code("AAAA"), "user_code_malformed")
    await wire.poll(client_id, device["device_code"])
    told = await explained(wire, await wire.poll(client_id, device["device_code"]), "polled_too_soon")
    assert told["error"] == "slow_down"
    await explained(wire, await wire.poll(client_id, "x" * 43), "device_code_unknown")
    question = await wire.enter_code(device["user_code"])
    await wire.answer_device(question, action="deny")
    await explained(wire, await wire.answer_device(question), "device_answered")
    await explained(wire, await wire.poll(client_id, device["device_code"]), "user_denied")
    late = (await wire.start_device(client_id)).json()
    wire.clock.seconds += 600
    told = await explained(wire, await wire.poll(client_id, late["device_code"]), "device_code_expired")
    assert "0 seconds left" in told["meaning"]
