"""Token exchange where clients may exchange their own tokens, and what never outlives its subject token."""

from dataclasses import replace

import pytest

from authserver.config.model import Config
from server.tests.wire.exchanging import a_client, a_resource, all_denials, exchange, exchanged, user_token
from server.tests.wire.harness import ISSUER, RESOURCE, Wire, claims_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(config: Config) -> Config:
    """A server that lets clients exchange their own tokens."""
    settings = replace(config.token_exchange, allow_self_exchange=True, cap_to_subject=True)
    return replace(config, token_exchange=settings)


async def test_a_client_narrows_its_own_token_without_naming_a_resource(wire: Wire, now: int) -> None:
    agent = await a_client(wire, "agent")
    subject = await user_token(wire, agent, resource="notes", scope="notes:read notes:write")
    narrowed = await exchanged(wire, agent, subject, scope="notes:read")
    claims = claims_of(narrowed["access_token"])
    assert (claims["aud"], claims["scope"], claims["client_id"]) == ([RESOURCE], "notes:read", agent.id)
    assert "act" not in claims
    assert claims_of((await exchanged(wire, agent, subject))["access_token"])["scope"] == "notes:read notes:write"
    assert (await wire.introspect(narrowed["access_token"]))["active"] is True
    texts = [text for action, text in await wire.audit() if action == "token.exchanged"]
    ending = f'subject_client={agent.id} actor_client="" type=impersonation scopes=notes:read'
    assert [text.endswith(ending) for text in texts].count(True) == 1
    acted = await exchanged(wire, agent, subject, actor_token=subject)
    assert claims_of(acted["access_token"])["act"] == {"sub": agent.id, "actor_type": "service"}
    ending = f'actor_client={agent.id} type=delegation scopes="notes:read notes:write"'
    assert [text.endswith(ending) for _, text in await wire.audit()].count(True) == 1


async def test_a_token_for_the_server_stays_one(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    subject = await user_token(wire, agent, resource=None, scope="notes:read")
    assert claims_of((await exchanged(wire, agent, subject))["access_token"])["aud"] == [ISSUER]


async def test_a_client_exchanges_its_own_token_without_consent(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read", "mail:send")
    subject = await user_token(wire, agent, resource=None, scope="mail:send notes:read")
    assert (await exchanged(wire, agent, subject, resource="mail"))["scope"] == "mail:send"
    other = await user_token(wire, agent, resource="notes", scope="notes:read")
    before = all_denials().get("default_scope_empty", 0)
    refused = await exchange(wire, agent, other, resource="mail")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    assert all_denials()["default_scope_empty"] == before + 1


async def test_an_exchanged_token_does_not_outlive_its_subject(wire: Wire, now: int) -> None:
    agent = await a_client(wire, "agent")
    subject = await user_token(wire, agent, resource="notes", scope="notes:read")
    wire.clock.seconds += 100
    tokens = await exchanged(wire, agent, subject)
    assert (tokens["expires_in"], claims_of(tokens["access_token"])["exp"]) == (800, now + 900)
    wire.clock.seconds = now + 900
    assert (await exchange(wire, agent, subject)).json()["error"] == "invalid_grant"


async def test_revoking_a_token_ends_it_as_a_subject_and_not_what_came_of_it(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    subject = await user_token(wire, agent, resource="notes", scope="notes:read")
    token = (await exchanged(wire, agent, subject))["access_token"]
    await wire.http.post("/oauth/revoke", data={"token": subject}, auth=(agent.id, agent.secret))
    assert (await exchange(wire, agent, subject)).json()["error"] == "invalid_grant"
    assert (await wire.introspect(token))["active"] is True
    await wire.http.post("/oauth/revoke", data={"token": token}, auth=(agent.id, agent.secret))
    assert (await wire.introspect(token))["active"] is False
