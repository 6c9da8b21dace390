"""An agent and one protected server, against running servers: T01 and T05 of the acceptance scenarios, on both databases.

The identifiers of its checks stand beside them. Each scene ends with check C1: nothing that was handed out in secret, and
no address of a person, is in the log or in the audit trail afterwards. C2 is the same with tokens that are bound to a key.
"""

import secrets
from functools import partial
from pathlib import Path

import httpx2
import jwt
import pytest

from e2e.harness.folded import folded_server, private_service
from e2e.harness.installation import Account, Demo, Machine
from e2e.harness.oauth_client import REDIRECT_URI, Code, OAuthClient
from e2e.harness.person import answer_of
from e2e.harness.processes import wait_until
from e2e.harness.proof_key import ProofKey
from e2e.harness.scene import Scene

pytestmark = pytest.mark.anyio

SCOPE = "notes:read notes:write"
FOLDED = ("tool:read", "tool:write", "cache:invalidate")
EXPIRES_WITHIN_SECONDS = 15


@pytest.fixture
def agent(scene: Scene, demo: Demo) -> OAuthClient:
    return scene.agent(demo.url, "--grant-types", "authorization_code", "--scope", SCOPE)


@pytest.fixture
def runtime(demo: Demo) -> Machine:
    """As whom the demo server asks about tokens."""
    return Machine(demo.client_id, demo.client_secret, "client_secret_basic")


def refusal_of(agent: OAuthClient, **changes: str) -> dict[str, str]:
    """Return what a client is called back with at once, nobody being signed in."""
    answer = httpx2.get(agent.authorization_url(secrets.token_urlsafe(32), **changes))
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(REDIRECT_URI), answer.headers["location"]
    return answer_of(answer.headers["location"])


