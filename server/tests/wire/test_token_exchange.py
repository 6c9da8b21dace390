"""``POST /oauth/token`` with a token to exchange: what succeeds, and what the new token says (token exchange)."""

from dataclasses import replace

import pytest

from authserver.config.model import Config
from authserver.protocol.grant_types import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from authserver.protocol.identifiers import parse_id
from server.tests.wire.exchanging import (
    ACCESS_TOKEN,
    JWT,
    Party,
    a_client,
    a_link,
    a_resource,
    exchange,
    exchanged,
    machine_token,
    user_token,
)
from server.tests.wire.harness import ISSUER, Wire, claims_of

pytestmark = pytest.mark.anyio

EXCHANGE_ONLY = (TOKEN_EXCHANGE,)


@pytest.fixture
def config(config: Config) -> Config:
    """A server that lets no client exchange its own token by itself; chains of three at most."""
    return replace(config, token_exchange=replace(config.token_exchange, max_chain_depth=3))


async def identity_token(wire: Wire, agent: Party, *, scope: str = "notes:read") -> str:
    """Return a token whose audience is the server, of a user who allowed nothing at any resource."""
    return await user_token(wire, agent, resource=None, scope=scope)


async def issued(wire: Wire, token: str) -> dict[str, object]:
    """Return what is on record about a token."""
    names = ("kind", "subject", "client_id", "resource_id", "scopes", "parent_jti", "consent_client_id")
    row = await wire.core.db.fetch_one(
        f"SELECT {', '.join(names)} FROM issuances WHERE id = $1", parse_id(claims_of(token)["jti"])
    )
    assert row is not None
    return {name: row[name] for name in names}


async def test_a_client_exchanges_its_own_token_for_another_resource_that_the_user_allowed(
    wire: Wire, now: int
) -> None:
    agent = await a_client(wire, "agent")
    mail = await a_resource(wire, "mail", "mail:read", "mail:send")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await identity_token(wire, agent, scope="notes:read mail:read")
    tokens = await exchanged(wire, agent, subject, resource="mail", scope="mail:read", subject_token_type=JWT)
    assert tokens.keys() == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    assert (tokens["issued_token_type"], tokens["token_type"]) == (ACCESS_TOKEN, "Bearer")
    assert (tokens["expires_in"], tokens["scope"]) == (3600, "mail:read")
    claims = claims_of(tokens["access_token"])
    jti = claims.pop("jti")
    assert len(jti) == 22
    assert claims == {
        "iss": ISSUER,
        "sub": wire.user.id,
        "aud": ["https://mail.example.com"],
        "client_id": agent.id,
        "scope": "mail:read",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
    }
    assert await issued(wire, tokens["access_token"]) == {
        "kind": "exchange",
        "subject": wire.user.id,
        "client_id": agent.id,
        "resource_id": mail.id,
        "scopes": "mail:read",
        "parent_jti": parse_id(claims_of(subject)["jti"]),
        "consent_client_id": agent.id,
    }
    (text,) = [text for action, text in await wire.audit() if action == "token.exchanged"]
    assert text == (
        f'jti={jti} sub={wire.user.id} subject_client={agent.id} actor_client="" type=mint_dispatch resource=mail'
        ' scopes=mail:read chain_kind=direct via_link=""'
    )


