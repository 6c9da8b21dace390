"""Callers whose name is the name of something else, and scopes that would rewrite the link they end up in."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from authserver.config.model import Config
from server.tests.wire.exchanging import (
    Party,
    a_client,
    a_link,
    a_resource,
    check_denied,
    exchange,
    exchanged,
    ledger,
    user_token,
)
from server.tests.wire.harness import Wire, claims_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(config: Config) -> Config:
    """A server that lets clients exchange their own tokens."""
    return replace(config, token_exchange=replace(config.token_exchange, allow_self_exchange=True))


async def a_client_called(wire: Wire, name: str) -> Party:
    """Register a client, and give it an id that no registration would."""
    party = await a_client(wire, name)
    await wire.core.db.write(lambda tx: tx.execute("UPDATE clients SET id = $2 WHERE id = $1", party.id, name))
    return Party(name, party.secret)


async def test_a_client_that_is_called_like_a_resource_is_not_that_resource(wire: Wire) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway")
    source, target = await a_client_called(wire, "gw"), await a_client_called(wire, "mail")
    await a_resource(wire, "gw", "a", runtime=[gateway])
    await a_resource(wire, "api", "b")
    await a_resource(wire, "mail", "a")
    await a_link(wire, "gw", "api", {"a": ("b",)})
    await user_token(wire, agent, resource="mail", scope="a")
    root = await user_token(wire, agent, resource="gw", scope="a")
    fronted = (await exchanged(wire, gateway, root, resource="api"))["access_token"]
    assert claims_of(fronted)["client_id"] == source.id
    for caller, subject, form, reason in (
        (source, root, {"resource": "api"}, "fronting_caller_not_authorized"),
        (target, root, {"resource": "mail"}, "cross_client_not_authorized"),
        # A fronted token names its source as its client; it is nobody's own.
        (source, fronted, {"resource": "api"}, "cross_client_not_authorized"),
        (source, fronted, {}, "policy_denied"),
    ):
        before = await ledger(wire)
        answer = await exchange(wire, caller, subject, **form)
        await check_denied(wire, answer, before, caller=caller.id, status=403, error="access_denied", reason=reason)


async def test_a_scope_cannot_rewrite_the_link_that_asks_for_it(wire: Wire) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway")
    hostile = "a&ticket=b#c+d%26;/?resource=e"
    await a_resource(wire, "mail", "plain", hostile, may_exchange=[agent, gateway])
    await user_token(wire, agent, resource="mail", scope="plain")
    subject = await user_token(wire, agent, resource=None, scope=f"plain {hostile}")
    refused = (await exchange(wire, gateway, subject, resource="mail", scope=hostile)).json()
    assert (refused["error"], refused["cause"]) == ("consent_required", "scope_insufficient")
    assert hostile not in str({name: value for name, value in refused.items() if name != "consent_url"})
    parts = urlsplit(refused["consent_url"])
    query = parse_qs(parts.query, strict_parsing=True)
    assert (parts.path, parts.fragment, list(query)) == ("/authorize", "", ["resource", "scope", "ticket"])
    assert (query["resource"], query["scope"], len(query["ticket"])) == (["mail"], [hostile], 1)
    assert (await wire.http.get(f"{parts.path}?{parts.query}")).status_code == 200
