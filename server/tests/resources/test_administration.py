from dataclasses import replace

import pytest

from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.resources.administration import ResourceAdministration, ResourceDraft, ResourcePatch
from authserver.resources.records import ResourcePolicy, ResourceScope
from authserver.resources.store import find_resource
from authserver.storage.database import Database, Reader, Writer

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
DRAFT = ResourceDraft(slug="files", backend_kind="mint", uri="https://files.example/mcp")


async def _client_exists(_db: Reader, client_id: str) -> bool:
    return client_id.startswith("client")


async def _provider_held(_tx: Writer, provider_id: str) -> bool:
    return provider_id == "provider"


@pytest.fixture
def resources(db: Database) -> ResourceAdministration:
    return ResourceAdministration(db, AuditTrail(db, lambda: NOW * 1000), _client_exists, _provider_held)


async def _version(db: Database) -> int:
    row = await db.fetch_one("SELECT version FROM changes WHERE topic = $1", "resources")
    return row["version"] if row else 0


async def _details(db: Database, action: str) -> list[str]:
    return [event.detail for event in await list_events(db, limit=50, action=action)]


async def test_a_created_resource_is_stored_announced_and_audited(
    db: Database, resources: ResourceAdministration
) -> None:
    resource = await resources.create_resource(replace(DRAFT, slug="Files"), now=NOW)

    assert resource.slug == "files"
    assert await find_resource(db, resource.id) == resource
    assert await _version(db) == 1
    (event,) = await list_events(db, limit=5)
    assert (event.action, event.actor_id) == ("resource.created", "admin")
    assert event.detail == f"id={resource.id} slug=files"


async def test_a_slug_is_taken_once(db: Database, resources: ResourceAdministration) -> None:
    await resources.create_resource(DRAFT, now=NOW)

    with pytest.raises(Conflict, match='slug "files" is already in use'):
        await resources.create_resource(DRAFT, now=NOW)
    assert await _version(db) == 1


@pytest.mark.parametrize(
    "draft",
    [
        replace(DRAFT, slug=""),
        replace(DRAFT, slug="-x"),
        replace(DRAFT, slug="a" * 65),
        replace(DRAFT, slug="a_b"),
        replace(DRAFT, backend_kind="other"),
        replace(DRAFT, backend_kind="broker"),
        replace(DRAFT, backend_kind="broker", broker_provider_id="another"),
        replace(DRAFT, uri="files.example"),
        replace(DRAFT, uri="ftp://files.example"),
        replace(DRAFT, uri="https://"),
        replace(DRAFT, uri="https://files.example/#x"),
        replace(DRAFT, broker_provider_id="p"),
        replace(DRAFT, scopes=(ResourceScope(name=""),)),
        replace(DRAFT, scopes=(ResourceScope(name="a"), ResourceScope(name="a"))),
        replace(DRAFT, scopes=(ResourceScope(name="a b"),)),
        replace(DRAFT, scopes=(ResourceScope(name='"'),)),
        replace(DRAFT, policy=ResourcePolicy(runtime_client_ids=("",))),
        replace(DRAFT, policy=ResourcePolicy(runtime_client_ids=("unknown",))),
        replace(DRAFT, policy=ResourcePolicy(exchange_allowed_client_ids=("unknown",))),
    ],
)
async def test_what_breaks_a_rule_is_refused(
    db: Database, resources: ResourceAdministration, draft: ResourceDraft
) -> None:
    with pytest.raises(Invalid):
        await resources.create_resource(draft, now=NOW)
    assert await list_events(db, limit=5) == []


async def test_return_urls_of_a_mint_resource_are_dropped(resources: ResourceAdministration) -> None:
    policy = ResourcePolicy(connect_allowed_return_urls=("https://app.example",), runtime_client_ids=("client",))

    resource = await resources.create_resource(replace(DRAFT, policy=policy), now=NOW)

    assert resource.policy == ResourcePolicy(runtime_client_ids=("client",))


