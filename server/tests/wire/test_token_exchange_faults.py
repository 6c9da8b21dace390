"""Denials of a token exchange that need more than one request to bring about: faults of ours by their reasons, tokens from
when the server had another name, actors that may not act, and names of old (token exchange, sections 2, 4 and 14).
"""

import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import groupby

import httpx2
import pytest

from authserver.app import build_server
from authserver.clients.records import Client, ClientStatus
from authserver.clients.store import find_client, insert_client
from authserver.config.model import Config
from authserver.protocol.errors import ServerError
from authserver.protocol.grant_types import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.names import number_of
from authserver.telemetry.logs import flush_logs
from authserver.tokens.exchange.broker import BrokerGates
from server.tests.fakes.proving_client import ProvingClient
from server.tests.web.direct import DirectTransport
from server.tests.wire.exchanging import (
    Party,
    a_broker_resource,
    a_client,
    a_link,
    a_resource,
    check_denied,
    exchange,
    exchanged,
    ledger,
    machine_token,
    recorded_since,
    user_token,
)
from server.tests.wire.faults import CANARY, MOST_STATEMENTS, check_fault, inject
from server.tests.wire.harness import ISSUER, PASSWORD, Wire

pytestmark = pytest.mark.anyio

BOB = "bob@example.com"


async def reasons_of_faults(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, caller: Party, request: Callable[[], Awaitable[httpx2.Response]]
) -> list[str]:
    """Send a request to a server that knows nothing yet, once for each of its statements, with that one failing.

    Returns:
        The reasons in their order, each once however many statements it has; each fault is one row and one count.
    """
    injected = inject(wire.core.db, monkeypatch)
    public, reasons = wire.http, []
    for number in range(1, MOST_STATEMENTS):
        server = await build_server(wire.core, wire.keyring)
        wire.http = httpx2.AsyncClient(
            transport=DirectTransport(server.public, peer="192.0.2.7"), base_url=ISSUER, follow_redirects=False
        )
        injected.begin(0)
        before = await ledger(wire)
        error = ZeroDivisionError(CANARY)
        injected.begin(number, error)
        answer = await request()
        is_over = injected.seen < number
        injected.begin(0)
        await server.traces.close()
        if is_over:
            break
        check_fault(answer, error)
        since = await recorded_since(wire, before)
        (reason,) = since.counts
        told = [row["detail"] for row in since.rows.values()]
        # Whoever did not prove anything yet leaves no row.
        assert told == ([] if number == 1 else [f"reason={reason}"]), (number, told)
        assert all(row["client_id"] == caller.id for row in since.rows.values())
        reasons.append(reason)
    wire.http = public
    return [reason for reason, _ in groupby(reasons)]


