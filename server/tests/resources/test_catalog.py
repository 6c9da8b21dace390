import asyncio
from dataclasses import replace

import pytest

from authserver.protocol.errors import InvalidTarget
from authserver.resources.catalog import TOPIC, ResourceCatalog
from authserver.resources.policy import is_runtime_client, may_exchange
from authserver.resources.records import BackendKind, Resource, ResourcePolicy, ResourceScope
from authserver.resources.store import (
    find_resource,
    find_resource_by_slug,
    insert_resource,
    list_resources,
    update_resource,
)
from authserver.resources.views import build_resource
from authserver.storage.changes import ChangeWatcher, announce
from authserver.storage.database import Database, Writer

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000


def _a_resource(slug: str, uri: str = "", *scopes: str) -> Resource:
    return Resource(
        id=f"id-{slug}",
        slug=slug,
        display_name="",
        uri=uri,
        backend_kind=BackendKind.MINT,
        broker_provider_id=None,
        scopes=tuple(ResourceScope(name=scope) for scope in scopes),
        created_at=NOW,
        updated_at=NOW,
    )


async def _catalog(db: Database, *resources: Resource) -> ResourceCatalog:
    async def insert(tx: Writer) -> None:
        for resource in resources:
            await insert_resource(tx, resource)

    await db.write(insert)
    return ResourceCatalog(db)


async def _slugs(catalog: ResourceCatalog, value: str) -> list[str]:
    return [resource.slug for resource in await catalog.matches(value)]


async def test_a_stored_resource_comes_back_as_it_was(db: Database) -> None:
    resource = replace(
        _a_resource("files", "https://files.example/mcp"),
        display_name="Files",
        scopes=(ResourceScope(name="read", upstream="r", description="Read é"),),
        policy=ResourcePolicy(runtime_client_ids=("c1",), exchange_allowed_client_ids=("c2",)),
    )
    await _catalog(db, resource)

    assert await find_resource(db, resource.id) == resource
    assert await find_resource_by_slug(db, "files") == resource
    assert await find_resource_by_slug(db, "FILES") is None
    assert await list_resources(db, limit=5) == [resource]


async def test_a_value_resolves_by_slug_and_by_uri(db: Database) -> None:
    catalog = await _catalog(db, _a_resource("files", "https://files.example/mcp"), _a_resource("bare"))

    assert (await catalog.resolve("files")).slug == "files"
    assert (await catalog.resolve("https://files.example/mcp")).slug == "files"
    assert (await catalog.resolve("bare")).slug == "bare"
    assert await catalog.get("id-files") == await catalog.resolve("files")
    assert await catalog.get("id-nothing") is None


@pytest.mark.parametrize(
    "value",
    ["https://files.example", "https://files.example/", "HTTPS://Files.Example", "https://files.example:443/"],
)
async def test_spellings_that_folding_drops_resolve(db: Database, value: str) -> None:
    catalog = await _catalog(db, _a_resource("files", "https://files.example"))

    assert await _slugs(catalog, value) == ["files"]


@pytest.mark.parametrize(
    "value",
    ["", "Files", "https://files.example/MCP", "https://files.example/mcp/", "https://files.example/mcp?x=1"],
)
async def test_what_differs_in_more_is_unknown(db: Database, value: str) -> None:
    catalog = await _catalog(db, _a_resource("files", "https://files.example/mcp"), _a_resource("bare"))

    assert await _slugs(catalog, value) == []
    with pytest.raises(InvalidTarget) as refusal:
        await catalog.resolve(value)
    assert refusal.value.reason == "unknown_resource"


async def test_a_uri_registered_twice_is_ambiguous_but_its_slugs_are_not(db: Database) -> None:
    catalog = await _catalog(db, _a_resource("a", "https://x.example"), _a_resource("b", "https://x.example"))

    with pytest.raises(InvalidTarget) as refusal:
        await catalog.resolve("https://x.example")
    assert refusal.value.reason == "ambiguous_resource"
    assert (await catalog.resolve("b")).slug == "b"


