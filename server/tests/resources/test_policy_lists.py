import asyncio

import pytest

from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.resources.administration import ResourceAdministration, ResourceDraft
from authserver.resources.policy_lists import PolicyList, PolicyLists
from authserver.resources.records import BackendKind, Resource
from authserver.resources.store import find_resource
from authserver.storage.database import Database, Reader, Writer

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
CLIENTS = [PolicyList.RUNTIME_CLIENTS, PolicyList.EXCHANGE_CLIENTS]
CALLBACK = "https://app.example/done"


async def _client_exists(_db: Reader, client_id: str) -> bool:
    return client_id.startswith("client")


async def _provider_held(_tx: Writer, provider_id: str) -> bool:
    return provider_id == "p"


@pytest.fixture
def lists(db: Database) -> PolicyLists:
    return PolicyLists(db=db, trail=AuditTrail(db, lambda: NOW * 1000), client_exists=_client_exists)


@pytest.fixture
def administration(db: Database) -> ResourceAdministration:
    return ResourceAdministration(db, AuditTrail(db, lambda: NOW * 1000), _client_exists, _provider_held)


@pytest.fixture
async def resource(administration: ResourceAdministration) -> Resource:
    return await administration.create_resource(ResourceDraft(slug="files", backend_kind="mint"), now=NOW)


@pytest.fixture
async def broker(administration: ResourceAdministration) -> Resource:
    """A resource whose tokens come from a provider."""
    draft = ResourceDraft(slug="upstream", backend_kind=BackendKind.BROKER, broker_provider_id="p")
    return await administration.create_resource(draft, now=NOW)


async def _version(db: Database) -> int:
    row = await db.fetch_one("SELECT version FROM changes WHERE topic = $1", "resources")
    return row["version"] if row else 0


@pytest.mark.parametrize("which", CLIENTS)
async def test_clients_are_added_and_removed_once(
    db: Database, resource: Resource, lists: PolicyLists, which: PolicyList
) -> None:
    before = await _version(db)
    assert await lists.add(which, "files", "client-1", now=NOW) == ("client-1",)
    assert await lists.add(which, "files", "client-2", now=NOW) == ("client-1", "client-2")
    assert await lists.add(which, "files", "client-1", now=NOW) == ("client-1", "client-2")
    assert await lists.remove(which, "files", "client-1", now=NOW + 5) == ("client-2",)
    assert await lists.remove(which, "files", "client-1", now=NOW + 9) == ("client-2",)
    assert await lists.get(which, "files") == ("client-2",)

    events = await list_events(db, limit=50, client_id="client-1")
    assert {(event.action, event.detail) for event in events} == {
        (which.added, "slug=files client_id=client-1"),
        (which.removed, "slug=files client_id=client-1"),
    }
    assert len(events) == 2
    assert await _version(db) == before + 3
    stored = await find_resource(db, resource.id)
    assert stored is not None
    assert stored.updated_at == NOW + 5


@pytest.mark.parametrize("which", CLIENTS)
async def test_unknown_slugs_and_clients_are_refused(resource: Resource, lists: PolicyLists, which: PolicyList) -> None:
    for entry in ("unknown", ""):
        with pytest.raises(Invalid, match="client not found"):
            await lists.add(which, resource.slug, entry, now=NOW)
    with pytest.raises(NotFound):
        await lists.add(which, "nothing", "client", now=NOW)
    with pytest.raises(NotFound):
        await lists.remove(which, "nothing", "client", now=NOW)
    with pytest.raises(NotFound):
        await lists.get(which, "Files")  # a slug is taken as spelled


async def test_of_many_changes_at_once_none_is_lost(db: Database, resource: Resource, lists: PolicyLists) -> None:
    which = PolicyList.RUNTIME_CLIENTS
    await asyncio.gather(*(lists.add(which, resource.slug, f"client-{n}", now=NOW) for n in range(20)))

    assert len(await lists.get(which, resource.slug)) == 20
    assert len(await list_events(db, limit=50, action=which.added)) == 20


@pytest.mark.parametrize("url", [CALLBACK, "http://localhost:*", "http://127.0.0.1:*/x", "http://app.example/"])
async def test_a_broker_resource_has_return_urls(db: Database, broker: Resource, lists: PolicyLists, url: str) -> None:
    assert await lists.add(PolicyList.RETURN_URLS, broker.slug, url, now=NOW) == (url,)
    (event,) = await list_events(db, limit=1, action=PolicyList.RETURN_URLS.added)
    assert (event.client_id, event.detail.startswith("slug=upstream return_url=")) == ("", True)
    assert await lists.remove(PolicyList.RETURN_URLS, broker.slug, url, now=NOW) == ()


@pytest.mark.parametrize("url", ["", "/done", "app.example", "ftp://app.example", "https://", "javascript:alert(1)"])
async def test_a_return_url_must_lead_somewhere(broker: Resource, lists: PolicyLists, url: str) -> None:
    with pytest.raises(Invalid, match="absolute http or https"):
        await lists.add(PolicyList.RETURN_URLS, broker.slug, url, now=NOW)
    with pytest.raises(Invalid, match="absolute http or https"):
        await lists.add(PolicyList.RETURN_URLS, broker.slug, f"{CALLBACK}?{'x' * 2048}", now=NOW)


async def test_nothing_connects_to_a_mint_resource(resource: Resource, lists: PolicyLists) -> None:
    for change in (lists.add, lists.remove):
        with pytest.raises(Invalid, match="no return URLs"):
            await change(PolicyList.RETURN_URLS, resource.slug, CALLBACK, now=NOW)
    with pytest.raises(Invalid, match="no return URLs"):
        await lists.get(PolicyList.RETURN_URLS, resource.slug)
