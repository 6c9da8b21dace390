"""What the tests of token exchange share: clients, resources, tokens of a user, and what a refusal must look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from authserver.broker.administration import ProviderDraft
from authserver.broker.records import BrokerProtocol
from authserver.clients.administration import NewClient
from authserver.protocol.grant_types import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, Resource, ResourcePolicy, ResourceScope
from authserver.telemetry.metrics import REGISTRY
from server.tests.wire.harness import REDIRECT, Answer, Wire

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


@dataclass(frozen=True)
class Party:
    """A confidential client."""

    id: str
    secret: str


async def a_client(
    wire: Wire,
    name: str,
    *,
    grants: Sequence[str] = (AUTHORIZATION_CODE, TOKEN_EXCHANGE),
    is_agent: bool = False,
) -> Party:
    """Register a confidential client that may exchange tokens."""
    registered = await wire.core.clients.create(
        NewClient(
            name=name,
            grant_types=grants,
            redirect_uris=(REDIRECT,),
            auth_method="client_secret_basic",
            is_agent=is_agent,
        ),
        now=wire.clock.seconds,
    )
    return Party(registered.client.id, registered.client_secret or "")


async def a_resource(
    wire: Wire,
    slug: str,
    *scopes: str,
    uri: str | None = None,
    may_exchange: Sequence[Party] = (),
    runtime: Sequence[Party] = (),
) -> Resource:
    """Register a Mint Resource."""
    resource = await wire.core.resources.create_resource(
        ResourceDraft(
            slug=slug,
            backend_kind=BackendKind.MINT,
            uri=f"https://{slug}.example.com" if uri is None else uri,
            scopes=tuple(ResourceScope(name=scope) for scope in scopes),
            policy=_policy(may_exchange, runtime),
        ),
        now=wire.clock.seconds,
    )
    await wire.server.watcher.poll()
    return resource


async def a_broker_resource(
    wire: Wire, slug: str, *scopes: str, may_exchange: Sequence[Party] = (), runtime: Sequence[Party] = ()
) -> Resource:
    """Register a Broker Resource, with a provider of its own."""
    now = wire.clock.seconds
    provider = await wire.core.broker_providers.create(
        ProviderDraft(slug=slug, display_name=slug, protocol=BrokerProtocol.OAUTH), now=now
    )
    resource = await wire.core.resources.create_resource(
        ResourceDraft(
            slug=slug,
            backend_kind=BackendKind.BROKER,
            broker_provider_id=provider.id,
            uri=f"https://{slug}.example.com",
            scopes=tuple(ResourceScope(name=scope) for scope in scopes),
            policy=_policy(may_exchange, runtime),
        ),
        now=now,
    )
    await wire.server.watcher.poll()
    return resource


def _policy(may_exchange: Sequence[Party], runtime: Sequence[Party]) -> ResourcePolicy:
    return ResourcePolicy(
        exchange_allowed_client_ids=tuple(party.id for party in may_exchange),
        runtime_client_ids=tuple(party.id for party in runtime),
    )


async def a_link(wire: Wire, source: str, target: str, scope_map: dict[str, tuple[str, ...]]) -> None:
    """Declare a fronting link."""
    await wire.core.fronting.create(source, target, scope_map, now=wire.clock.seconds)
    await wire.server.watcher.poll()


async def user_token(wire: Wire, party: Party, *, resource: str | None, scope: str | None = None) -> str:
    """Have the user allow a client, and redeem the code."""
    code = await wire.code(party.id, resource=resource, scope=scope)
    answer = await wire.redeem(party.id, code, client_secret=party.secret)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def exchange(
    wire: Wire, party: Party | None, subject_token: str | None, **form: str | list[str] | None
) -> Answer:
    """Ask for an exchange; None leaves a parameter out."""
    base: dict[str, str | list[str] | None] = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject_token,
        "subject_token_type": ACCESS_TOKEN,
    }
    sent = {name: value for name, value in (base | form).items() if value is not None}
    if party is None:
        return await wire.http.post("/oauth/token", data=sent)
    return await wire.http.post("/oauth/token", data=sent, auth=(party.id, party.secret))


async def exchanged(wire: Wire, party: Party, subject_token: str, **form: str | list[str] | None) -> dict[str, Any]:
    """Exchange, and expect success."""
    answer = await exchange(wire, party, subject_token, **form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


async def machine_token(wire: Wire, party: Party, **form: str) -> str:
    """Have a client ask for a token for itself."""
    answer = await wire.http.post(
        "/oauth/token", data={"grant_type": CLIENT_CREDENTIALS, **form}, auth=(party.id, party.secret)
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def denials(reason: str) -> float:
    """Return how often exchanges were refused for a reason."""
    name = "authplane_token_exchange_denied_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


def all_denials() -> dict[str, float]:
    """Return how often exchanges were refused, by reason."""
    # Alone: with all that other tests of the process have counted, collecting everything takes a while.
    family = REGISTRY.restricted_registry(["authplane_token_exchange_denied_total"])
    return {sample.labels["reason"]: sample.value for metric in family.collect() for sample in metric.samples}


@dataclass(frozen=True)
class Ledger:
    """What was recorded of refused exchanges up to a moment.

    Attributes:
        rows: The audit rows, by their reference.
        counts: How often exchanges were refused, by reason.
    """

    rows: dict[str, dict[str, str]]
    counts: dict[str, float]


async def ledger(wire: Wire) -> Ledger:
    """Return what is recorded by now."""
    rows = await wire.core.db.fetch_all(
        "SELECT actor_id, client_id, detail, reference FROM audit_events WHERE action = 'token.exchange_denied'"
    )
    names = ("actor_id", "client_id", "detail")
    return Ledger({row["reference"]: {name: row[name] for name in names} for row in rows}, all_denials())


async def recorded_since(wire: Wire, before: Ledger) -> Ledger:
    """Return what was recorded since a moment."""
    now = await ledger(wire)
    rows = {reference: row for reference, row in now.rows.items() if reference not in before.rows}
    counts = {reason: value - before.counts.get(reason, 0) for reason, value in now.counts.items()}
    return Ledger(rows, {reason: value for reason, value in counts.items() if value})


async def check_denied(
    wire: Wire, answer: Answer, before: Ledger, *, caller: str, status: int, error: str, reason: str
) -> None:
    """Check a refusal: the answer, its one audit row and its one count."""
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, error), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert body.keys() >= {"error", "error_description", "type", "title", "detail", "status", "reference"}
    since = await recorded_since(wire, before)
    assert list(since.rows) == [body["reference"]], (reason, since)
    row = since.rows[body["reference"]]
    assert row["client_id"] == caller
    assert row["detail"].rpartition("reason=")[2] == reason
    assert since.counts == {reason: 1}