async def test_of_uris_that_fold_alike_the_byte_exact_one_wins(db: Database) -> None:
    catalog = await _catalog(db, _a_resource("a", "https://x.example"), _a_resource("b", "https://x.example/"))

    assert await _slugs(catalog, "https://x.example") == ["a"]
    assert await _slugs(catalog, "https://x.example/") == ["b"]
    assert await _slugs(catalog, "https://X.example/") == ["a", "b"]


async def test_scopes_of_all_resources_are_seen_once_in_order(db: Database) -> None:
    catalog = await _catalog(db, _a_resource("a", "", "z", "y"), _a_resource("b", "", "y", "x"))

    assert await catalog.scope_names() == ("z", "y", "x")


async def test_metadata_is_found_by_slug_and_by_the_path_of_the_uri(db: Database) -> None:
    catalog = await _catalog(
        db,
        _a_resource("files", "https://files.example/v1/mcp"),
        _a_resource("search", "https://search.example/find?tenant=1"),
        _a_resource("bare"),
        _a_resource("one", "https://one.example/same"),
        _a_resource("two", "https://two.example/same"),
    )

    async def found(reference: str, query: str = "") -> str | None:
        resource = await catalog.find_published(reference, query=query)
        return resource.slug if resource else None

    assert await found("files") == "files"
    assert await found("v1/mcp") == "files"
    assert await found("v1/mcp", "anything=1") == "files"
    assert await found("find", "tenant=1") == "search"
    assert await found("find") is None
    assert await found("find", "tenant=2") is None
    assert await found("bare") is None
    assert await found("same") is None
    assert await found("nothing") is None


async def test_a_change_is_seen_after_the_next_poll(db: Database) -> None:
    catalog = await _catalog(db, _a_resource("a"))
    watcher = ChangeWatcher(db)
    watcher.register(TOPIC, catalog.refresh)
    await watcher.start()
    assert await _slugs(catalog, "b") == []

    async def change(tx: Writer) -> None:
        await insert_resource(tx, _a_resource("b"))
        await update_resource(tx, replace(_a_resource("a"), display_name="A"))
        await announce(tx, TOPIC)

    await db.write(change)
    assert await _slugs(catalog, "b") == []
    await watcher.poll()

    assert await _slugs(catalog, "b") == ["b"]
    assert (await catalog.resolve("a")).title == "A"


async def test_the_first_requests_share_one_catalogue(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authserver.resources.catalog._PAGE_RESOURCES", 2)
    catalog = await _catalog(db, *(_a_resource(f"r{n}") for n in range(5)))

    found = await asyncio.gather(*(catalog.resolve(f"r{n}") for n in range(5)))

    assert [resource.slug for resource in found] == ["r0", "r1", "r2", "r3", "r4"]


def test_runtime_clients_may_exchange_and_nobody_may_unless_named() -> None:
    policy = ResourcePolicy(exchange_allowed_client_ids=("caller",), runtime_client_ids=("server",))
    resource = replace(_a_resource("a"), policy=policy)

    assert is_runtime_client(resource, "server")
    assert not is_runtime_client(resource, "caller")
    assert may_exchange(resource, "caller")
    assert may_exchange(resource, "server")
    assert not may_exchange(resource, "other")


def test_the_view_of_a_mint_resource_leaves_out_what_is_empty_or_for_brokers() -> None:
    resource = replace(_a_resource("a", "https://x.example", "read"), display_name="A")

    assert build_resource(resource) == {
        "id": "id-a",
        "slug": "a",
        "uri": "https://x.example",
        "display_name": "A",
        "backend_kind": "mint",
        "broker_provider_id": "",
        "scopes": [{"name": "read"}],
        "policy": {"exchange": {"allowed_client_ids": []}, "runtime": {"client_ids": []}},
        "created_at": "2026-09-21T14:13:20Z",
        "updated_at": "2026-09-21T14:13:20Z",
    }
