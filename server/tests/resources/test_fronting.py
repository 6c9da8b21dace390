"""Fronting links: what may be linked, and what links mean for the resources they name (token exchange, section 15)."""

from dataclasses import dataclass

import pytest

from authserver.audit.trail import AuditTrail
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.resources.administration import ResourceAdministration, ResourceDraft, ResourcePatch
from authserver.resources.fronting import FrontingLinks, spell_scope_map
from authserver.resources.fronting_administration import FrontingAdministration
from authserver.resources.records import BackendKind, ResourceScope
from authserver.resources.store import find_resource
from authserver.storage.database import Database, Reader, Writer

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Operator:
    """What an operator works with."""

    db: Database
    resources: ResourceAdministration
    fronting: FrontingAdministration
    now: int

    async def declare(self, slug: str, *scopes: str) -> str:
        draft = ResourceDraft(
            slug=slug, backend_kind=BackendKind.MINT, scopes=tuple(ResourceScope(name=scope) for scope in scopes)
        )
        return (await self.resources.create_resource(draft, now=self.now)).id

    async def link(self, source: str, target: str, **scope_map: tuple[str, ...]) -> None:
        await self.fronting.create(source, target, scope_map, now=self.now)


@pytest.fixture
async def operator(db: Database, now: int) -> Operator:
    trail = AuditTrail(db, lambda: now * 1000)

    async def client_exists(_reader: Reader, _client_id: str) -> bool:
        return True

    async def provider_held(_tx: Writer, _provider_id: str) -> bool:
        return True

    made = Operator(
        db=db,
        resources=ResourceAdministration(db, trail, client_exists, provider_held),
        fronting=FrontingAdministration(db=db, trail=trail),
        now=now,
    )
    for slug, scopes in (("a", ("s", "t")), ("b", ("x", "y")), ("c", ("z",)), ("d", ("w",))):
        await made.declare(slug, *scopes)
    return made


@pytest.mark.parametrize(
    ("source", "target", "scope_map", "sentence"),
    [
        ("", "b", {}, "a source and a target"),
        ("a", "a", {}, "scope_map must not be empty"),
        ("a", "a", {"s": ()}, "an empty scope or an entry without scopes"),
        ("a", "a", {"s": ("x", "")}, "an empty scope"),
        ("a", "a", {"s": ("x", "x")}, "names a scope twice"),
        ("a", "a", {"s": ("s",)}, "cannot front itself"),
        ("a", "nowhere", {"no": ("no",)}, "resource not found: nowhere"),
        ("nowhere", "b", {"no": ("no",)}, "resource not found: nowhere"),
        ("a", "b", {"no": ("no",)}, '"no" is not a scope of the source "a"'),
        ("a", "b", {"s": ("no",)}, '"no" is not a scope of the target "b"'),
    ],
)
async def test_a_link_that_breaks_a_rule_is_refused_by_the_first_it_breaks(
    operator: Operator, source: str, target: str, scope_map: dict[str, tuple[str, ...]], sentence: str
) -> None:
    for dry_run in (True, False):
        with pytest.raises(Invalid, match=sentence):
            await operator.fronting.create(source, target, scope_map, dry_run=dry_run, now=operator.now)
    assert await operator.fronting.list() == []


async def test_a_pair_is_linked_once_and_no_circle_closes(operator: Operator) -> None:
    await operator.link("a", "b", s=("x",))
    await operator.link("b", "c", x=("z",))
    with pytest.raises(Conflict, match="already exists for this source and target"):
        await operator.link("a", "b", t=("y",))
    for source, target, scope, mapped in (("b", "a", "x", "s"), ("c", "a", "z", "s")):
        with pytest.raises(Invalid, match="would form a cycle"):
            await operator.link(source, target, **{scope: (mapped,)})
    await operator.link("a", "c", s=("z",))
    assert [link.name for link in await operator.fronting.list()] == ["a->b", "a->c", "b->c"]
    assert [link.name for link in await operator.fronting.list(source="a", target="c")] == ["a->c"]


