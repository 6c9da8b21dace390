"""Token exchange where clients may exchange their own tokens, and what never outlives its subject token."""

from dataclasses import replace

import pytest

from authserver.clients.store import find_client
from authserver.config.model import Config
from authserver.resources.catalog import ResourceCatalog
from authserver.tokens.issuing import TokenIssuer, TokenSpec
from authserver.tokens.records import IssuanceKind
from authserver.tokens.store import append_issuance
from server.tests.wire.exchanging import (
    Party,
    a_client,
    a_resource,
    all_denials,
    check_denied,
    exchange,
    exchanged,
    ledger,
    user_token,
)
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


async def identity_only(wire: Wire, party: Party) -> str:
    """Return a token that says who the user is and has no scope."""
    client = await find_client(wire.core.db, party.id)
    assert client is not None
    catalog = ResourceCatalog(wire.core.db)
    await catalog.load()
    issuer = TokenIssuer(wire.keyring, catalog, issuer=ISSUER, clock_ms=wire.clock.milliseconds)
    spec = TokenSpec(
        kind=IssuanceKind.USER,
        subject=wire.user.id,
        client=client,
        scopes=(),
        resource_id=None,
        resource=None,
        lifetime=900,
        jkt=None,
    )
    minted = await issuer.mint(spec, now=wire.clock.seconds)
    await wire.core.db.write(lambda tx: append_issuance(tx, minted.issuance))
    return minted.access_token


async def test_from_a_token_without_scopes_nothing_follows_and_who_may_exchange_is_told_before_that(wire: Wire) -> None:
    agent, other = await a_client(wire, "agent"), await a_client(wire, "other")
    subject = await identity_only(wire, agent)
    forms: list[tuple[Party, dict[str, str], int, str, str]] = [
        (other, {"scope": "notes:read"}, 400, "invalid_scope", "invalid_scope"),
        (other, {}, 403, "access_denied", "policy_denied"),
        (agent, {}, 400, "invalid_scope", "default_scope_empty"),
        (agent, {"resource": "notes"}, 400, "invalid_scope", "default_scope_empty"),
    ]
    for caller, form, status, error, reason in forms:
        before = await ledger(wire)
        answer = await exchange(wire, caller, subject, **form)
        await check_denied(wire, answer, before, caller=caller.id, status=status, error=error, reason=reason)
    # It is no ceiling either for what is asked for by name.
    assert (await exchanged(wire, agent, subject, resource="notes", scope="notes:read"))["scope"] == "notes:read"