async def test_an_omitted_scope_is_what_was_allowed_within_the_subject_token(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read", "mail:send", "mail:drop")
    await user_token(wire, agent, resource="mail", scope="mail:send mail:read")
    subject = await identity_token(wire, agent, scope="mail:send mail:read mail:drop")
    assert (await exchanged(wire, agent, subject, resource="mail"))["scope"] == "mail:read mail:send"
    assert (await exchanged(wire, agent, subject, resource="mail", scope=" \t"))["scope"] == "mail:read mail:send"
    narrow = await identity_token(wire, agent, scope="mail:read notes:read")
    assert (await exchanged(wire, agent, narrow, resource="https://mail.example.com"))["scope"] == "mail:read"


async def test_another_client_that_is_listed_exchanges_by_the_consent_of_the_agent(wire: Wire) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway", grants=EXCHANGE_ONLY)
    await a_resource(wire, "mail", "mail:read", may_exchange=[gateway])
    await a_resource(wire, "files", "mail:read", runtime=[gateway])
    for resource in ("mail", "files"):
        await user_token(wire, agent, resource=resource, scope="mail:read")
        subject = await identity_token(wire, agent, scope="mail:read")
        token = (await exchanged(wire, gateway, subject, resource=resource))["access_token"]
        assert (claims_of(token)["client_id"], claims_of(token)["sub"]) == (gateway.id, wire.user.id)
        assert (await issued(wire, token))["consent_client_id"] == agent.id


async def test_an_actor_token_adds_the_caller_and_without_one_the_chain_stays(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    planner = await a_client(wire, "planner", grants=(TOKEN_EXCHANGE, CLIENT_CREDENTIALS), is_agent=True)
    service = await a_client(wire, "service", grants=EXCHANGE_ONLY)
    await a_resource(wire, "mail", "mail:read", may_exchange=[agent, planner, service])
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await identity_token(wire, agent, scope="mail:read")
    # Whose the actor token is does not matter: who acts is who asks.
    first = await exchanged(wire, planner, subject, resource="mail", actor_token=subject)
    claims = claims_of(first["access_token"])
    assert claims["act"] == {"sub": planner.id, "actor_type": "agent"}
    assert (claims["agent_id"], claims["agent_chain"]) == (planner.id, [planner.id])
    # The consent is the agent's; the second hop's subject token is the planner's.
    await wire.core.db.write(
        lambda tx: tx.execute("UPDATE consent_grants SET client_id = $1 WHERE client_id = $2", planner.id, agent.id)
    )
    second = await exchanged(
        wire, service, first["access_token"], resource="mail", actor_token=subject, actor_token_type=JWT
    )
    claims = claims_of(second["access_token"])
    expected = {"sub": service.id, "actor_type": "service", "act": {"sub": planner.id, "actor_type": "agent"}}
    assert claims["act"] == expected
    assert "agent_id" not in claims
    unchanged = await exchanged(wire, service, first["access_token"], resource="mail")
    assert claims_of(unchanged["access_token"])["act"] == {"sub": planner.id, "actor_type": "agent"}


async def test_a_gateway_goes_along_its_link_and_stands_in_the_chain_by_its_slug(wire: Wire) -> None:
    agent = await a_client(wire, "agent", grants=(AUTHORIZATION_CODE,))
    gateway = await a_client(wire, "gateway", grants=EXCHANGE_ONLY, is_agent=True)
    await a_resource(wire, "gw", "A", "B", "C", runtime=[gateway])
    await a_resource(wire, "api", "AA", "BB", "CC")
    await a_link(wire, "gw", "api", {"A": ("AA",), "B": ("BB",), "C": ("CC",)})
    subject = await user_token(wire, agent, resource="gw", scope="A B")
    tokens = await exchanged(wire, gateway, subject, resource="api")
    assert tokens["scope"] == "AA BB"
    claims = claims_of(tokens["access_token"])
    assert (claims["client_id"], claims["aud"], claims["sub"]) == ("gw", ["https://api.example.com"], wire.user.id)
    assert claims["act"] == {"sub": "gw", "act": {"sub": agent.id}}
    assert (claims["agent_id"], claims["agent_chain"]) == (gateway.id, [agent.id, "gw"])
    row = await issued(wire, tokens["access_token"])
    assert (row["client_id"], row["consent_client_id"]) == ("gw", None)
    (text,) = [text for action, text in await wire.audit() if action == "token.exchanged"]
    assert f"subject_client={agent.id} actor_client={gateway.id} type=mint_dispatch resource=api" in text
    assert text.endswith('scopes="AA BB" chain_kind=fronted via_link=gw->api')
    assert (await exchanged(wire, gateway, subject, resource="api", scope="BB"))["scope"] == "BB"


async def test_a_fronted_token_is_active_for_its_target_alone_and_a_subject_itself(wire: Wire) -> None:
    agent = await a_client(wire, "agent", grants=(AUTHORIZATION_CODE,))
    first, second = await a_client(wire, "first", grants=EXCHANGE_ONLY), await a_client(wire, "second")
    await a_resource(wire, "gw", "A", runtime=[first])
    await a_resource(wire, "api", "AA", runtime=[second])
    await a_resource(wire, "deep", "AAA")
    await a_link(wire, "gw", "api", {"A": ("AA",)})
    await a_link(wire, "api", "deep", {"AA": ("AAA",)})
    subject = await user_token(wire, agent, resource="gw", scope="A")
    token = (await exchanged(wire, first, subject, resource="api"))["access_token"]
    for caller, active in ((second, True), (first, False), (agent, False)):
        answer = await wire.http.post("/oauth/introspect", data={"token": token}, auth=(caller.id, caller.secret))
        assert answer.json()["active"] is active
    claims = claims_of((await exchanged(wire, second, token, resource="deep"))["access_token"])
    assert claims["client_id"] == "api"
    assert claims["act"] == {"sub": "api", "act": {"sub": "gw", "act": {"sub": agent.id}}}


async def test_a_machine_token_is_exchanged_along_a_link_and_stays_one(wire: Wire) -> None:
    machine = await a_client(wire, "machine", grants=(CLIENT_CREDENTIALS,))
    await wire.core.db.write(lambda tx: tx.execute("UPDATE clients SET scope = 'A' WHERE id = $1", machine.id))
    gateway, reader = await a_client(wire, "gateway", grants=EXCHANGE_ONLY), await a_client(wire, "reader")
    await a_resource(wire, "gw", "A", runtime=[gateway])
    await a_resource(wire, "api", "AA", runtime=[reader])
    await a_link(wire, "gw", "api", {"A": ("AA",)})
    subject = await machine_token(wire, machine, resource="https://gw.example.com", scope="A")
    token = (await exchanged(wire, gateway, subject, resource="api"))["access_token"]
    claims = claims_of(token)
    assert (claims["sub"], claims["client_id"]) == (machine.id, "gw")
    answer = await wire.http.post("/oauth/introspect", data={"token": token}, auth=(reader.id, reader.secret))
    assert answer.json()["active"] is True
    await wire.core.clients.suspend(machine.id, now=wire.clock.seconds)
    answer = await wire.http.post("/oauth/introspect", data={"token": token}, auth=(reader.id, reader.secret))
    assert answer.json() == {"active": False}
    assert (await exchange(wire, gateway, token, resource="api")).json()["error"] == "invalid_grant"
