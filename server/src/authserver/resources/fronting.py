"""Fronting links: what may be linked, what links mean for an edit of a resource, and all of them in memory.

Read at every exchange, changed by operators alone, and as many as they wrote; a change is obeyed within two seconds
(topic ``resources`` of ``storage/changes.py``).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping

from authserver.protocol.operator_errors import Invalid
from authserver.resources.fronting_store import list_links
from authserver.resources.records import BackendKind, FrontingLink, Resource
from authserver.storage.database import Database

ScopeMap = Mapping[str, tuple[str, ...]]


class FrontingLinks:
    """All links. Register ``refresh`` for the topic of the resources before the first request is served."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._links: Mapping[tuple[str, str], FrontingLink] | None = None
        self._loading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read all links anew.

        Raises:
            StorageUnavailable: They cannot be read; what was known stays.
        """
        await self._load()

    async def find(self, source: Resource, target: Resource) -> FrontingLink | None:
        """Return the link from one resource to another, or None."""
        links = self._links if self._links is not None else await self._load()
        return links.get((source.id, target.id))

    async def _load(self) -> Mapping[tuple[str, str], FrontingLink]:
        # One reading at a time: what is installed last was read last.
        async with self._loading:
            links = self._links = {(link.source_id, link.target_id): link for link in await list_links(self._db)}
            return links


def spell_scope_map(scope_map: ScopeMap) -> str:
    """Return a map as operators and the audit trail see it: ``a->x+y,b->z``, sorted both ways."""
    return ",".join(f"{source}->{'+'.join(sorted(scope_map[source]))}" for source in sorted(scope_map))


def check_shape(source: str, target: str, scope_map: ScopeMap) -> None:
    """Check what can be said about a link without looking anything up.

    Raises:
        Invalid: An end is missing or both are one, or the map or an entry of it is empty or names a scope twice.
    """
    if not source or not target:
        raise Invalid("a fronting link needs a source and a target")
    check_map_shape(scope_map)
    if source == target:
        raise Invalid("a resource cannot front itself: source and target must differ")


def check_map_shape(scope_map: ScopeMap) -> None:
    """Check the shape of a scope map.

    Raises:
        Invalid: It is empty, or an entry of it is, or names a scope twice.
    """
    if not scope_map:
        raise Invalid("scope_map must not be empty")
    for source, targets in scope_map.items():
        if not source or not targets or not all(targets):
            raise Invalid("scope_map must not have an empty scope or an entry without scopes")
        if len(set(targets)) != len(targets):
            raise Invalid(f'scope_map names a scope twice for "{source}"')


def check_ends(source: Resource, target: Resource, scope_map: ScopeMap) -> None:
    """Check a link against the two resources.

    Raises:
        Invalid: Their kinds do not fit, or the map names a scope that its end does not declare.
    """
    if source.backend_kind is not BackendKind.MINT:
        raise Invalid("the source of a fronting link must be a mint resource")
    if target.backend_kind is BackendKind.BROKER and not target.broker_provider_id:
        raise Invalid("a broker target of a fronting link must have a provider")
    for scope in sorted(scope_map):
        if scope not in source.scope_names:
            raise Invalid(f'scope_map: "{scope}" is not a scope of the source "{source.slug}"')
    for scope in sorted({scope for targets in scope_map.values() for scope in targets}):
        if scope not in target.scope_names:
            raise Invalid(f'scope_map: "{scope}" is not a scope of the target "{target.slug}"')


def check_no_cycle(links: Iterable[FrontingLink], *, source_id: str, target_id: str) -> None:
    """Check that a new link from source to target closes no circle.

    Raises:
        Invalid: The target leads to the source already.
    """
    onward: defaultdict[str, list[str]] = defaultdict(list)
    for link in links:
        onward[link.source_id].append(link.target_id)
    seen: set[str] = set()
    waiting = [target_id]
    while waiting:
        resource_id = waiting.pop()
        if resource_id == source_id:
            raise Invalid("fronting link would form a cycle")
        if resource_id not in seen:
            seen.add(resource_id)
            waiting.extend(onward[resource_id])


def check_edit(before: Resource, after: Resource, links: Iterable[FrontingLink]) -> None:
    """Check that an edited resource still fits the links that name it (token exchange, section 15).

    Raises:
        Invalid: Its kind or slug changes, or it no longer declares a scope that a link uses.
    """
    for link in links:
        if after.backend_kind is not before.backend_kind:
            raise Invalid(f"backend_kind cannot change while the fronting link {link.name} names the resource")
        if after.slug != before.slug:
            raise Invalid(f"slug cannot change while the fronting link {link.name} names the resource")
        mapped = {scope for targets in link.scope_map.values() for scope in targets}
        used = set(link.scope_map) if link.source_id == before.id else mapped
        gone = sorted(used - set(after.scope_names))
        if gone:
            raise Invalid(f'scope "{gone[0]}" cannot go while the fronting link {link.name} uses it')
