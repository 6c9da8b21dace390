"""The whole server in process, over both databases, with a clock that tests move."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.app import build_server
from authserver.clients.administration import NewClient
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.clients import CimdConfig
from authserver.config.sections.listeners import AdminConfig, RateLimitConfig, ServerConfig, SessionConfig
from authserver.config.sections.storage import PostgresConfig, SigningConfig, SqliteConfig, StorageConfig
from authserver.core import Clock, open_core, open_keys
from authserver.outbound.client import OutboundClient
from authserver.protocol.identifiers import new_public_id
from authserver.resources.administration import ResourceDraft
from authserver.resources.policy_lists import PolicyList
from authserver.resources.records import BackendKind, ResourceScope
from authserver.telemetry import logs
from authserver.telemetry.logs import configure_logging
from authserver.users.passwords import Passwords
from server.tests.fakes.identity_provider import IdentityProvider, identity_provider
from server.tests.fakes.proving_client import ProvingClient
from server.tests.login.builders import a_user, insert
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import EMAIL, ISSUER, PASSWORD, Wire
from server.tests.wire.operating import API_KEY, Admin, an_admin
from server.tests.wire.proving import TOKEN_URL
from server.tests.wire.xaa import Enterprise, found


@dataclass(slots=True)
class MovableClock:
    """The time of a test."""

    seconds: int

    def milliseconds(self) -> int:
        return self.seconds * 1000


@pytest.fixture
def config(database_target: str, tmp_path: Path) -> Config:
    """The configuration of the server under test; a test that wants another overrides this fixture."""
    is_postgres = "://" in database_target
    storage = StorageConfig(
        driver="postgres" if is_postgres else "sqlite",
        sqlite=SqliteConfig(path=database_target),
        postgres=PostgresConfig(dsn=Secret(database_target if is_postgres else ""), min_conns=0, max_conns=5),
    )
    return replace(
        Config(),
        server=ServerConfig(issuer=ISSUER),
        storage=storage,
        signing=SigningConfig(key_path=str(tmp_path / "keys")),
        session=SessionConfig(secret=Secret("a secret of the tests, long enough")),
        rate_limit=RateLimitConfig(enabled=False),
        admin=AdminConfig(api_key=Secret(API_KEY)),
        cimd=CimdConfig(require_https=False, allow_private_addresses=True),
    )


@pytest.fixture
async def provided(tmp_path: Path) -> AsyncIterator[tuple[IdentityProvider, OutboundClient]]:
    """An enterprise identity provider on loopback, and a client that reaches and trusts it."""
    async with identity_provider(tmp_path, ISSUER) as both:
        yield both


@pytest.fixture
async def acme(wire: Wire, provided: tuple[IdentityProvider, OutboundClient]) -> Enterprise:
    """The provider, trusted, with a client and a policy; the server reaches it in modules that override ``outbound``."""
    return await found(wire, provided[0])


@pytest.fixture(scope="session")
def password_hash() -> str:
    """The user's, at today's cost, derived once for all tests."""
    return asyncio.run(Passwords().hash(PASSWORD))


@pytest.fixture
def outbound() -> OutboundClient | None:
    """What the server fetches with; a test whose servers stand on loopback overrides this fixture."""
    return None


@pytest.fixture
async def wire(config: Config, now: int, outbound: OutboundClient | None, password_hash: str) -> AsyncIterator[Wire]:
    """The server with a user, a Resource and its runtime client, and a browser that nobody has signed in yet."""
    clock = MovableClock(now)
    core = await open_core(config, clock=Clock(milliseconds=clock.milliseconds), migrate=False, http=outbound)
    await core.mode.refresh()
    user = a_user(
        id=new_public_id(), email=EMAIL, name="Ada", password_hash=password_hash, created_at=now, updated_at=now
    )
    await insert(core.db, user)
    resource = await core.resources.create_resource(
        ResourceDraft(
            slug="notes",
            backend_kind=BackendKind.MINT,
            uri="https://mcp.example.com/mcp",
            display_name="Notes",
            scopes=(
                ResourceScope(name="notes:read", description="Read your notes"),
                ResourceScope(name="notes:write", description="Change your notes"),
            ),
        ),
        now=now,
    )
    runtime = await core.clients.create(
        NewClient(
            name="notes server",
            grant_types=("authorization_code",),
            redirect_uris=("https://mcp.example.com/cb",),
            auth_method="client_secret_basic",
        ),
        now=now,
    )
    keyring = await open_keys(config, now=now, core=core)
    await core.policy_lists.add(PolicyList.RUNTIME_CLIENTS, "notes", runtime.client.id, now=now)
    server = await build_server(core, keyring)
    async with Wire(
        server=server, core=core, keyring=keyring, clock=clock, user=user, resource=resource, runtime=runtime
    ) as wire:
        yield wire
    await server.traces.close()
    await keyring.close()
    await core.db.close()


@pytest.fixture
def prover() -> ProvingClient:
    """Proves at the token endpoint that it has a key."""
    return ProvingClient(url=TOKEN_URL)


@pytest.fixture
def other() -> ProvingClient:
    """The same with another key."""
    return ProvingClient(url=TOKEN_URL, key=ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
async def second(wire: Wire, config: Config) -> AsyncIterator[httpx2.AsyncClient]:
    """Another instance on the same database, with the same secret."""
    core = await open_core(config, clock=Clock(milliseconds=wire.clock.milliseconds), migrate=False)
    server = await build_server(core, wire.keyring)
    transport = DirectTransport(server.public, peer="192.0.2.8")
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
        yield http
    await server.traces.close()
    await core.db.close()


@pytest.fixture
async def admin(wire: Wire) -> AsyncIterator[Admin]:
    """The built-in owner at the admin listener."""
    async with an_admin(wire) as admin:
        yield admin


@pytest.fixture
def logged() -> Iterator[io.BytesIO]:
    """What the server logs, everything included."""
    handlers, level = logging.root.handlers[:], logging.root.level
    before = vars(logs._output).copy()
    stream = io.BytesIO()
    configure_logging(level="debug", stream=stream)
    yield stream
    vars(logs._output).clear()
    vars(logs._output).update(before)
    logging.root.handlers, logging.root.level = handlers, level