async def test_only_what_is_given_is_changed(db: Database, resources: ResourceAdministration) -> None:
    resource = await resources.create_resource(replace(DRAFT, display_name="Files"), now=NOW)

    patch = ResourcePatch(scopes=(ResourceScope(name="read"),), uri="", slug="docs")
    changed = await resources.update_resource(resource.id, patch, now=NOW + 5)

    assert changed == replace(resource, scopes=(ResourceScope(name="read"),), uri="", slug="docs", updated_at=NOW + 5)
    assert await find_resource(db, resource.id) == changed
    assert await _version(db) == 2
    assert await _details(db, "resource.patched") == [f"id={resource.id} slug=docs fields=slug,uri,scopes"]


async def test_an_empty_patch_leaves_no_trace(db: Database, resources: ResourceAdministration) -> None:
    resource = await resources.create_resource(DRAFT, now=NOW)

    assert await resources.update_resource(resource.id, ResourcePatch(), now=NOW + 5) == resource
    assert await _version(db) == 1
    assert await _details(db, "resource.patched") == []


async def test_a_patch_is_held_to_the_same_rules(resources: ResourceAdministration) -> None:
    resource = await resources.create_resource(DRAFT, now=NOW)
    await resources.create_resource(replace(DRAFT, slug="other"), now=NOW)

    with pytest.raises(Invalid):
        await resources.update_resource(resource.id, ResourcePatch(uri="nowhere"), now=NOW)
    with pytest.raises(Conflict):
        await resources.update_resource(resource.id, ResourcePatch(slug="other"), now=NOW)
    with pytest.raises(NotFound):
        await resources.update_resource("nothing", ResourcePatch(slug="x"), now=NOW)


async def test_a_deleted_resource_is_gone_and_audited(db: Database, resources: ResourceAdministration) -> None:
    resource = await resources.create_resource(DRAFT, now=NOW)

    await resources.delete_resource(resource.id, now=NOW)

    assert await find_resource(db, resource.id) is None
    assert await _details(db, "resource.deleted") == [f"id={resource.id} slug=files"]
    assert await _version(db) == 2
    with pytest.raises(NotFound):
        await resources.delete_resource(resource.id, now=NOW)


async def test_a_resource_that_tokens_were_issued_for_stays(db: Database, resources: ResourceAdministration) -> None:
    resource = await resources.create_resource(DRAFT, now=NOW)

    async def issue(tx: Writer) -> None:
        await tx.execute(
            "INSERT INTO issuance_rows (id, kind, client_number, resource_number, scopes, issued_at, expires_at)"
            " VALUES ($1, 'user', 1, $2, '', 0, 0)",
            b"\x01" * 16,
            await tx.number_of(resource.id),
        )

    await db.write(issue)

    with pytest.raises(Conflict, match="resource has references and cannot be deleted"):
        await resources.delete_resource(resource.id, now=NOW)
    assert await find_resource(db, resource.id) == resource


async def test_a_broker_resource_names_a_provider_and_a_mint_resource_none(resources: ResourceAdministration) -> None:
    policy = ResourcePolicy(connect_allowed_return_urls=("https://app.example",))
    draft = replace(DRAFT, backend_kind="broker", broker_provider_id="provider", uri="", policy=policy)
    resource = await resources.create_resource(draft, now=NOW)
    assert (resource.backend_kind, resource.broker_provider_id, resource.policy) == ("broker", "provider", policy)

    for patch, told in (
        (ResourcePatch(broker_provider_id=""), "broker_provider_id is required"),
        (ResourcePatch(broker_provider_id="another"), "broker provider not found: another"),
        (ResourcePatch(backend_kind="mint"), "must be empty for a mint resource"),
    ):
        with pytest.raises(Invalid, match=told):
            await resources.update_resource(resource.id, patch, now=NOW)

    minted = await resources.update_resource(
        resource.id, ResourcePatch(backend_kind="mint", broker_provider_id=""), now=NOW
    )
    assert (minted.broker_provider_id, minted.policy) == (None, ResourcePolicy())
    with pytest.raises(Invalid, match="broker_provider_id is required"):
        await resources.update_resource(resource.id, ResourcePatch(backend_kind="broker"), now=NOW)
