"""An operator revokes one token: it is worth nothing any more, and what was exchanged from it only with a cascade."""

import pytest

from server.tests.wire.exchanging import a_client, a_resource, check_denied, exchange, exchanged, ledger, user_token
from server.tests.wire.harness import Wire, claims_of

pytestmark = pytest.mark.anyio


async def test_a_revoked_token_is_inactive_and_no_subject_and_its_descendants_go_with_a_cascade(wire: Wire) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway")
    await a_resource(wire, "mail", "notes:read", may_exchange=[agent])
    await a_resource(wire, "archive", "notes:read", runtime=[gateway], may_exchange=[gateway])
    for slug in ("mail", "archive"):
        await user_token(wire, agent, resource=slug, scope="notes:read")
    root = await user_token(wire, agent, resource=None, scope="notes:read")
    child = (await exchanged(wire, agent, root, resource="mail"))["access_token"]
    leaf = (await exchanged(wire, gateway, child, resource="archive"))["access_token"]
    caller = {"client_id": gateway.id, "client_secret": gateway.secret}

    async def is_active(token: str) -> bool:
        answer = await wire.http.post("/oauth/introspect", data={**caller, "token": token})
        return bool(answer.json()["active"])

    assert await is_active(leaf)
    await wire.core.issuances.revoke(claims_of(root)["jti"], now=wire.clock.seconds)
    before = await ledger(wire)
    answer = await exchange(wire, agent, root, resource="mail")
    await check_denied(
        wire, answer, before, caller=agent.id, status=400, error="invalid_grant", reason="subject_token_revoked"
    )
    # What came of it before goes on, and may be exchanged again.
    assert await is_active(leaf)
    await exchanged(wire, gateway, child, resource="archive")

    await wire.core.issuances.revoke(claims_of(root)["jti"], cascade=True, now=wire.clock.seconds)
    assert not await is_active(leaf)
    assert (await exchange(wire, gateway, child, resource="archive")).json()["error"] == "invalid_grant"
    details = [text for action, text in await wire.audit() if action == "issuance.revoked_admin"]
    assert sorted(text.partition("revoked_descendants=")[2] for text in details) == ["", "3"]
