"""Every mutation of the admin API: its audit rows, its effect in another instance, and what it gives when sent again.

Two instances stand on one database. What the second one holds in memory follows at its next poll of ``changes``, one a
second: a test polls once, so that no clock decides.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from authserver.admin.api.table import TABLE as ENDPOINTS
from authserver.admin.records import Role
from authserver.config.model import Config
from authserver.config.sections.storage import AesMasterConfig, DataEncryptionConfig
from authserver.outbound.client import OutboundClient
from authserver.storage.changes import POLL_SECONDS
from e2e.harness.mutations.mutation import Again, Case, Mutation
from e2e.harness.mutations.table import TABLE
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.wire.harness import Wire
from server.tests.wire.operating import PEER
from server.tests.wire.two_instances import InProcess, Told, two_instances

pytestmark = pytest.mark.anyio

KEY_VARIABLE = "AUTHPLANE_TEST_MASTER_KEY"


@pytest.fixture
def config(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """With something that encrypts credentials."""
    monkeypatch.setenv(KEY_VARIABLE, "5e" * 32)
    encryption = DataEncryptionConfig(driver="aes_master", aes_master=AesMasterConfig(key_env=KEY_VARIABLE))
    return replace(config, data_encryption=encryption)


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@pytest.fixture
async def world(
    wire: Wire, config: Config, provided: tuple[IdentityProvider, OutboundClient]
) -> AsyncIterator[InProcess]:
    async with two_instances(wire, config, provided) as world:
        yield world


ROLES = {f"{entry.method} {entry.path}": entry.role for entry in ENDPOINTS}


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
    if ROLES[mutation.endpoint] > Role.READ_ONLY:
        refused = await world.eve.request(mutation.method, case.path, json=case.body, params=case.query)
        assert refused.status_code == 403, refused.text
        assert await world.trail() == before

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
