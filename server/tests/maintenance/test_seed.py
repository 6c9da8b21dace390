import asyncio
from dataclasses import replace

import pytest

from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.config.sections.clients import PolicySeed, ResourceSeed, RuntimePolicySeed, ScopeSeed
from authserver.maintenance.seed import SeedError, seed_resources
from authserver.resources.administration import ResourceAdministration
from authserver.resources.records import ResourceScope
from authserver.resources.store import list_resources
from authserver.storage.database import Database, Reader

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
SEED = ResourceSeed(
    slug="files",
    uri="https://files.example/mcp",
    backend_kind="mint",
    display_name="Files",
    description="not stored",
    scopes=(ScopeSeed(name="read", description="Read files"),),
    policy=PolicySeed(runtime=RuntimePolicySeed(client_ids=("client",))),
)


async def _client_exists(_db: Reader, client_id: str) -> bool:
    return client_id == "client"


@pytest.fixture
def resources(db: Database) -> ResourceAdministration:
    return ResourceAdministration(db, AuditTrail(db, lambda: NOW * 1000), _client_exists)


async def test_an_entry_becomes_a_row_once(db: Database, resources: ResourceAdministration) -> None:
    (created,) = await seed_resources(db, resources, [SEED], now=NOW)

    assert (created.slug, created.uri, created.display_name) == ("files", "https://files.example/mcp", "Files")
    assert created.scopes == (ResourceScope(name="read", description="Read files"),)
    assert created.policy.runtime_client_ids == ("client",)
    (event,) = await list_events(db, limit=5)
    assert (event.action, event.actor_id, event.ip) == ("resource.created", "admin", "")


async def test_a_row_of_the_same_slug_is_left_as_it_is(db: Database, resources: ResourceAdministration) -> None:
    created = await seed_resources(db, resources, [SEED], now=NOW)

    changed = replace(SEED, slug="FILES", uri="https://elsewhere.example", backend_kind="nonsense")
    assert await seed_resources(db, resources, [changed, SEED], now=NOW + 1) == []
    assert await list_resources(db, limit=5) == created


async def test_several_instances_seed_one_row(db: Database, resources: ResourceAdministration) -> None:
    created = await asyncio.gather(*(seed_resources(db, resources, [SEED], now=NOW) for _ in range(5)))

    assert sum(map(len, created)) == 1
    assert len(await list_resources(db, limit=5)) == 1


async def test_an_entry_that_breaks_a_rule_stops_the_boot_and_is_named(
    db: Database, resources: ResourceAdministration
) -> None:
    with pytest.raises(SeedError, match=r'resources\[1\] \(slug "docs"\): uri must be'):
        await seed_resources(db, resources, [SEED, replace(SEED, slug="docs", uri="docs.example")], now=NOW)
