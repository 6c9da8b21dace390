"""An agent and one protected server, against running servers: T01 of the acceptance scenarios, on both databases.

The identifiers of its checks stand beside them. Each ends with check C1: nothing that was handed out in secret, and no
address of a person, is in the log or in the audit trail afterwards.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
import pytest

from e2e.harness.inspection import Inspection
from e2e.harness.installation import Account, Demo, Installation, found
from e2e.harness.oauth_client import REDIRECT_URI, Code, OAuthClient
from e2e.harness.person import Person, answer_of
from e2e.harness.processes import Process

pytestmark = pytest.mark.anyio

SCOPE = "notes:read notes:write"


@dataclass(slots=True)
class Handed:
    """What may not be found in what the server writes."""

    secrets: set[str] = field(default_factory=set)


class Agent(OAuthClient):
    """The public client of the scenario, which an operator registered with a ceiling."""

    def __init__(self, installation: Installation, resource: str, *options: str) -> None:
        self.issuer, self.resource, self.redirect_uri = installation.issuer, resource, REDIRECT_URI
        created = installation.run(
            *("admin", "client", "create", "--name", "my-agent", "--auth-method", "none", "--scope", SCOPE),
            *("--redirect-uris", REDIRECT_URI, *options),
        )
        self.client_id = found(r"\bid=(\S+)", created)


@pytest.fixture
def inspection(installation: Installation) -> Inspection:
    return Inspection(installation.environment)


@pytest.fixture
async def handed(
    installation: Installation, server: Process, inspection: Inspection, account: Account
) -> AsyncIterator[Handed]:
    """What the test hands out in secret; of that, nothing is written down (C1)."""
    assert server
    handed = Handed()
    yield handed
    (events,) = await inspection.rows("SELECT action, actor_id, client_id, detail FROM audit_events")
    log = (installation.directory / f"serve-{installation.port}.log").read_text()
    assert '"path":"/oauth/token"' in log
    written = log + repr([tuple(row) for row in events])
    assert handed.secrets
    assert [secret for secret in {*handed.secrets, account.password, account.email} if secret in written] == []


@pytest.fixture
def agent(installation: Installation, demo: Demo) -> Agent:
    return Agent(installation, demo.url, "--grant-types", "authorization_code")


@pytest.fixture
def alice(installation: Installation, account: Account) -> Iterator[Person]:
    person = Person(account, issuer=installation.issuer)
    yield person
    person.close()


def tokens_of(agent: Agent, person: Person, handed: Handed) -> dict[str, Any]:
    """Go the whole way to tokens, and note what is secret of it."""
    code = agent.get_code(person)
    answer = agent.request_token(agent.redemption(code))
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    handed.secrets |= {code.value, code.verifier, tokens["access_token"], tokens.get("refresh_token", code.value)}
    return tokens


def verify(issuer: str, token: str, audience: str) -> dict[str, Any]:
    """Return the claims of a token as a protected server would check it, with the published keys."""
    keys = httpx2.get(f"{issuer}/.well-known/jwks.json").json()["keys"]
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [jwt.PyJWK.from_dict(entry) for entry in keys if entry["kid"] == kid]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer=issuer)
    return claims


def refusal_of(agent: Agent, **changes: str) -> dict[str, str]:
    """Return what a client is called back with at once, nobody being signed in."""
    answer = httpx2.get(agent.authorization_url(secrets.token_urlsafe(32), **changes))
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(REDIRECT_URI), answer.headers["location"]
    return answer_of(answer.headers["location"])


async def test_t01_the_agent_gets_a_token_for_one_server(
    agent: Agent, alice: Person, demo: Demo, inspection: Inspection, handed: Handed, account: Account
) -> None:
    tokens = tokens_of(agent, alice, handed)
    claims = verify(agent.issuer, tokens["access_token"], demo.url)
    ((user,),) = (await inspection.rows(f"SELECT id FROM users WHERE email = '{account.email}'"))[0]
    assert (claims["aud"], claims["sub"], claims["client_id"]) == ([demo.url], user, agent.client_id)  # A1
    assert set(claims["scope"].split()) == set(SCOPE.split())
    assert claims["exp"] - claims["iat"] == 900
    assert not claims.keys() & {"act", "agent_id", "agent_chain"}
    consents, issuances, events = await inspection.rows(  # A2, A3
        f"SELECT user_id, scopes FROM consent_grants WHERE client_id = '{agent.client_id}'",
        f"SELECT subject, consent_client_id, parent_jti FROM issuances WHERE client_id = '{agent.client_id}'",
        f"SELECT action, detail FROM audit_events WHERE actor_id = '{user}' ORDER BY id",
    )
    assert [row[0] for row in consents] == [user]
    assert all(scope in consents[0][1] for scope in SCOPE.split())
    assert [tuple(row) for row in issuances] == [(user, agent.client_id, None)]
    told = dict(tuple(row) for row in events)
    assert {"user.login", "consent.granted", "token.issued"} <= told.keys()
    assert demo.url in told["consent.granted"]
    assert told["token.issued"].startswith("family=")
    assert "refresh_token" not in tokens  # A4


async def test_t01_a_client_that_names_no_grants_gets_a_refresh_token(
    installation: Installation, alice: Person, demo: Demo, handed: Handed
) -> None:
    assert "refresh_token" in tokens_of(Agent(installation, demo.url), alice, handed)  # A4


async def test_t01_nobody_is_asked_twice(agent: Agent, alice: Person, handed: Handed) -> None:
    tokens_of(agent, alice, handed)
    again = httpx2.get(agent.authorization_url(secrets.token_urlsafe(32)), cookies=alice.cookies())
    assert "code" in answer_of(again.headers["location"])  # A5


async def test_t01_an_agent_is_named_in_its_token(
    installation: Installation, alice: Person, demo: Demo, handed: Handed
) -> None:
    registered = Agent(installation, demo.url, "--agent", "--agent-description", "reads notes")
    claims = verify(registered.issuer, tokens_of(registered, alice, handed)["access_token"], demo.url)
    assert claims["agent_id"] == registered.client_id  # A6
    assert "agent_chain" not in claims


async def test_t01_what_is_refused(agent: Agent, alice: Person, demo: Demo, handed: Handed) -> None:
    for changes in ({"code_challenge": ""}, {"code_challenge_method": "plain"}):  # N1
        assert refusal_of(agent, **changes)["error"] == "invalid_request"
    code = agent.get_code(alice)
    wrong = agent.request_token(agent.redemption(Code(code.value, "w" * 43)))
    assert wrong.json()["error"] == "invalid_grant"
    first = agent.request_token(agent.redemption(code))
    assert first.status_code == 200
    handed.secrets |= {code.value, code.verifier, first.json()["access_token"]}
    assert agent.request_token(agent.redemption(code)).json()["error"] == "invalid_grant"  # N2
    seen = httpx2.post(
        f"{agent.issuer}/oauth/introspect",
        data={"token": first.json()["access_token"]},
        auth=(demo.client_id, demo.client_secret),
    )
    assert seen.json() == {"active": False}
    assert refusal_of(agent, resource="https://elsewhere.example/")["error"] == "invalid_target"  # N3
    page = httpx2.get(agent.authorization_url("v" * 43, redirect_uri="https://elsewhere.example/"))
    assert (page.status_code, "location" in page.headers) == (400, False)
    assert refusal_of(agent, scope="notes:burn")["error"] == "invalid_scope"  # N4


async def test_t01_the_server_refuses_a_token_that_is_not_for_it(agent: Agent, alice: Person, demo: Demo) -> None:
    other = OAuthClient(agent.issuer, resource=demo.url)
    form = {"resource": "", "scope": "notes:read"}
    verifier = secrets.token_urlsafe(32)
    answer = answer_of(alice.allow(other.authorization_url(verifier, **form)))
    token = other.request_token(other.redemption(Code(answer["code"], verifier))).json()["access_token"]
    with pytest.raises(jwt.InvalidAudienceError):
        verify(agent.issuer, token, demo.url)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = "application/json, text/event-stream"
    refused = httpx2.post(demo.url, json=body, headers={"authorization": f"Bearer {token}", "accept": accept})
    assert refused.status_code == 401  # N5
