"""Our own server has nothing for the doctor to name: alone, with a path, and behind an MCP server."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from authserver.clients.administration import NewClient
from authserver.config.model import Config
from authserver.config.sections.listeners import ServerConfig
from authserver.doctor.diagnosing import Diagnosis, Kind, diagnose
from authserver.doctor.reporting import as_words
from authserver.outbound.client import OutboundClient
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, ResourceScope
from server.tests.doctor.laboratory import Answer, Handler, Request, laboratory, serving
from server.tests.web.direct import call
from server.tests.wire.harness import Wire

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_target", ["sqlite"], indirect=True)]


@pytest.fixture(scope="session")
def now() -> int:
    """The machine's time: the edge dates its answers by it."""
    return int(time.time())


@pytest.fixture
async def front() -> AsyncIterator[tuple[int, dict[str, Handler]]]:
    """A port that is served by what is put behind it."""
    behind: dict[str, Handler] = {}

    async def pass_on(request: Request) -> Answer:
        return await behind["server"](request)

    async with serving(pass_on) as port:
        yield port, behind


@pytest.fixture(params=["", "/auth/mcp"])
def config(config: Config, front: tuple[int, dict[str, Handler]], request: pytest.FixtureRequest) -> Config:
    return replace(config, server=ServerConfig(issuer=f"http://127.0.0.1:{front[0]}{request.param}"))


@pytest.fixture
def issuer(wire: Wire, front: tuple[int, dict[str, Handler]]) -> str:
    """Our server, reachable. A proxy in front of it takes the issuer's path off, as deployments do."""
    issuer = wire.core.config.server.issuer
    path = urlsplit(issuer).path

    async def forward(request: Request) -> Answer:
        target = request.path.removeprefix(path) if path and request.path.startswith(f"{path}/") else request.path
        answer = await call(
            wire.server.public, request.method, target, headers=request.headers, parts=(request.body,), peer="127.0.0.1"
        )
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        return Answer(answer.status, answer.body, headers)

    front[1]["server"] = forward
    return issuer


async def examine(url: str, token: str | None = None) -> Diagnosis:
    return await diagnose(url, http=OutboundClient(), clock=lambda: int(time.time()), token=token, timeout=60)


async def test_the_issuer_is_healthy(issuer: str) -> None:
    diagnosis = await examine(issuer)
    assert diagnosis.findings == (), as_words(diagnosis)
    assert diagnosis.kind is Kind.ISSUER


async def test_an_mcp_server_with_our_tokens_is_healthy(issuer: str, wire: Wire, now: int) -> None:
    async with laboratory() as setup:
        await wire.core.resources.create_resource(
            ResourceDraft(
                slug="lab",
                backend_kind=BackendKind.MINT,
                uri=setup.mcp_url,
                display_name="Laboratory",
                scopes=(ResourceScope(name="notes:read", description="Read"),),
            ),
            now=now,
        )
        machine = await wire.core.clients.create(
            NewClient(
                name="machine",
                grant_types=("client_credentials",),
                redirect_uris=(),
                auth_method="client_secret_post",
                scope="notes:read",
            ),
            now=now,
        )
        form = {"grant_type": "client_credentials", "client_id": machine.client.id, "resource": setup.mcp_url}
        granted = await wire.token(**form, client_secret=machine.client_secret)
        assert granted.status_code == 200, granted.text
        setup.issuer, setup.prm["authorization_servers"] = issuer, [issuer]
        key = wire.keyring.current(now).public
        setup.named_keys = {key.kid: key}
        diagnosis = await examine(setup.mcp_url, granted.json()["access_token"])
    assert diagnosis.findings == (), as_words(diagnosis)
    assert diagnosis.kind is Kind.MCP
