import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.broker.administration import BrokerProviderAdministration
from authserver.broker.records import BrokerProvider
from authserver.broker.store import hold_provider, list_providers
from authserver.config.sections.clients import (
    BrokerProviderSeed,
    ConnectPolicySeed,
    PolicySeed,
    ResourceSeed,
    RuntimePolicySeed,
    ScopeSeed,
)
from authserver.maintenance.seed import SeedError, seed_providers, seed_resources
from authserver.resources.administration import ResourceAdministration
from authserver.resources.records import Resource, ResourceScope
from authserver.resources.store import list_resources
from authserver.storage.database import Database, Reader, Writer

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


async def _provider_held(tx: Writer, provider_id: str) -> bool:
    return await hold_provider(tx, provider_id) is not None


@dataclass(frozen=True)
class Seeder:
    """A server that starts, with or without something that encrypts."""

    db: Database
    resources: ResourceAdministration
    providers: BrokerProviderAdministration

    async def seed(self, *seeds: ResourceSeed, now: int = NOW) -> list[Resource]:
        return await seed_resources(self.db, self.resources, self.providers, seeds, now=now)

    async def seed_providers(self, *seeds: BrokerProviderSeed) -> list[BrokerProvider]:
        return await seed_providers(self.db, self.providers, seeds, now=NOW)


@pytest.fixture
def seeder(db: Database) -> Seeder:
    trail = AuditTrail(db, lambda: NOW * 1000)
    return Seeder(
        db=db,
        resources=ResourceAdministration(db, trail, _client_exists, _provider_held),
        providers=BrokerProviderAdministration(db=db, trail=trail, encryptor=None),
    )


async def test_an_entry_becomes_a_row_once(db: Database, seeder: Seeder) -> None:
    (created,) = await seeder.seed(SEED)

    assert (created.slug, created.uri, created.display_name) == ("files", "https://files.example/mcp", "Files")
    assert created.scopes == (ResourceScope(name="read", description="Read files"),)
    assert created.policy.runtime_client_ids == ("client",)
    (event,) = await list_events(db, limit=5)
    assert (event.action, event.actor_id, event.ip) == ("resource.created", "admin", "")


async def test_a_row_of_the_same_slug_is_left_as_it_is(db: Database, seeder: Seeder) -> None:
    created = await seeder.seed(SEED)

    changed = replace(SEED, slug="FILES", uri="https://elsewhere.example", backend_kind="nonsense")
    assert await seeder.seed(changed, SEED, now=NOW + 1) == []
    assert await list_resources(db, limit=5) == created


async def test_several_instances_seed_one_row(db: Database, seeder: Seeder) -> None:
    created = await asyncio.gather(*(seeder.seed(SEED) for _ in range(5)))

    assert sum(map(len, created)) == 1
    assert len(await list_resources(db, limit=5)) == 1


async def test_an_entry_that_breaks_a_rule_stops_the_boot_and_is_named(
    seeder: Seeder,
) -> None:
    with pytest.raises(SeedError, match=r'resources\[1\] \(slug "docs"\): uri must be'):
        await seeder.seed(SEED, replace(SEED, slug="docs", uri="docs.example"))


PROVIDER = BrokerProviderSeed(
    slug="GitHub", display_name="GitHub", protocol="oauth", config_data={"client_secret_ref": "CONNECTOR_GITHUB"}
)
UPSTREAM = ResourceSeed(
    slug="repos",
    backend_kind="broker",
    broker_provider_slug="github",
    policy=PolicySeed(connect=ConnectPolicySeed(allowed_return_urls=("https://app.example",))),
)


async def test_a_provider_becomes_a_row_once_and_a_resource_may_name_it_by_its_slug(
    db: Database, seeder: Seeder
) -> None:
    (provider,) = await seeder.seed_providers(PROVIDER)
    assert await seeder.seed_providers(replace(PROVIDER, display_name="another", protocol="nonsense")) == []
    assert await list_providers(db) == [provider]
    assert (provider.slug, provider.config_data) == ("github", {"client_secret_ref": "CONNECTOR_GITHUB"})

    by_slug, by_id = await seeder.seed(
        UPSTREAM, replace(UPSTREAM, slug="more", broker_provider_slug="", broker_provider_id=provider.id)
    )
    assert (by_slug.broker_provider_id, by_id.broker_provider_id) == (provider.id, provider.id)
    told = [(event.action, event.actor_id) for event in await list_events(db, limit=5)]
    assert sorted(told) == [("broker_provider.created", "admin"), *[("resource.created", "admin")] * 2]


async def test_several_instances_seed_one_provider(db: Database, seeder: Seeder) -> None:
    created = await asyncio.gather(*(seeder.seed_providers(PROVIDER) for _ in range(5)))

    assert sum(map(len, created)) == 1
    assert len(await list_providers(db)) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config_data": {"client_secret": "in clear"}}, "client_secret cannot be stored without data_encryption"),
        ({"config_data": {"client_secret_ref": "PATH"}}, "client_secret_ref must name an environment variable"),
        ({"config_data": {"since": NOW * 10**12}}, "config_data holds a value that JSON has no place for"),
        ({"protocol": "ftp"}, "protocol must be one of"),
        ({"slug": "a b"}, "slug must match"),
    ],
)
async def test_a_provider_that_breaks_a_rule_stops_the_boot_and_is_named(
    seeder: Seeder, changes: dict[str, Any], told: str
) -> None:
    broken = replace(PROVIDER, **({"slug": "broken"} | changes))
    with pytest.raises(SeedError, match=rf'broker_providers\[1\] \(slug "{broken.slug}"\): {told}') as raised:
        await seeder.seed_providers(PROVIDER, broken)
    assert "in clear" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "broker provider not found: github"),
        ({"broker_provider_slug": ""}, "broker_provider_id is required"),
        ({"broker_provider_id": "x"}, "exclude each other"),
        ({"broker_provider_id": "x", "broker_provider_slug": ""}, "broker provider not found: x"),
    ],
)
async def test_a_broker_resource_without_its_provider_stops_the_boot(
    seeder: Seeder, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SeedError, match=rf'resources\[0\] \(slug "repos"\): .*{told}'):
        await seeder.seed(replace(UPSTREAM, **changes))
