"""Two instances on one database in this process, as the world of the mutations of the admin API."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from authserver.app import Server, build_server
from authserver.audit.trail import AuditTrail
from authserver.config.model import Config
from authserver.core import Clock, open_core, open_keys
from authserver.outbound.client import OutboundClient
from e2e.harness.mutations.mutation import Case, Mutation
from e2e.harness.mutations.world import World
from server.tests.fakes.document_server import Answer
from server.tests.fakes.identity_provider import JSON, IdentityProvider
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import ISSUER, Wire
from server.tests.wire.operating import API_KEY, PEER, an_admin

PERSON = "192.0.2.9"
Told = tuple[str, str, str, str, str]


@dataclass(kw_only=True)
class InProcess(World):
    """Two instances in this process.

    Attributes:
        ada: An owner at both, whose name stands in the trail.
        eve: Somebody at the first who may only look.
    """

    wire: Wire
    other: Server
    other_trail: AuditTrail
    provider: IdentityProvider
    ada: tuple[httpx2.AsyncClient, httpx2.AsyncClient]
    eve: httpx2.AsyncClient

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


@asynccontextmanager
async def two_instances(
    wire: Wire, config: Config, provided: tuple[IdentityProvider, OutboundClient]
) -> AsyncIterator[InProcess]:
    """Put a second instance beside the one under test; what both fetch is a provider's on loopback."""
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

        async def key_of(name: str, role: str) -> str:
            async with an_admin(wire) as admin:
                created = await admin.do("POST", "/admin/operators", expect=201, body={"name": name, "role": role})
            return str(created["key"])

        key = await key_of("ada", "owner")
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
            eve=await client(wire.server.admin, await key_of("eve", "read-only")),
        )
        await world.set_up()
        yield world
        await world.close()
    await other.traces.close()
    await keyring.close()
    await core.db.close()
