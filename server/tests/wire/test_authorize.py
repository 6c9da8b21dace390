"""``GET /oauth/authorize`` and ``/consent`` (public API §4, §6)."""

import asyncio
import re
from dataclasses import replace

import pytest

from authserver.clients.store import find_client, update_client
from authserver.config.model import Config
from authserver.config.sections.grants import OAuthConfig
from authserver.config.sections.oidc import OidcConfig
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, ResourceScope
from server.tests.wire.harness import ISSUER, REDIRECT, RESOURCE, Wire, claims_of, hidden_fields, query_of

pytestmark = pytest.mark.anyio

LOOPBACK = "http://127.0.0.1:5173/cb"


@pytest.mark.parametrize(
    ("parameters", "status", "title"),
    [
        ({"client_id": None}, 400, "Invalid Client"),
        ({"client_id": "nobody"}, 400, "Invalid Client"),
        ({"redirect_uri": None}, 400, "Invalid Redirect URI"),
        ({"redirect_uri": REDIRECT + "/more"}, 400, "Invalid Redirect URI"),
        ({"redirect_uri": "https://client.example@evil.example/cb"}, 400, "Invalid Redirect URI"),
        ({"redirect_uri": REDIRECT + "#fragment"}, 400, "Invalid Redirect URI"),
        ({"redirect_uri": "https://CLIENT.example:8443/cb"}, 400, "Invalid Redirect URI"),
    ],
)
async def test_nothing_redirects_before_the_redirect_uri_is_the_clients(
    wire: Wire, parameters: dict[str, str | None], status: int, title: str
) -> None:
    client_id = (await wire.register())["client_id"]
    query = {**wire.request(client_id), **parameters}
    answer = await wire.http.get("/oauth/authorize", params={k: v for k, v in query.items() if v is not None})
    assert answer.status_code == status
    assert "location" not in answer.headers
    assert title in answer.text
    assert "ref_" in answer.text
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"request": "a.b.c"}, "request_not_supported"),
        ({"request_uri": "https://client.example/r"}, "request_uri_not_supported"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"resource": "https://unknown.example/mcp"}, "invalid_target"),
        ({"resource": "https://mcp.example.com/"}, "invalid_target"),
        ({"resource": RESOURCE + "#x"}, "invalid_target"),
        ({"scope": "notes:delete"}, "invalid_scope"),
        ({"scope": "notes:read notes:delete"}, "invalid_scope"),
        ({"scope": 'no"tes'}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"dpop_jkt": "short"}, "invalid_request"),
    ],
)
async def test_a_faulty_request_goes_back_to_the_client(
    wire: Wire, parameters: dict[str, str | None], error: str
) -> None:
    client_id = (await wire.register())["client_id"]
    answer = await wire.authorize(client_id, **parameters)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(REDIRECT + "?")
    query = query_of(answer)
    assert query["error"] == error
    assert "(ref_" in query["error_description"]
    assert (query["state"], query["iss"]) == ("a state", ISSUER)
    assert "code" not in query


