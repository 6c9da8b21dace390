"""Every mutation of the admin API: its audit rows, its effect in another instance, and what it gives when sent again.

Two instances stand on one database. What the second one holds in memory follows at its next poll of ``changes``, one a
second: a test polls once, so that no clock decides.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import pytest

from authserver.admin.api.table import TABLE as ENDPOINTS
from authserver.app import Server, build_server
from authserver.audit.trail import AuditTrail
from authserver.config.model import Config
from authserver.core import Clock, open_core, open_keys
from authserver.outbound.client import OutboundClient
from authserver.storage.changes import POLL_SECONDS
from e2e.harness.mutations.mutation import Again, Case, Mutation
from e2e.harness.mutations.table import TABLE
from e2e.harness.mutations.world import World, unique
from server.tests.fakes.document_server import Answer
from server.tests.fakes.identity_provider import JSON, IdentityProvider
from server.tests.web.direct import DirectTransport
from server.tests.wire.exchanging import a_broker_resource
from server.tests.wire.harness import ISSUER, Wire
from server.tests.wire.operating import API_KEY, PEER, an_admin

pytestmark = pytest.mark.anyio

PERSON = "192.0.2.9"
Told = tuple[str, str, str, str, str]


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@dataclass(kw_only=True)
class InProcess(World):
    """Two instances in this process; mutations come from an operator whose name stands in the trail."""

    wire: Wire
    other: Server
    other_trail: AuditTrail
    provider: IdentityProvider
    ada: tuple[httpx2.AsyncClient, httpx2.AsyncClient]

    def now(self) -> int:
        return int(self.wire.clock.seconds)

    async def settle(self) -> None:
        await self.wire.server.watcher.poll()
        await self.other.watcher.poll()

    async def pass_time(self) -> None:
        self.wire.clock.seconds += 1

    def new_browser(self, *, there: bool = False) -> httpx2.AsyncClient:
        transport = DirectTransport((self.other if there else self.wire.server).public, peer=PERSON)
        return httpx2.AsyncClient(transport=transport, base_url=ISSUER)

    def publish(self, path: str, document: Mapping[str, Any]) -> str:
        self.provider.web.answers[path] = Answer(body=orjson.dumps(document), headers=JSON)
        return f"{self.provider.issuer}{path}"

    async def broker_resource(self) -> str:
        return (await a_broker_resource(self.wire, unique("broker"))).slug

    async def ask(self, mutation: Mutation, case: Case, *, at: int = 0) -> httpx2.Response:
        """Send the request to one of the instances."""
        answer = await self.ada[at].request(mutation.method, case.path, json=case.body, params=case.query)
        assert answer.status_code < 500, answer.text
        return answer

    async def trail(self) -> list[Told]:
        """Return all audit rows."""
        await self.wire.core.trail.flush()
        await self.other_trail.flush()
        names = ("action", "client_id", "detail", "actor_id", "ip")
        rows = await self.wire.core.db.fetch_all(f"SELECT {', '.join(names)} FROM audit_events ORDER BY id")
        return [(row["action"], row["client_id"], row["detail"], row["actor_id"], row["ip"]) for row in rows]


@pytest.fixture
async def world(
    wire: Wire, config: Config, provided: tuple[IdentityProvider, OutboundClient]
) -> AsyncIterator[InProcess]:
    core = await open_core(config, clock=Clock(milliseconds=wire.clock.milliseconds), migrate=False, http=provided[1])
    keyring = await open_keys(config, now=wire.clock.seconds, core=core)
    other = await build_server(core, keyring)
    await other.watcher.start()

    async with AsyncExitStack() as opened:

        async def client(app: Any, key: str | None = None, peer: str = PEER) -> httpx2.AsyncClient:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            transport = DirectTransport(app, peer=peer)
            return await opened.enter_async_context(
                httpx2.AsyncClient(transport=transport, base_url=ISSUER, headers=headers)
            )

        async with an_admin(wire) as admin:
            key = (await admin.do("POST", "/admin/operators", expect=201, body={"name": "ada", "role": "owner"}))["key"]
        world = InProcess(
            issuer=ISSUER,
            admin=await client(wire.server.admin, API_KEY),
            here=await client(wire.server.public, peer=PERSON),
            there=await client(other.public, peer=PERSON),
            admin_there=await client(other.admin),
            wire=wire,
            other=other,
            other_trail=core.trail,
            provider=provided[0],
            ada=(await client(wire.server.admin, key), await client(other.admin, key)),
        )
        await world.set_up()
        yield world
        await world.close()
    await other.traces.close()
    await keyring.close()
    await core.db.close()


def body_of(answer: httpx2.Response) -> Any:
    return answer.json() if answer.content else None


def told(case: Case, answer: httpx2.Response) -> list[Told]:
    """Return the rows that a success must write."""
    return [(*row, "ada", PEER) for row in case.rows(body_of(answer))]


def test_the_table_names_every_mutation_of_the_api_and_nothing_else() -> None:
    there = {f"{entry.method} {entry.path}" for entry in ENDPOINTS if entry.method != "GET"}
    assert {mutation.endpoint for mutation in TABLE} == there


def test_instances_ask_for_changes_often_enough_to_obey_within_two_seconds() -> None:
    assert POLL_SECONDS <= 1


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
async def test_it_is_recorded_obeyed_by_the_other_instance_and_not_done_twice(
    world: InProcess, mutation: Mutation
) -> None:
    case = await mutation.prepare(world)
    assert (case.effect is not None) == mutation.is_shown
    await world.settle()
    if case.effect is not None and not case.is_new:
        assert not await case.effect(None)
    before = await world.trail()

    answer = await world.ask(mutation, case)
    assert answer.is_success, answer.text
    expected = [*before, *told(case, answer)]
    assert sorted(await world.trail()) == sorted(expected)

    if case.effect is not None:
        if not case.at_once:
            await world.other.watcher.poll()
        assert await case.effect(body_of(answer))

    before = await world.trail()
    again = await world.ask(mutation, case)
    if mutation.again is Again.ANEW:
        assert again.status_code == answer.status_code, again.text
        before += told(case, again)
    elif mutation.again is Again.SAME:
        assert (again.status_code, body_of(again)) == (answer.status_code, body_of(answer))
    else:
        assert again.status_code == mutation.again, again.text
        assert again.headers["content-type"] == "application/problem+json"
    assert sorted(await world.trail()) == sorted(before)


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
async def test_sent_several_times_at_once_it_has_one_effect(world: InProcess, mutation: Mutation) -> None:
    case = await mutation.prepare(world)
    await world.settle()
    before = await world.trail()

    answers = await asyncio.gather(*(world.ask(mutation, case, at=n % 2) for n in range(4)))
    done = [answer for answer in answers if answer.is_success]
    refused = {answer.status_code for answer in answers if not answer.is_success}
    assert done, [answer.text for answer in answers]
    # Whoever changes what somebody else is changing may be told so.
    assert refused <= {409, mutation.again}, [answer.text for answer in answers]
    if mutation.again is Again.ANEW:
        expected = [row for answer in done for row in told(case, answer)]
    elif mutation.again is Again.SAME:
        assert len({answer.content for answer in done}) == 1, [answer.text for answer in answers]
        expected = told(case, done[0])
    else:
        assert len(done) == 1, [answer.text for answer in answers]
        expected = told(case, done[0])
    written = Counter(await world.trail()) - Counter(before)
    assert written == Counter(expected)

    if case.effect is not None:
        await world.settle()
        assert any([await case.effect(body_of(answer)) for answer in done])
