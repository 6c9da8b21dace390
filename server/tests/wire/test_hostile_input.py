"""What nobody would send: every endpoint of both documents, with bodies and parameters made from their schemas."""

import asyncio
from dataclasses import replace

import pytest

from authserver.admin.api.table import TABLE
from authserver.admin.openapi import build_document
from authserver.broker.administration import ProviderDraft
from authserver.config.model import Config
from authserver.discovery.openapi import OPERATIONS
from server.tests.web.test_run import running
from server.tests.wire.harness import Wire
from server.tests.wire.hostile_input import ENDLESS, send_everything
from server.tests.wire.operating import API_KEY

# They make the requests of a hundred endpoints, beside whatever else runs.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, server=replace(config.server, openapi=True))


async def test_operators_are_answered_as_their_document_says_whatever_they_send(wire: Wire) -> None:
    provider = await wire.core.broker_providers.create(
        ProviderDraft(slug="search", display_name="Search", protocol="api_key"), now=wire.clock.seconds
    )
    known = {
        "/admin/users/": {"id": wire.user.id},
        "/admin/clients/": {"id": wire.runtime.client.id},
        "/admin/broker-providers/": {"id": provider.id},
        "/admin/resources/": {"id": wire.resource.id, "slug": wire.resource.slug},
    }
    document, headers = build_document(TABLE, version="0"), {"authorization": f"Bearer {API_KEY}"}
    async with running(wire.server.admin) as listener:
        tried = await asyncio.to_thread(send_everything, document, listener.port, known, headers)
    assert len(tried) == len(TABLE) - len(ENDLESS)


async def test_everybody_is_answered_as_the_public_document_says_whatever_they_send(wire: Wire) -> None:
    document = (await wire.http.get("/openapi.json")).json()
    async with running(wire.server.public) as listener:
        tried = await asyncio.to_thread(send_everything, document, listener.port, {}, {})
    assert len(tried) == len(OPERATIONS)


async def test_the_public_document_names_every_route(wire: Wire) -> None:
    document = (await wire.http.get("/openapi.json")).json()
    routes = wire.server.public._routes
    targets = [*routes._exact.values(), *(target for _, target in routes._prefixes)]
    served = {(method, target.template) for target in targets for method in target.endpoints if method != "HEAD"}
    named = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert served - {("GET", "/openapi.json")} == named
