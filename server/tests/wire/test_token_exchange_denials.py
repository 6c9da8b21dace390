"""Every denial of a token exchange, in the order in which they are decided (token exchange, sections 5 and 14).

One world, in which each request breaks what a row says and, when it names a neighbour, the next thing as well: the earlier
is reported. Each denial is one audit row and one count.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from authserver.audit.catalogue import CATALOGUE
from authserver.audit.events import Action
from authserver.clients.records import ClientStatus
from authserver.config.model import Config
from authserver.protocol.grant_types import AUTHORIZATION_CODE, TOKEN_EXCHANGE
from authserver.storage.names import number_of
from server.tests.wire.exchanging import (
    ACCESS_TOKEN,
    Party,
    a_broker_resource,
    a_client,
    a_link,
    a_resource,
    check_denied,
    exchange,
    exchanged,
    ledger,
    recorded_since,
    user_token,
)
from server.tests.wire.harness import Wire

pytestmark = pytest.mark.anyio

EXCHANGE_ONLY = (TOKEN_EXCHANGE,)


@pytest.fixture
def config(config: Config) -> Config:
    """A server whose chains have one actor at most."""
    return replace(config, token_exchange=replace(config.token_exchange, max_chain_depth=1))


@dataclass(frozen=True, kw_only=True)
class World:
    """Who and what there is.

    Attributes:
        agent: May exchange its own tokens, by consent.
        gateway: Runs ``gw``, which is linked to ``api`` and to the broker resource ``vault``.
        stranger: A client that is named nowhere.
        double: Runs two resources.
        broker_run: Runs a broker resource.
        identity: The agent's token for the server itself, scope ``A AA mail:read mail:send X``.
        for_gw: The agent's token for ``gw``, scope ``A``.
        poor: The agent's token for the server itself, scope ``A``.
        acted: The agent's token with one actor in its chain.
    """

    agent: Party
    gateway: Party
    stranger: Party
    double: Party
    broker_run: Party
    identity: str
    poor: str
    for_gw: str
    acted: str


async def a_world(wire: Wire) -> World:
    """Return a world in which the user allowed the agent ``mail:read`` at ``mail`` and ``A`` at ``gw``."""
    agent = await a_client(wire, "agent")
    gateway, stranger = await a_client(wire, "gateway", grants=EXCHANGE_ONLY), await a_client(wire, "stranger")
    double, broker_run = await a_client(wire, "double"), await a_client(wire, "broker run")
    await a_resource(wire, "mail", "mail:read", "mail:send")
    await a_resource(wire, "listed", "mail:read", may_exchange=[gateway])
    await a_resource(wire, "open", "mail:read", runtime=[stranger])
    await a_resource(wire, "gw", "A", "B", "X", runtime=[gateway, double])
    await a_resource(wire, "twin", "X", runtime=[double])
    await a_resource(wire, "api", "AA", "BB", "DD")
    await a_resource(wire, "one", "X", uri="https://shared.example.com")
    await a_resource(wire, "two", "X", uri="https://shared.example.com")
    await a_broker_resource(wire, "vault", "X", "A")
    await a_broker_resource(wire, "locked", "X", "A", may_exchange=[agent])
    await a_broker_resource(wire, "lone", "X", "A", runtime=[broker_run])
    await a_link(wire, "gw", "api", {"A": ("AA",), "B": ("BB",)})
    await a_link(wire, "gw", "vault", {"A": ("X",)})
    for resource, scope in (("mail", "mail:read"), ("gw", "A")):
        await user_token(wire, agent, resource=resource, scope=scope)
    identity = await user_token(wire, agent, resource=None, scope="A AA mail:read mail:send X")
    for_gw = await user_token(wire, agent, resource="gw", scope="A")
    acted = await exchanged(wire, agent, identity, resource="mail", actor_token=identity)
    return World(
        agent=agent,
        gateway=gateway,
        stranger=stranger,
        double=double,
        broker_run=broker_run,
        identity=identity,
        poor=await user_token(wire, agent, resource=None, scope="A"),
        for_gw=for_gw,
        acted=acted["access_token"],
    )


Build = Callable[[World], tuple[Party, str, dict[str, str | list[str] | None]]]

# In the order of the decision; each row also breaks what the next rows ask for, where one request can.
DENIALS: list[tuple[str, Build, int, str]] = [
    # 3: the type, of a token that is none
    ("invalid_request", lambda w: (w.agent, "x", {"subject_token_type": None}), 400, "invalid_grant"),
    (
        "invalid_request",
        lambda w: (w.agent, "x", {"subject_token_type": ACCESS_TOKEN.replace("access", "refresh")}),
        400,
        "invalid_grant",
    ),
    # 4: the token, for a resource that is unknown
    ("invalid_subject_token", lambda w: (w.agent, "x.y.z", {"resource": "unknown"}), 400, "invalid_grant"),
    (
        "invalid_subject_token",
        lambda w: (w.agent, w.identity[:-4] + "AAAA", {"resource": "unknown"}),
        400,
        "invalid_grant",
    ),
    # 5: the resource, with a scope that nobody declares
    ("multiple_resources", lambda w: (w.agent, w.identity, {"resource": ["mail", "gw"]}), 400, "invalid_target"),
    ("resource_not_found", lambda w: (w.agent, w.identity, {"resource": "unknown", "scope": "none"}), 400, "not_found"),
    (
        "ambiguous_resource",
        lambda w: (w.agent, w.identity, {"resource": "https://shared.example.com", "scope": "none"}),
        400,
        "invalid_request",
    ),
    # 6: the catalogue, of a caller that is not listed
    (
        "scope_not_in_catalog",
        lambda w: (w.stranger, w.identity, {"resource": "listed", "scope": "no"}),
        400,
        "invalid_scope",
    ),
    (
        "scope_not_in_catalog",
        lambda w: (w.agent, w.identity, {"resource": "mail", "scope": 'mal"formed'}),
        400,
        "invalid_scope",
    ),
    # M1: the list, without any consent, and though a runtime list has the caller
    (
        "operator_gate_denied",
        lambda w: (w.stranger, w.identity, {"resource": "listed", "scope": "mail:read"}),
        403,
        "access_denied",
    ),
    # M3: the gateway, with a scope that is not mapped
    (
        "fronting_caller_not_authorized",
        lambda w: (w.stranger, w.for_gw, {"resource": "api", "scope": "DD"}),
        403,
        "access_denied",
    ),
    # M4: the map, with an actor token that is none
    (
        "fronting_scope_unmapped",
        lambda w: (w.gateway, w.for_gw, {"resource": "api", "scope": "DD BB", "actor_token": "x"}),
        400,
        "invalid_scope",
    ),
    (
        "fronting_subject_scope_insufficient",
        lambda w: (w.gateway, w.for_gw, {"resource": "api", "scope": "BB", "actor_token": "x"}),
        400,
        "invalid_scope",
    ),
    # M5: the ceiling, of a caller that may not
    (
        "subject_scope_ceiling",
        lambda w: (w.stranger, w.for_gw, {"resource": "mail", "scope": "mail:read"}),
        400,
        "invalid_scope",
    ),
    # M7: another client's token, without consent
    (
        "cross_client_not_authorized",
        lambda w: (w.stranger, w.identity, {"resource": "mail", "scope": "mail:send"}),
        403,
        "access_denied",
    ),
    # M8: consent, of which no scope could be derived
    ("consent_required", lambda w: (w.agent, w.identity, {"resource": "open"}), 400, "consent_required"),
    ("consent_required", lambda w: (w.stranger, w.identity, {"resource": "open"}), 400, "consent_required"),
    # M9: its scopes, with an actor token that is none
    (
        "default_scope_empty",
        lambda w: (w.agent, w.for_gw, {"resource": "mail", "actor_token": "x"}),
        400,
        "invalid_scope",
    ),
    (
        "scope_not_consented",
        lambda w: (w.agent, w.identity, {"resource": "mail", "scope": "mail:send", "actor_token": "x"}),
        400,
        "consent_required",
    ),
    # M10: the actor token, in a chain that would be too long
    (
        "invalid_request",
        lambda w: (w.agent, w.acted, {"resource": "mail", "actor_token": "x", "actor_token_type": "y"}),
        400,
        "invalid_grant",
    ),
    (
        "invalid_actor_token",
        lambda w: (w.agent, w.acted, {"resource": "mail", "actor_token": "x"}),
        400,
        "invalid_grant",
    ),
    # M11: the chain
    (
        "chain_too_deep",
        lambda w: (w.agent, w.acted, {"resource": "mail", "actor_token": w.identity}),
        400,
        "invalid_request",
    ),
    ("chain_too_deep", lambda w: (w.gateway, w.for_gw, {"resource": "api"}), 400, "invalid_request"),
    # B1: an actor, of a caller that is not listed
    (
        "broker_actor_not_allowed",
        lambda w: (w.stranger, w.for_gw, {"resource": "locked", "actor_token": "x"}),
        400,
        "invalid_request",
    ),
    # B2: the list, without a link
    ("operator_gate_denied", lambda w: (w.stranger, w.for_gw, {"resource": "locked"}), 403, "access_denied"),
    # B3: the link, by nobody's runtime client
    (
        "fronting_link_missing",
        lambda w: (w.agent, w.for_gw, {"resource": "locked", "scope": "X"}),
        400,
        "invalid_request",
    ),
    # F1, F2: the gateway, what is not built yet; a scope that is not mapped comes after
    (
        "fronting_caller_not_authorized",
        lambda w: (w.stranger, w.for_gw, {"resource": "vault", "scope": "no"}),
        403,
        "access_denied",
    ),
    (
        "vending_not_served",
        lambda w: (w.gateway, w.for_gw, {"resource": "vault", "scope": "no"}),
        400,
        "invalid_target",
    ),
    # 6, B4 to B9
    (
        "scope_not_in_catalog",
        lambda w: (w.stranger, w.identity, {"resource": "locked", "scope": "no"}),
        400,
        "invalid_scope",
    ),
    ("subject_scope_ceiling", lambda w: (w.agent, w.poor, {"resource": "lone", "scope": "X"}), 400, "invalid_scope"),
    ("agent_attestation_unknown_actor", lambda w: (w.agent, w.identity, {"resource": "lone"}), 403, "access_denied"),
    ("agent_attestation_ambiguous_actor", lambda w: (w.double, w.identity, {"resource": "lone"}), 403, "access_denied"),
    (
        "agent_attestation_actor_not_mint",
        lambda w: (w.broker_run, w.identity, {"resource": "lone"}),
        403,
        "access_denied",
    ),
    ("agent_attestation_required", lambda w: (w.stranger, w.identity, {"resource": "lone"}), 400, "consent_required"),
    (
        "broker_scope_not_consented",
        lambda w: (w.gateway, w.identity, {"resource": "lone", "scope": "X"}),
        400,
        "consent_required",
    ),
    (
        "vending_not_served",
        lambda w: (w.gateway, w.identity, {"resource": "lone", "scope": "A"}),
        400,
        "invalid_target",
    ),
    ("vending_not_served", lambda w: (w.gateway, w.identity, {"resource": "lone"}), 400, "invalid_target"),
    # Without a resource: actor, scope, policy
    ("invalid_actor_token", lambda w: (w.stranger, w.for_gw, {"scope": "B", "actor_token": "x"}), 400, "invalid_grant"),
    ("invalid_scope", lambda w: (w.stranger, w.for_gw, {"scope": "B"}), 400, "invalid_scope"),
    ("policy_denied", lambda w: (w.stranger, w.for_gw, {"scope": "A"}), 403, "access_denied"),
    ("policy_denied", lambda w: (w.agent, w.for_gw, {}), 403, "access_denied"),
]


async def test_each_fault_is_denied_before_the_next_with_one_row_and_one_count(wire: Wire) -> None:
    world = await a_world(wire)
    for reason, build, status, error in DENIALS:
        caller, token, form = build(world)
        before = await ledger(wire)
        answer = await exchange(wire, caller, token, **form)
        await check_denied(wire, answer, before, caller=caller.id, status=status, error=error, reason=reason)


async def test_callers_that_prove_nothing_or_are_not_registered_get_nothing(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    unregistered = await a_client(wire, "unregistered", grants=(AUTHORIZATION_CODE,))
    for caller, status, error, rows in (
        (Party("nobody", "x"), 401, "invalid_client", []),
        (Party(agent.id, "wrong"), 401, "invalid_client", ["reason=invalid_client"]),
        (unregistered, 400, "unauthorized_client", ["reason=unauthorized_client"]),
    ):
        before = await ledger(wire)
        # What follows in the order is wrong, too.
        answer = await exchange(wire, caller, "x", subject_token_type="wrong", resource="unknown")
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        since = await recorded_since(wire, before)
        assert [row["detail"] for row in since.rows.values()] == rows
        assert since.counts == {error: 1}
    public = await wire.register(grant_types=["authorization_code"])
    answer = await wire.token(grant_type=TOKEN_EXCHANGE, subject_token="x", client_id=public["client_id"])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"] == 'Basic realm="authserver"'
    # Before anybody proved anything: nothing to exchange.
    before = await ledger(wire)
    answer = await exchange(wire, None, "", subject_token_type="wrong")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert answer.json()["error_description"].startswith("subject_token is required")
    since = await recorded_since(wire, before)
    assert (since.rows, since.counts) == ({}, {})


async def test_a_subject_that_was_revoked_or_may_not_act_is_refused(wire: Wire, now: int) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway")
    await a_resource(wire, "mail", "mail:read", may_exchange=[gateway, agent])
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    db = wire.core.db

    async def expect(reason: str, *, token: str = subject, **form: str) -> None:
        before = await ledger(wire)
        answer = await exchange(wire, gateway, token, resource="mail", **form)
        await check_denied(wire, answer, before, caller=gateway.id, status=400, error="invalid_grant", reason=reason)

    assert (await exchange(wire, gateway, subject, resource="mail")).status_code == 200
    await db.write(lambda tx: tx.execute("UPDATE users SET status = 'disabled'"))
    await expect("subject_inactive")
    await db.write(
        lambda tx: tx.execute("UPDATE clients SET status = $1 WHERE id = $2", ClientStatus.SUSPENDED, agent.id)
    )
    await expect("issuing_client_inactive")
    await db.write(lambda tx: tx.execute("UPDATE users SET status = 'active'"))
    await db.write(lambda tx: tx.execute("UPDATE clients SET status = $1", ClientStatus.ACTIVE))
    # The actor token alone is of a suspended client.
    third = await a_client(wire, "third")
    of_third = await user_token(wire, third, resource=None, scope="mail:read")
    await db.write(
        lambda tx: tx.execute("UPDATE clients SET status = $1 WHERE id = $2", ClientStatus.SUSPENDED, third.id)
    )
    await expect("actor_issuing_client_inactive", actor_token=of_third)
    revoke = f"UPDATE issuance_rows SET revoked_at = $1 WHERE client_number = {number_of('$2')}"
    await db.write(lambda tx: tx.execute(revoke, now, agent.id))
    await expect("subject_token_revoked")
    wire.clock.seconds += 900 + 30
    await expect("invalid_subject_token")


async def test_what_a_user_can_mend_says_how(wire: Wire) -> None:
    world = await a_world(wire)
    missing = (await exchange(wire, world.agent, world.identity, resource="open")).json()
    assert missing["cause"] == "consent_missing"
    assert missing["error_description"].startswith("Authorize access to open")
    assert missing["consent_url"].startswith("http://localhost:9000/authorize?resource=open&ticket=")
    more = (await exchange(wire, world.agent, world.identity, resource="mail", scope="mail:read mail:send")).json()
    assert more["cause"] == "scope_insufficient"
    assert more["consent_url"].startswith("http://localhost:9000/authorize?resource=mail&scope=mail%3Asend&ticket=")
    assert "mail:send" not in more["error_description"]
    attested = (await exchange(wire, world.gateway, world.identity, resource="lone", scope="X")).json()
    assert attested["consent_url"].startswith("http://localhost:9000/authorize?resource=gw&scope=X&ticket=")
    denied = (await exchange(wire, world.stranger, world.for_gw, resource="api")).json()
    assert not denied.keys() & {"consent_url", "cause"}
    assert "'gw'" in denied["error_description"]
    assert "'api'" in denied["error_description"]


async def test_a_fronted_broker_is_refused_in_the_words_of_that_path(wire: Wire) -> None:
    world = await a_world(wire)
    await exchange(wire, world.stranger, world.for_gw, resource="vault", scope="X")
    (row,) = (await ledger(wire)).rows.values()
    assert row["actor_id"] == wire.user.id
    assert row["detail"] == (
        f"sub={wire.user.id} subject_client={world.agent.id} actor_client={world.stranger.id} type=broker_dispatch"
        " resource=vault scopes=X chain_kind=fronted via_link=gw->vault target_kind=broker"
        " denied_reason=fronting_caller_not_authorized"
    )
    named = {word.partition("=")[0] for word in row["detail"].split()}
    assert named <= set(CATALOGUE[Action.TOKEN_EXCHANGE_DENIED].keys)


async def test_the_row_of_a_fronted_refusal_names_as_many_scopes_as_have_room(wire: Wire) -> None:
    world = await a_world(wire)
    await exchange(wire, world.stranger, world.for_gw, resource="vault", scope=" ".join(f"s{n}" for n in range(1000)))
    (row,) = (await ledger(wire)).rows.values()
    assert 'scopes="s0 s1 s2' in row["detail"]
    assert ' ..." chain_kind=fronted' in row["detail"]
    assert len(row["detail"]) < 1500
