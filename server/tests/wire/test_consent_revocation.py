"""Taking a consent back reaches everything that rests on it (token exchange, section 11; topology T07, A8)."""

import pytest

from authserver.authorization.consent_store import list_consents
from authserver.protocol.grant_types import AUTHORIZATION_CODE, TOKEN_EXCHANGE
from authserver.protocol.identifiers import spell_id
from authserver.storage.names import number_of
from server.tests.wire.exchanging import (
    a_client,
    a_link,
    a_resource,
    check_denied,
    exchange,
    exchanged,
    ledger,
    user_token,
)
from server.tests.wire.harness import Wire

pytestmark = pytest.mark.anyio


async def revoke_at(wire: Wire, resource_id: str) -> None:
    """Take back what the user allowed at a resource, as an operator does."""
    for consent in await list_consents(wire.core.db, wire.user.id):
        if consent.resource_id == resource_id:
            await wire.core.consents.revoke(spell_id(consent.id), now=wire.clock.seconds)


async def live(wire: Wire) -> int:
    rows = await wire.core.db.fetch_all("SELECT id FROM issuances WHERE revoked_at IS NULL")
    return len(rows)


async def test_revoking_the_roots_consent_makes_every_descendant_inactive(wire: Wire) -> None:
    agent = await a_client(wire, "agent", grants=(AUTHORIZATION_CODE, "refresh_token", TOKEN_EXCHANGE))
    first, second = await a_client(wire, "first"), await a_client(wire, "second")
    gateway = await a_resource(wire, "gw", "A", runtime=[first])
    await a_resource(wire, "api", "AA", runtime=[second])
    await a_resource(wire, "deep", "AAA", runtime=[agent])
    await a_link(wire, "gw", "api", {"A": ("AA",)})
    await a_link(wire, "api", "deep", {"AA": ("AAA",)})
    other = await user_token(wire, agent, resource="notes", scope="notes:read")
    root = await user_token(wire, agent, resource="gw", scope="A")
    hop = (await exchanged(wire, first, root, resource="api"))["access_token"]
    leaf = (await exchanged(wire, second, hop, resource="deep"))["access_token"]

    async def is_active(token: str) -> bool:
        caller = {root: first, hop: second, leaf: agent, other: agent}[token]
        answer = await wire.http.post("/oauth/introspect", data={"token": token}, auth=(caller.id, caller.secret))
        return bool(answer.json()["active"])

    assert [await is_active(token) for token in (root, hop, leaf, other)] == [True] * 4
    # A token in the middle that was revoked by itself does not stop it.
    await wire.core.db.write(
        lambda tx: tx.execute(f"UPDATE issuance_rows SET revoked_at = 1 WHERE client_number = {number_of('$1')}", "gw")
    )
    assert await is_active(leaf)
    await revoke_at(wire, gateway.id)
    assert [await is_active(token) for token in (root, hop, leaf, other)] == [False, False, False, True]
    before = await ledger(wire)
    answer = await exchange(wire, second, hop, resource="deep")
    await check_denied(
        wire, answer, before, caller=second.id, status=400, error="invalid_grant", reason="subject_token_revoked"
    )
    ((_, text),) = [row for row in await wire.audit() if row[0] == "consent_grant.revoked_admin"]
    assert f"user_id={wire.user.id} client_id={agent.id} resource_id={gateway.id} revoked_issuances=2" in text
    assert text.endswith("revoked_families=1")
    # Once more, or one that nobody gave, changes nothing.
    before_again = await live(wire)
    await revoke_at(wire, gateway.id)
    await wire.core.consents.revoke("unknown", now=wire.clock.seconds)
    assert await live(wire) == before_again


async def test_a_consent_revoked_between_gate_and_record_refuses_the_exchange(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await a_client(wire, "agent")
    mail = await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    db = wire.core.db
    write = db.write
    pending = [True]

    async def late(transaction: object) -> object:
        if pending:
            pending.clear()
            await revoke_at(wire, mail.id)
        return await write(transaction)  # type: ignore[arg-type]  # handed on as it came

    before, held = await ledger(wire), await live(wire)
    monkeypatch.setattr(db, "write", late)
    answer = await exchange(wire, agent, subject, resource="mail")
    monkeypatch.setattr(db, "write", write)
    assert answer.json()["cause"] == "consent_missing"
    await check_denied(
        wire,
        answer,
        before,
        caller=agent.id,
        status=400,
        error="consent_required",
        reason="consent_revoked_during_mint",
    )
    # The tokens under the consent went with it, and nothing came.
    assert await live(wire) < held


async def test_a_caller_suspended_between_check_and_record_gets_nothing(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway")
    await a_resource(wire, "mail", "mail:read", may_exchange=[gateway])
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    db, write, pending = wire.core.db, wire.core.db.write, [True]

    async def late(transaction: object) -> object:
        if pending:
            pending.clear()
            await wire.core.clients.suspend(gateway.id, now=wire.clock.seconds)
        return await write(transaction)  # type: ignore[arg-type]  # handed on as it came

    before, held = await ledger(wire), await live(wire)
    monkeypatch.setattr(db, "write", late)
    answer = await exchange(wire, gateway, subject, resource="mail")
    monkeypatch.setattr(db, "write", write)
    assert answer.headers["www-authenticate"] == 'Basic realm="authserver"'
    await check_denied(
        wire, answer, before, caller=gateway.id, status=401, error="invalid_client", reason="invalid_client"
    )
    assert await live(wire) == held


async def test_a_subject_revoked_between_check_and_record_refuses_the_exchange(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    db = wire.core.db
    write = db.write
    pending = [True]

    async def late(transaction: object) -> object:
        if pending:
            pending.clear()
            await wire.http.post("/oauth/revoke", data={"token": subject}, auth=(agent.id, agent.secret))
        return await write(transaction)  # type: ignore[arg-type]  # handed on as it came

    before, held = await ledger(wire), await live(wire)
    monkeypatch.setattr(db, "write", late)
    answer = await exchange(wire, agent, subject, resource="mail")
    monkeypatch.setattr(db, "write", write)
    await check_denied(
        wire,
        answer,
        before,
        caller=agent.id,
        status=400,
        error="invalid_grant",
        reason="subject_token_revoked_during_mint",
    )
    assert await live(wire) == held - 1