async def test_a_request_that_cannot_succeed_asks_nobody_for_a_password_and_writes_nothing(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    answer = await wire.authorize(client_id)
    assert answer.headers["location"].startswith("/login?redirect=%2Foauth%2Fauthorize%3F")
    assert await wire.core.db.fetch_all("SELECT id FROM authorizations") == []


async def test_a_suspended_client_may_not_ask(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.core.clients.suspend(client_id, now=now)
    answer = await wire.authorize(client_id)
    assert (answer.status_code, "Client Suspended" in answer.text) == (403, True)


async def test_a_client_without_the_code_grant_is_told_so(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    client = await find_client(wire.core.db, client_id)
    assert client is not None
    await wire.core.db.write(lambda tx: update_client(tx, replace(client, grant_types=("refresh_token",))))
    assert query_of(await wire.authorize(client_id))["error"] == "unauthorized_client"


async def test_login_and_consent_lead_to_a_code_with_state_and_issuer(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    to_login = await wire.authorize(client_id)
    login = await wire.http.get(to_login.headers["location"])
    form = hidden_fields(login)
    signed_in = await wire.http.post(
        "/login", data={**form, "email": "ada@example.com", "password": "correct horse battery staple"}
    )
    assert signed_in.status_code == 303
    to_consent = await wire.http.get(signed_in.headers["location"])
    assert to_consent.headers["location"].startswith("/consent?session_id=")
    answer = await wire.allow(to_consent)
    assert answer.status_code == 303
    query = query_of(answer)
    assert query.keys() == {"code", "state", "iss"}
    assert (query["state"], query["iss"], len(query["code"])) == ("a state", ISSUER, 43)
    assert dict(await wire.audit())["consent.granted"] == "resource=https://mcp.example.com/mcp scopes=notes:read"


async def test_the_consent_page_names_everybody_involved(wire: Wire) -> None:
    client_id = (await wire.register(client_name="<b>Bold</b>", redirect_uris=[LOOPBACK]))["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id, redirect_uri=LOOPBACK, scope="notes:write notes:read")
    page = await wire.http.get(asked.headers["location"])
    for text in ("&lt;b&gt;Bold", client_id, "Notes", RESOURCE, "ada@example.com", "127.0.0.1", "Any program"):
        assert text in page.text, text
    assert page.text.index("Read your notes") < page.text.index("Change your notes")
    policy = page.headers["content-security-policy"]
    assert "form-action 'self' http://127.0.0.1:5173" in policy
    assert "script" not in policy


async def test_deny_tells_the_client_and_spends_the_request(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id)
    answer = await wire.allow(asked, action="deny")
    query = query_of(answer)
    assert (query["error"], query["state"], query["iss"]) == ("access_denied", "a state", ISSUER)
    assert (await wire.http.get(asked.headers["location"])).status_code == 400
    assert dict(await wire.audit())["consent.denied"].startswith("session=")
    row = await wire.core.db.fetch_one("SELECT reference FROM audit_events WHERE action = 'consent.denied'")
    assert row is not None
    assert query["error_description"] == f"the user denied the request ({row['reference']})"


@pytest.mark.parametrize(
    ("change", "status", "title"),
    [
        ({"csrf_token": "forged"}, 403, "Invalid Request"),
        ({"csrf_token": ""}, 403, "Invalid Request"),
        ({"action": "maybe"}, 400, "Invalid Form"),
        ({"scopes": []}, 400, "No Permissions Selected"),
        ({"scopes": ["notes:write"]}, 400, "Consent Error"),
    ],
)
async def test_a_faulty_answer_leaves_the_request_waiting(
    wire: Wire, change: dict[str, object], status: int, title: str
) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id)
    form = hidden_fields(await wire.http.get(asked.headers["location"]))
    refused = await wire.http.post("/consent", data={**form, "action": "allow", "scopes": ["notes:read"], **change})
    assert (refused.status_code, title in refused.text) == (status, True)
    assert (await wire.allow(asked)).status_code == 303


async def test_a_foreign_origin_cannot_answer_for_the_user(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    form = hidden_fields(await wire.http.get((await wire.authorize(client_id)).headers["location"]))
    data = {**form, "action": "allow", "scopes": ["notes:read"]}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert (await wire.http.post("/consent", data=data, headers=headers)).status_code == 403
    assert (await wire.http.post("/consent", data=data, headers={"origin": "null"})).status_code == 303


async def test_another_users_session_id_is_of_no_use(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id)
    await wire.core.accounts.create_user(email="eve@example.com", password="correct horse battery staple", now=now)
    async with wire.new_browser() as eve:
        await wire.sign_in(eve, email="eve@example.com")
        answer = await eve.get(asked.headers["location"])
        assert (answer.status_code, "Invalid Session" in answer.text) == (400, True)
    assert (await wire.allow(asked)).status_code == 303


async def test_of_many_submits_of_one_page_one_gets_a_code(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id)
    form = hidden_fields(await wire.http.get(asked.headers["location"]))
    data = {**form, "action": "allow", "scopes": ["notes:read"]}
    answers = await asyncio.gather(*(wire.http.post("/consent", data=data) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [303] + [400] * 9


async def test_a_page_left_open_too_long_expires_and_a_late_code_lives_anew(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    late, expired = await wire.authorize(client_id), await wire.authorize(client_id)
    wire.clock.seconds += 599
    code = query_of(await wire.allow(late))["code"]
    wire.clock.seconds += 1
    assert (await wire.http.get(expired.headers["location"])).status_code == 400
    wire.clock.seconds += 590
    assert (await wire.redeem(client_id, code)).status_code == 200


async def test_unticked_scopes_are_not_granted_and_the_rest_is_remembered(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id, scope="notes:read notes:write")
    code = query_of(await wire.allow(asked, scopes=["notes:read"]))["code"]
    tokens = (await wire.redeem(client_id, code)).json()
    assert tokens["scope"] == "notes:read"
    assert "code" in query_of(await wire.authorize(client_id, scope="notes:read"))
    assert (await wire.authorize(client_id, scope="notes:write")).headers["location"].startswith("/consent")


async def test_consent_is_remembered_for_the_same_redirect_only(wire: Wire) -> None:
    other = "https://client.example/other"
    client_id = (await wire.register(redirect_uris=[REDIRECT, other]))["client_id"]
    await wire.tokens(client_id)
    assert "code" in query_of(await wire.authorize(client_id))
    assert (await wire.authorize(client_id, redirect_uri=other)).headers["location"].startswith("/consent")
    assert (await wire.authorize(client_id, prompt="consent")).headers["location"].startswith("/consent")
    assert query_of(await wire.authorize(client_id, redirect_uri=other, prompt="none"))["error"] == "consent_required"
    assert "code" in query_of(await wire.authorize(client_id, prompt="none"))


async def test_a_loopback_redirect_is_never_approved_in_silence_from_another_site(wire: Wire) -> None:
    client_id = (await wire.register(redirect_uris=[LOOPBACK]))["client_id"]
    await wire.tokens(client_id, redirect_uri=LOOPBACK)
    other_port = LOOPBACK.replace("5173", "6000")
    assert "code" in query_of(await wire.authorize(client_id, redirect_uri=other_port))
    query = wire.request(client_id, redirect_uri=LOOPBACK)
    answer = await wire.http.get("/oauth/authorize", params=query, headers={"sec-fetch-site": "cross-site"})
    assert answer.headers["location"].startswith("/consent")


async def test_without_a_resource_the_user_is_asked_every_time(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.tokens(client_id, resource=None)
    assert (await wire.authorize(client_id, resource=None)).headers["location"].startswith("/consent")


@pytest.mark.parametrize("spelling", ["notes", "HTTPS://MCP.example.com:443/mcp", RESOURCE])
async def test_every_spelling_of_the_resource_gives_the_registered_audience(wire: Wire, spelling: str) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id, resource=spelling)
    assert claims_of(tokens["access_token"])["aud"] == [RESOURCE]


async def test_an_omitted_scope_is_the_catalogue(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    assert (await wire.tokens(client_id, scope=None))["scope"] == "notes:read notes:write"


async def test_a_disabled_user_is_signed_out(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    await wire.core.accounts.disable_user(wire.user.id, now=now)
    answer = await wire.authorize(client_id)
    assert answer.headers["location"].startswith("/login")
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_repeated_parameters_are_refused_where_they_can_be_told(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    query = wire.request(client_id)
    twice = await wire.http.get("/oauth/authorize", params=[*query.items(), ("scope", "notes:write")])
    assert query_of(twice)["error"] == "invalid_request"
    page = await wire.http.get("/oauth/authorize", params=[*query.items(), ("redirect_uri", "https://evil.example")])
    assert page.status_code == 400
    equal = await wire.http.get("/oauth/authorize", params=[*query.items(), ("resource", RESOURCE)])
    assert equal.headers["location"].startswith("/login")
    different = await wire.http.get("/oauth/authorize", params=[*query.items(), ("resource", "notes")])
    assert query_of(different)["error"] == "invalid_target"


async def test_authorize_at_the_root_is_the_same_endpoint(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    answer = await wire.http.get("/authorize", params=wire.request(client_id, response_type="x"))
    assert query_of(answer)["error"] == "unsupported_response_type"


async def test_no_other_origin_may_read_these_pages(wire: Wire) -> None:
    for path in ("/oauth/authorize", "/consent", "/login"):
        answer = await wire.http.get(path, headers={"origin": "https://app.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"


class TestDefaultResource:
    """With ``oauth.default_resource``."""

    @pytest.fixture(params=["notes", "missing"])
    def config(self, config: Config, request: pytest.FixtureRequest) -> Config:
        return replace(config, oauth=OAuthConfig(default_resource=request.param))

    async def test_a_request_without_resource_stands_for_it(self, wire: Wire) -> None:
        client_id = (await wire.register())["client_id"]
        if wire.core.config.oauth.default_resource == "missing":
            assert query_of(await wire.authorize(client_id, resource=None))["error"] == "server_error"
            return
        assert claims_of((await wire.tokens(client_id, resource=None))["access_token"])["aud"] == [RESOURCE]


async def test_a_loopback_redirect_is_not_approved_in_silence_after_a_detour_through_us(wire: Wire) -> None:
    client_id = (await wire.register(redirect_uris=[LOOPBACK]))["client_id"]
    await wire.tokens(client_id, redirect_uri=LOOPBACK)
    query = wire.request(client_id, redirect_uri=LOOPBACK)
    detour = await wire.http.get("/oauth/authorize", params=query, headers={"sec-fetch-site": "same-origin"})
    assert detour.headers["location"].startswith("/consent")
    direct = await wire.http.get("/oauth/authorize", params=query, headers={"sec-fetch-site": "none"})
    assert "code" in query_of(direct)


async def test_a_catalogue_of_many_scopes_can_be_allowed(wire: Wire, now: int) -> None:
    scopes = tuple(ResourceScope(name=f"scope:{n}") for n in range(100))
    draft = ResourceDraft(slug="many", backend_kind=BackendKind.MINT, uri="https://many.example/mcp", scopes=scopes)
    await wire.core.resources.create_resource(draft, now=now)
    await wire.server.watcher.poll()
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id, resource="many", scope=None)
    assert len(tokens["scope"].split()) == 100


@pytest.mark.parametrize("query", ["", "?ticket=x", "?resource=notes&ticket=x"])
async def test_a_link_that_leads_nowhere_says_so(wire: Wire, query: str) -> None:
    answer = await wire.http.get(f"/authorize{query}")
    assert (answer.status_code, "This link has expired" in answer.text) == (400, True)


async def test_a_hostile_redirect_uri_costs_no_more_than_another(wire: Wire) -> None:
    hostile = "a://" + "x" * 60_000 + "#\n"
    client_id = (await wire.register())["client_id"]
    assert (await wire.authorize(client_id, redirect_uri=hostile)).status_code == 400
    answer = await wire.http.post("/oauth/register", json={"client_name": "x", "redirect_uris": [hostile]})
    assert answer.json()["error"] == "invalid_redirect_uri"


class TestNoLocalLogin:
    """With ``oidc.show_local_login: false``."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, oidc=OidcConfig(show_local_login=False))

    async def test_there_is_no_form_and_no_way_to_post_one(self, wire: Wire) -> None:
        assert 'name="password"' not in (await wire.http.get("/login")).text
        answer = await wire.http.post("/login", data={"email": "a", "password": "b"})
        assert answer.status_code == 404
        assert re.search(r"ref_[a-z2-7]{20}", answer.text)