async def test_each_lookup_of_a_direct_exchange_has_its_reason_when_it_fails(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    identity = await user_token(wire, agent, resource=None, scope="mail:read")
    reasons = await reasons_of_faults(
        wire, monkeypatch, agent, lambda: exchange(wire, agent, identity, resource="mail", scope="mail:read")
    )
    # The caller and the subject token; the resources; the consent; what is held, and what is written.
    assert reasons == [
        "internal_error",
        "resource_resolve_failed",
        "consent_lookup_failed",
        "mint_issue_failed",
    ]


async def test_a_link_that_cannot_be_looked_up_and_a_subject_that_cannot_are_told_apart(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await a_client(wire, "machine", grants=(CLIENT_CREDENTIALS, TOKEN_EXCHANGE))
    await wire.core.db.write(lambda tx: tx.execute("UPDATE clients SET scope = 'A' WHERE id = $1", machine.id))
    gateway = await a_client(wire, "gateway", grants=(TOKEN_EXCHANGE,))
    await a_resource(wire, "gw", "A", runtime=[gateway])
    await a_resource(wire, "api", "AA")
    await a_resource(wire, "deep", "AAA", may_exchange=[gateway])
    await a_link(wire, "gw", "api", {"A": ("AA",)})
    await a_link(wire, "api", "deep", {"AA": ("AAA",)})
    subject = await machine_token(wire, machine, resource="https://gw.example.com")
    fronted = (await exchanged(wire, gateway, subject, resource="api"))["access_token"]
    reasons = await reasons_of_faults(
        wire, monkeypatch, gateway, lambda: exchange(wire, gateway, fronted, resource="deep")
    )
    assert reasons == [
        "internal_error",
        # Its client is a resource and its subject a client: whether that one may act.
        "client_lookup_failed",
        "resource_resolve_failed",
        "fronting_lookup_failed",
        "mint_issue_failed",
    ]


async def test_a_consent_at_the_callers_own_resource_that_cannot_be_looked_up_is_told(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway")
    await a_resource(wire, "gw", "A", runtime=[gateway])
    await a_broker_resource(wire, "vault", "A")
    await user_token(wire, agent, resource="gw", scope="A")
    identity = await user_token(wire, agent, resource=None, scope="A")
    before = await ledger(wire)
    reasons: list[str] = []
    injected = inject(wire.core.db, monkeypatch)
    for number in range(1, MOST_STATEMENTS):
        injected.begin(number, ZeroDivisionError(CANARY))
        answer = await exchange(wire, gateway, identity, resource="vault")
        is_over = injected.seen < number
        injected.begin(0)
        since = await recorded_since(wire, before)
        # Past every gate only the row of the refusal can fail, which the caller does not notice.
        passed = [*since.counts] == ["vending_not_served"]
        told = (400, "invalid_target") if passed else (500, "server_error")
        assert (answer.status_code, answer.json()["error"]) == told
        before = await ledger(wire)
        reasons += since.counts
        if is_over:
            break
    assert [reason for reason, _ in groupby(reasons)] == [
        "internal_error",
        "agent_attestation_lookup_failed",
        "vending_not_served",
    ]


async def test_a_caller_whose_resource_cannot_be_looked_up_is_told(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = BrokerGates(catalog=ResourceCatalog(wire.core.db), consents=None, trail=wire.core.trail)  # type: ignore[arg-type]  # not reached
    injected = inject(wire.core.db, monkeypatch)
    injected.begin(1, ZeroDivisionError(CANARY))
    with pytest.raises(ServerError) as refusal:
        await gates._attest("gateway")
    assert (refusal.value.reason, refusal.value.description) == ("actor_resolve_failed", "internal error")
    assert isinstance(refusal.value.__cause__, ZeroDivisionError)


async def test_a_token_from_when_the_server_had_another_name_is_no_subject_and_no_actor(
    wire: Wire, config: Config
) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    old = await user_token(wire, agent, resource=None, scope="mail:read")
    renamed = replace(config, server=replace(config.server, issuer="http://127.0.0.1:9000"))
    server = await build_server(replace(wire.core, config=renamed), wire.keyring)
    wire.http = httpx2.AsyncClient(transport=DirectTransport(server.public, peer="192.0.2.7"), base_url=ISSUER)
    new = await user_token(wire, agent, resource=None, scope="mail:read")

    async def expect(reason: str, token: str, **form: str) -> None:
        before = await ledger(wire)
        answer = await exchange(wire, agent, token, **form)
        await check_denied(wire, answer, before, caller=agent.id, status=400, error="invalid_grant", reason=reason)

    # Before the name comes whether it is one at all; after it, whether it was revoked, and what for.
    await expect("invalid_subject_token", old[:-4] + "AAAA")
    revoke = f"UPDATE issuance_rows SET revoked_at = 1 WHERE client_number = {number_of('$1')}"
    await wire.core.db.write(lambda tx: tx.execute(revoke, agent.id))
    await expect("invalid_issuer", old, resource="unknown")
    await expect("subject_token_revoked", new, resource="unknown")
    await wire.core.db.write(lambda tx: tx.execute("UPDATE issuance_rows SET revoked_at = NULL"))
    await expect("invalid_actor_token", new, resource="mail", actor_token=old)
    await server.traces.close()


async def test_an_actor_token_about_somebody_who_may_not_act_is_refused_after_its_client(wire: Wire) -> None:
    agent, other = await a_client(wire, "agent"), await a_client(wire, "other")
    await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    bob = await wire.core.accounts.create_user(email=BOB, password=PASSWORD, name="Bob", now=wire.clock.seconds)
    wire.http = wire.new_browser()
    await wire.sign_in(email=BOB)
    of_bob = await user_token(wire, other, resource=None, scope="mail:read")
    await exchanged(wire, agent, subject, resource="mail", actor_token=of_bob)

    async def expect(reason: str) -> None:
        before = await ledger(wire)
        # The proof, which is looked at after it, is none either.
        wire.http.headers["dpop"] = "no proof"
        answer = await exchange(wire, agent, subject, resource="mail", actor_token=of_bob)
        del wire.http.headers["dpop"]
        await check_denied(wire, answer, before, caller=agent.id, status=400, error="invalid_grant", reason=reason)

    async def set_status(table: str, status: str, identifier: str) -> None:
        await wire.core.db.write(
            lambda tx: tx.execute(f"UPDATE {table} SET status = $1 WHERE id = $2", status, identifier)
        )

    await set_status("users", "disabled", bob.id)
    await expect("actor_subject_inactive")
    await set_status("clients", ClientStatus.SUSPENDED, other.id)
    await expect("actor_issuing_client_inactive")


async def test_a_subject_that_is_a_suspended_client_is_refused(wire: Wire) -> None:
    machine = await a_client(wire, "machine", grants=(CLIENT_CREDENTIALS, TOKEN_EXCHANGE))
    await wire.core.db.write(lambda tx: tx.execute("UPDATE clients SET scope = 'A' WHERE id = $1", machine.id))
    gateway = await a_client(wire, "gateway", grants=(TOKEN_EXCHANGE,))
    await a_resource(wire, "gw", "A", runtime=[gateway])
    await a_resource(wire, "api", "AA")
    await a_link(wire, "gw", "api", {"A": ("AA",)})
    subject = await machine_token(wire, machine, resource="https://gw.example.com")
    fronted = (await exchanged(wire, gateway, subject, resource="api"))["access_token"]
    await wire.core.clients.suspend(machine.id, now=wire.clock.seconds)
    for token, reason in ((subject, "issuing_client_inactive"), (fronted, "subject_inactive")):
        before = await ledger(wire)
        answer = await exchange(wire, gateway, token, resource="unknown")
        await check_denied(wire, answer, before, caller=gateway.id, status=400, error="invalid_grant", reason=reason)


async def test_a_suspended_caller_is_refused_before_everything_about_its_request(wire: Wire) -> None:
    agent = await a_client(wire, "agent", grants=(AUTHORIZATION_CODE,))
    await wire.core.clients.suspend(agent.id, now=wire.clock.seconds)
    before = await ledger(wire)
    answer = await exchange(wire, agent, "x", subject_token_type="wrong")
    await check_denied(
        wire, answer, before, caller=agent.id, status=401, error="invalid_client", reason="invalid_client"
    )


async def test_a_chain_that_is_too_long_is_told_before_a_proof_that_does_not_hold(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    token = subject
    for _ in range(5):
        token = (await exchanged(wire, agent, token, resource="mail", actor_token=subject))["access_token"]
    wire.http.headers["dpop"] = prover.proof(now=now, htm="GET")
    for form, error, reason in (
        ({"actor_token": subject}, "invalid_request", "chain_too_deep"),
        ({}, "invalid_dpop_proof", "invalid_dpop_proof"),
    ):
        before = await ledger(wire)
        answer = await exchange(wire, agent, token, resource="mail", **form)
        await check_denied(wire, answer, before, caller=agent.id, status=400, error=error, reason=reason)


async def an_old_client(wire: Wire, name: str) -> Party:
    """Return a client whose id was chosen by hand, as servers of old let operators do."""
    party = await a_client(wire, name)
    client = await find_client(wire.core.db, party.id)
    assert isinstance(client, Client)
    await wire.core.db.write(lambda tx: insert_client(tx, replace(client, id=name)))
    return Party(name, party.secret)


async def test_a_client_called_like_its_resource_attests_for_it_as_of_old_and_nowhere_else(
    wire: Wire, logged: io.BytesIO
) -> None:
    agent, old = await a_client(wire, "agent"), await an_old_client(wire, "old-mcp")
    await a_resource(wire, "old-mcp", "A")
    await a_resource(wire, "api", "AA")
    await a_link(wire, "old-mcp", "api", {"A": ("AA",)})
    await a_broker_resource(wire, "vault", "A")
    identity = await user_token(wire, agent, resource=None, scope="A")

    async def expect(status: int, error: str, reason: str, token: str = identity, **form: str) -> None:
        before = await ledger(wire)
        answer = await exchange(wire, old, token, **form)
        await check_denied(wire, answer, before, caller=old.id, status=status, error=error, reason=reason)

    await expect(400, "consent_required", "agent_attestation_required", resource="vault")
    for_it = await user_token(wire, agent, resource="old-mcp", scope="A")
    await expect(400, "invalid_target", "vending_not_served", resource="vault")
    flush_logs()
    assert logged.getvalue().count(b"resolved actor MCP via deprecated slug==client_id convention") == 2
    # It is neither the resource itself nor its gateway.
    await expect(403, "access_denied", "cross_client_not_authorized", resource="old-mcp", scope="A")
    await expect(403, "access_denied", "fronting_caller_not_authorized", for_it, resource="api")
    # Named in a list, the list says which resource it runs.
    await a_resource(wire, "new-mcp", "A", runtime=[old])
    await expect(400, "consent_required", "agent_attestation_required", resource="vault")
