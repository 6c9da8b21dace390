"""Every mutation of the admin API at one instance, and what another one on the same database shows of it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from e2e.harness.enterprise import Provider, enterprise
from e2e.harness.installation import Installation, postgres_database, sqlite_database
from e2e.harness.metadata_document import Authority
from e2e.harness.mutations.mutation import Case, Mutation
from e2e.harness.mutations.table import TABLE
from e2e.harness.mutations.world import World
from e2e.harness.processes import free_port
from e2e.test_enterprise import LABORATORY

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

# Two, and less, on a machine of one's own.
KNOWN_WITHIN_SECONDS = 60
REQUEST_SECONDS = 30
KEYS = "/admin/keys/"


@dataclass(kw_only=True)
class TwoProcesses(World):
    """Two server processes."""

    origins: tuple[str, str]
    provider: Provider
    _settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _begun: int = 0
    _settled: int = 0

    async def settle(self) -> None:
        """Wait for two polls of each instance: what was changed before the first is obeyed when the second was made.

        A poll reads all versions before it has anything read anew, and is over before the next one begins.
        """
        wanted = self._begun + 1
        async with self._settling:
            if self._settled >= wanted:
                return  # another caller waited for both meanwhile
            self._begun += 1
            for _ in range(2):
                marker = await self.new_resource()
                path = f"/.well-known/oauth-protected-resource/{marker.slug}"
                await asyncio.gather(*(self._until_known(http, path) for http in (self.here, self.there)))
            self._settled = self._begun

    async def _until_known(self, http: httpx2.AsyncClient, path: str) -> None:
        async with asyncio.timeout(KNOWN_WITHIN_SECONDS):
            while (await http.get(path)).status_code != 200:
                await self.pass_time()

    async def pass_time(self) -> None:
        await asyncio.sleep(0.1)

    def new_browser(self, *, there: bool = False) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.origins[there], timeout=REQUEST_SECONDS)

    def publish(self, path: str, document: Mapping[str, Any]) -> str:
        self.provider.documents[path] = dict(document)
        return f"{self.provider.issuer}{path}"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Installation]:
    """An installation on each database that reaches providers on this machine, with an admin listener."""
    directory: Path = tmp_path_factory.mktemp(f"instances-{request.param}")
    database = (
        sqlite_database(directory)
        if request.param == "sqlite"
        else postgres_database(request.getfixturevalue("postgres_dsn"))
    )
    extra = {
        "SSL_CERT_FILE": str(authority.bundle),
        "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_API_KEY": secrets.token_hex(16),
    }
    with database as named:
        yield Installation(directory, database=named, extra=extra, command=LABORATORY)


@pytest.fixture
async def world(installation: Installation, authority: Authority) -> AsyncIterator[TwoProcesses]:
    port, admin_ports = free_port(), (free_port(), free_port())
    listening = [{"AUTHPLANE_ADMIN_ADDRESS": f"127.0.0.1:{each}"} for each in admin_ports]
    key = installation.environment["AUTHPLANE_ADMIN_API_KEY"]
    async with AsyncExitStack() as opened:

        async def client(origin: str, **headers: str) -> httpx2.AsyncClient:
            http = httpx2.AsyncClient(base_url=origin, headers=headers, timeout=REQUEST_SECONDS)
            return await opened.enter_async_context(http)

        provider = opened.enter_context(enterprise(authority))
        opened.enter_context(installation.serve(environment=listening[0]))
        opened.enter_context(installation.serve(port=port, environment=listening[1]))
        there = f"http://127.0.0.1:{port}"
        world = TwoProcesses(
            issuer=installation.issuer,
            origins=(installation.issuer, there),
            admin=await client(f"http://127.0.0.1:{admin_ports[0]}", authorization=f"Bearer {key}"),
            here=await client(installation.issuer),
            there=await client(there),
            admin_there=await client(f"http://127.0.0.1:{admin_ports[1]}"),
            provider=provider,
        )
        await world.set_up()
        yield world
        await world.close()


async def prepared(world: TwoProcesses) -> list[tuple[Mutation, Case]]:
    """Prepare all mutations that somebody sees something of."""
    shown = [mutation for mutation in TABLE if mutation.is_shown]
    first = [mutation for mutation in shown if mutation.is_first]
    others = [mutation for mutation in shown if not mutation.is_first]
    cases = [await mutation.prepare(world) for mutation in first]
    cases += await asyncio.gather(*(mutation.prepare(world) for mutation in others))
    return list(zip([*first, *others], cases, strict=True))


async def shows(case: Case, answer: Any) -> bool:
    assert case.effect is not None
    return await case.effect(answer)


async def eventually_shows(world: TwoProcesses, case: Case, answer: Any) -> bool:
    async with asyncio.timeout(KNOWN_WITHIN_SECONDS):
        while not await shows(case, answer):
            await world.pass_time()
    return True


async def test_what_is_changed_at_one_instance_is_obeyed_by_the_other(world: TwoProcesses) -> None:
    cases = await prepared(world)
    await world.settle()
    early = [mutation.name for mutation, case in cases if not case.is_new and await shows(case, None)]
    assert early == []

    answers, late = [], []
    for mutation, case in cases:
        answer = await world.do(mutation.method, case.path, case.body, **(case.query or {}))
        answers.append(answer)
        if case.at_once and not await shows(case, answer):
            late.append(mutation.name)
    assert late == [], "what no process holds in memory is obeyed at the next request"

    await world.settle()
    for (mutation, case), answer in zip(cases, answers, strict=True):
        # Keys that take long to be read are read beside the poll.
        is_shown = eventually_shows(world, case, answer) if KEYS in case.path else shows(case, answer)
        if not await is_shown:
            late.append(mutation.name)
    assert late == [], "what is held in memory is obeyed at the first poll after it was changed"