def call(
    demo: Demo, token: str, tool: str = "list_notes", *, scheme: str = "Bearer", proof: str = ""
) -> httpx2.Response:
    """Call a tool of the demo server."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": "milk"}}}
    headers = {"authorization": f"{scheme} {token}", "accept": "application/json, text/event-stream"}
    return httpx2.post(demo.url, json=body, headers=headers | ({"DPoP": proof} if proof else {}))


async def test_t01_the_agent_gets_a_token_for_one_server(
    scene: Scene, agent: OAuthClient, demo: Demo, account: Account
) -> None:
    document = httpx2.get(demo.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")).json()
    assert document["authorization_servers"] == [scene.issuer]
    tokens = scene.tokens_of(agent)
    claims = scene.verify(tokens["access_token"], demo.url)
    ((user,),) = (await scene.inspection.rows(f"SELECT id FROM users WHERE email = '{account.email}'"))[0]
    assert (claims["aud"], claims["sub"], claims["client_id"]) == ([demo.url], user, agent.client_id)  # A1
    assert set(claims["scope"].split()) == set(SCOPE.split())
    assert claims["exp"] - claims["iat"] == 900
    assert not claims.keys() & {"act", "agent_id", "agent_chain"}
    consents, issuances, events = await scene.inspection.rows(  # A2, A3
        f"SELECT user_id, scopes FROM consent_grants WHERE client_id = '{agent.client_id}'",
        f"SELECT subject, consent_client_id, parent_jti FROM issuances WHERE client_id = '{agent.client_id}'",
        f"SELECT action, detail FROM audit_events WHERE actor_id = '{user}' ORDER BY id",
    )
    assert [row[0] for row in consents] == [user]
    assert all(scope in consents[0][1] for scope in SCOPE.split())
    assert [tuple(row) for row in issuances] == [(user, agent.client_id, None)]
    told: dict[str, str] = dict(tuple(row) for row in events)
    assert {"user.login", "consent.granted", "token.issued"} <= told.keys()
    assert demo.url in told["consent.granted"]
    assert told["token.issued"].startswith("family=")
    assert "refresh_token" not in tokens  # A4
    assert call(demo, tokens["access_token"]).status_code == 200


async def test_t01_a_client_that_names_no_grants_gets_a_refresh_token(scene: Scene, demo: Demo) -> None:
    assert "refresh_token" in scene.tokens_of(OAuthClient(scene.issuer, resource=demo.url))  # A4


async def test_t01_nobody_is_asked_twice(scene: Scene, demo: Demo) -> None:
    agent = OAuthClient(scene.issuer, resource=demo.url)
    scene.tokens_of(agent)
    again = httpx2.get(agent.authorization_url(secrets.token_urlsafe(32)), cookies=scene.alice.cookies())
    assert "code" in answer_of(again.headers["location"])  # A5


async def test_t01_an_agent_is_named_in_its_token(scene: Scene, demo: Demo) -> None:
    registered = scene.agent(demo.url, "--agent", "--agent-description", "reads notes")
    claims = scene.verify(scene.tokens_of(registered)["access_token"], demo.url)
    assert claims["agent_id"] == registered.client_id  # A6
    assert "agent_chain" not in claims


async def test_t01_what_is_refused(scene: Scene, agent: OAuthClient, runtime: Machine) -> None:
    for changes in ({"code_challenge": ""}, {"code_challenge_method": "plain"}):  # N1
        assert refusal_of(agent, **changes)["error"] == "invalid_request"
    code = scene.authorize(agent)
    refused = partial(scene.refused, action="token.issue_denied")
    wrong = scene.ask(agent.redemption(Code(code.value, "w" * 43)))
    await refused(wrong, 400, "invalid_grant", "invalid_grant")
    first = scene.redeem(agent, code)
    again = scene.ask(agent.redemption(code))  # N2
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert not scene.is_active(runtime, first["access_token"])
    (reuse,) = await scene.inspection.rows(
        f"SELECT detail FROM audit_events WHERE action = 'auth_code.reused' AND client_id = '{agent.client_id}'"
    )
    assert [str(row[0]).rpartition(" ")[2] for row in reuse] == ["verifier=valid"]
    assert refusal_of(agent, resource="https://elsewhere.example/")["error"] == "invalid_target"  # N3
    page = httpx2.get(agent.authorization_url("v" * 43, redirect_uri="https://elsewhere.example/"))
    assert (page.status_code, "location" in page.headers) == (400, False)
    assert refusal_of(agent, scope="notes:burn")["error"] == "invalid_scope"  # N4


async def test_t01_the_server_refuses_what_is_not_for_it_or_not_enough(scene: Scene, demo: Demo) -> None:
    agent = OAuthClient(scene.issuer, resource=demo.url)
    elsewhere = scene.resource("mcp-b", "notes:read")  # N5
    token = scene.tokens_of(agent, resource=elsewhere.uri)["access_token"]
    with pytest.raises(jwt.InvalidAudienceError):
        scene.verify(token, demo.url)
    assert call(demo, token).status_code == 401
    reading = scene.tokens_of(agent, only={"notes:read"})["access_token"]
    assert call(demo, reading).status_code == 200
    refused = call(demo, reading, "add_note")
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert 'scope="notes:write"' in refused.headers["www-authenticate"]


async def test_t01_a_token_ends_with_its_time(scene: Scene, demo: Demo) -> None:
    agent = OAuthClient(scene.issuer, resource=demo.url)
    with scene.another_process(AUTHPLANE_DCR_DEFAULT_TOKEN_EXPIRY="1s") as origin:
        tokens = scene.tokens_of(agent, origin=origin)
    assert tokens["expires_in"] == 1

    def is_over() -> bool:
        return call(demo, tokens["access_token"]).status_code == 401

    wait_until(is_over, seconds=EXPIRES_WITHIN_SECONDS, what="the token has expired")  # N5
    with pytest.raises(jwt.ExpiredSignatureError):
        scene.verify(tokens["access_token"], demo.url)


async def test_t01_a_consent_that_an_operator_takes_back_ends_the_token_where_somebody_asks(
    scene: Scene, demo: Demo, runtime: Machine
) -> None:
    agent = OAuthClient(scene.issuer, resource=demo.url)
    token = scene.tokens_of(agent)["access_token"]
    assert scene.is_active(runtime, token)
    scene.revoke_consent(scene.claims(token)["sub"], agent.client_id)
    assert not scene.is_active(runtime, token)  # N6
    assert call(demo, token).status_code == 401
    assert scene.verify(token, demo.url)["client_id"] == agent.client_id


async def test_t01_with_a_key_the_token_opens_the_server_to_its_holder_alone(
    scene: Scene, demo: Demo, runtime: Machine
) -> None:
    agent = OAuthClient(scene.issuer, resource=demo.url)
    key, thief = ProofKey(), ProofKey()
    token = scene.tokens_of(agent, key=key)["access_token"]  # C2
    told = scene.introspect(runtime, token)
    assert (told["active"], told["token_type"], told["cnf"]) == (True, "DPoP", {"jkt": key.jkt})
    proof = key.proof(demo.url, token=token)
    assert call(demo, token, scheme="DPoP", proof=proof).status_code == 200
    without_proof = [call(demo, token), call(demo, token, scheme="DPoP")]
    stolen = call(demo, token, scheme="DPoP", proof=thief.proof(demo.url, token=token))
    assert [answer.status_code for answer in (*without_proof, stolen)] == [401] * 3
    wrong = [
        key.proof(demo.url, token="of another"),
        key.proof(demo.url),
        key.proof(f"{demo.url}/else", token=token),
        key.proof(demo.url, token=token, htm="GET"),
        key.proof(demo.url, token=token, iat=1),
        key.proof(demo.url, token=token, jti=None),
    ]
    for bad in (proof, "x", *wrong):
        refused = call(demo, token, scheme="DPoP", proof=bad)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_dpop_proof")
        assert refused.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof", algs="ES256 ')
    bearer = scene.tokens_of(agent)["access_token"]
    assert call(demo, bearer, scheme="DPoP", proof=key.proof(demo.url, token=bearer)).status_code == 401


async def test_t05_what_stands_behind_a_server_is_that_servers_own_business(scene: Scene) -> None:
    folded = scene.resource("mcp-gw", *FOLDED)
    agent = scene.agent(folded.uri, "--grant-types", "authorization_code", "--scope", " ".join(FOLDED))
    log = scene.installation.directory / f"serve-{scene.installation.port}.log"
    token = scene.tokens_of(agent, scope="tool:write")["access_token"]
    claims = scene.verify(token, folded.uri)
    consents, issuances = await scene.inspection.rows(  # A1
        f"SELECT resource_id FROM consent_grants WHERE client_id = '{agent.client_id}'",
        f"SELECT resource_id FROM issuances WHERE client_id = '{agent.client_id}' AND subject = '{claims['sub']}'",
    )
    assert [row[0] for row in consents] == [folded.id]
    assert [row[0] for row in issuances] == [folded.id]
    before = end_of(log, scene)
    with (
        private_service() as (inner, shown),
        folded_server(partial(scene.verify, audience=folded.uri), services=(inner, inner)) as mcp,
    ):
        done = httpx2.post(mcp, json={"tool": "write"}, headers={"authorization": f"Bearer {token}"})
        after = end_of(log, scene)
        assert (done.status_code, done.json()) == (200, [{"done": True}] * 2)
        assert shown == ["Bearer internal"] * 2  # what the user's token is for, it is not for them
        read = scene.tokens_of(agent, scope="tool:read tool:write", only={"tool:read"})["access_token"]  # A3
        refused = httpx2.post(mcp, json={"tool": "write"}, headers={"authorization": f"Bearer {read}"})
        assert scene.claims(read)["scope"] == "tool:read"
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")  # N1
        assert 'scope="tool:write"' in refused.headers["www-authenticate"]
        assert len(shown) == 2
    asked = [line for line in log.read_text()[before:after].splitlines() if '"path":' in line and "/livez" not in line]
    assert asked  # A2
    assert [line for line in asked if '"path":"/.well-known/jwks.json"' not in line] == []


def end_of(log: Path, scene: Scene) -> int:
    """Return where a log ends, with all that was served before now in it."""
    mark = f"/livez/{secrets.token_hex(8)}"
    httpx2.get(f"{scene.issuer}{mark}")
    wait_until(lambda: mark in log.read_text(), seconds=15, what="the log is written")
    return len(log.read_text())