async def test_a_dry_run_checks_and_writes_nothing(operator: Operator) -> None:
    link = await operator.fronting.create("a", "b", {"s": ("y", "x")}, dry_run=True, now=operator.now)
    assert spell_scope_map(link.scope_map) == "s->x+y"
    assert await operator.fronting.list() == []
    assert await operator.db.fetch_all("SELECT id FROM audit_events WHERE action LIKE 'fronting_link.%'") == []


async def test_a_resource_cannot_be_edited_away_from_under_its_links(operator: Operator) -> None:
    resources, now = operator.resources, operator.now
    ids = {row["slug"]: row["id"] for row in await operator.db.fetch_all("SELECT slug, id FROM resources")}
    await operator.link("a", "b", s=("x",))
    refused: list[tuple[str, ResourcePatch]] = [
        ("a", ResourcePatch(slug="other")),
        ("a", ResourcePatch(scopes=(ResourceScope(name="t"),))),
        ("b", ResourcePatch(scopes=(ResourceScope(name="y"),))),
    ]
    for slug, patch in refused:
        with pytest.raises(Invalid, match="a->b"):
            await resources.update_resource(ids[slug], patch, now=now)
    # What no link uses may go.
    await resources.update_resource(ids["a"], ResourcePatch(scopes=(ResourceScope(name="s"),)), now=now)
    for slug in ("a", "b"):
        with pytest.raises(Conflict, match="a->b"):
            await resources.delete_resource(ids[slug], now=now)
    await resources.delete_resource(ids["b"], cascade=True, now=now)
    assert await operator.fronting.list() == []
    rows = await operator.db.fetch_all("SELECT action, detail FROM audit_events")
    told = {(row["action"], row["detail"]) for row in rows}
    assert ("fronting_link.deleted", "source=a target=b reason=resource_cascade") in told
    assert ("resource.deleted", f"id={ids['b']} slug=b cascaded_links=1") in told


async def test_a_map_is_changed_whole_and_what_is_not_there_is_not_found(operator: Operator) -> None:
    await operator.link("a", "b", s=("x",))
    unchanged = await operator.fronting.update("a", "b", None, now=operator.now)
    assert unchanged.scope_map == {"s": ("x",)}
    await operator.fronting.update("a", "b", {"t": ("y", "x")}, now=operator.now)
    assert (await operator.fronting.get("a", "b")).scope_map == {"t": ("y", "x")}
    with pytest.raises(Invalid):
        await operator.fronting.update("a", "b", {"no": ("x",)}, now=operator.now)
    await operator.fronting.delete("a", "b", now=operator.now)
    calls = (
        operator.fronting.get("a", "b"),
        operator.fronting.update("a", "b", {"s": ("x",)}, now=operator.now),
        operator.fronting.delete("a", "b", now=operator.now),
    )
    for call in calls:
        with pytest.raises(NotFound):
            await call
    rows = await operator.db.fetch_all("SELECT action, actor_id, detail FROM audit_events")
    told = {(row["action"], row["actor_id"], row["detail"]) for row in rows}
    assert ("fronting_link.created", "admin", "source=a target=b scopes=s->x") in told
    assert ("fronting_link.patched", "admin", "source=a target=b scopes=t->x+y") in told
    assert ("fronting_link.deleted", "admin", "source=a target=b") in told


async def test_links_are_read_once_until_they_are_read_anew(operator: Operator) -> None:
    links = FrontingLinks(operator.db)
    rows = await operator.db.fetch_all("SELECT id FROM resources WHERE slug IN ('a', 'b') ORDER BY slug")
    source, target = [await find_resource(operator.db, row["id"]) for row in rows]
    assert source is not None
    assert target is not None
    assert await links.find(source, target) is None
    await operator.link("a", "b", s=("x",))
    assert await links.find(source, target) is None
    await links.refresh()
    found = await links.find(source, target)
    assert found is not None
    assert found.scope_map == {"s": ("x",)}
    assert await links.find(target, source) is None
