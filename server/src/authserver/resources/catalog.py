"""What ``resource`` values resolve against: all registered resources, held in memory and kept current.

Read at every authorization and token request, changed by operators alone. Its size is the number of resources that they
registered; a change is obeyed within two seconds (topic ``resources`` of ``storage/changes.py``).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from authserver.protocol.errors import InvalidTarget
from authserver.protocol.quoting import quoted
from authserver.protocol.resource_indicators import fold_resource
from authserver.resources.records import BackendKind, Resource
from authserver.resources.store import list_resources
from authserver.storage.database import Database
from authserver.telemetry.notes import note

TOPIC = "resources"

_PAGE_RESOURCES = 500

Index = dict[str, tuple[Resource, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    by_id: dict[str, Resource]
    by_slug: dict[str, Resource]
    by_uri: Index
    by_folded_uri: Index
    by_path: Index
    by_runtime_client: Index
    scope_names: tuple[str, ...]


class ResourceCatalog:
    """The registered resources. Register ``refresh`` for ``TOPIC`` before the first request is served."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._snapshot: _Snapshot | None = None
        self._loading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read all resources anew.

        Raises:
            StorageUnavailable: They cannot be read; what was known stays.
        """
        await self._load()

    async def get(self, resource_id: str) -> Resource | None:
        """Return a resource by its id, or None."""
        return (self._snapshot or await self._load()).by_id.get(resource_id)

    async def load(self) -> None:
        """Read the resources, unless they are known.

        Raises:
            StorageUnavailable: They cannot be read.
        """
        if self._snapshot is None:
            await self._load()

    def demands_binding(self, resource_id: str) -> bool:
        """Whether every token for a resource must be bound to a key; one that is gone demands nothing.

        Raises:
            RuntimeError: ``load`` was not called before.
        """
        if self._snapshot is None:
            raise RuntimeError("the resources were not read yet")
        resource = self._snapshot.by_id.get(resource_id)
        return resource is not None and resource.policy.dpop_required

    async def matches(self, value: str) -> tuple[Resource, ...]:
        """Return the resources that a ``resource`` value names: none, one, or several when it is ambiguous.

        A slug or URI that is equal byte for byte comes before one that is equal when folded (ruling R37).
        """
        snapshot = self._snapshot or await self._load()
        slug = snapshot.by_slug.get(value)
        if slug is not None:
            return (slug,)
        return snapshot.by_uri.get(value) or snapshot.by_folded_uri.get(fold_resource(value), ())

    async def resolve(self, value: str) -> Resource:
        """Return the one resource that a ``resource`` value names (public API §9.1).

        Raises:
            InvalidTarget: It names none, or several.
        """
        found = await self.matches(value)
        if not found:
            raise InvalidTarget(f"resource {quoted(value)} is not a registered resource", reason="unknown_resource")
        if len(found) > 1:
            raise InvalidTarget(
                f"resource {quoted(value)} is ambiguous: use the slug of the resource", reason="ambiguous_resource"
            )
        return found[0]

    async def resolve_uri(self, value: str) -> Resource:
        """Return the one resource with this URI, where slugs do not count (public API §8.5).

        Raises:
            InvalidTarget: There is none, or several.
        """
        snapshot = self._snapshot or await self._load()
        found = snapshot.by_uri.get(value) or snapshot.by_folded_uri.get(fold_resource(value), ())
        if not found:
            named = snapshot.by_slug.get(value)
            if named is not None and named.uri:
                note(
                    "resource looked up", found="a slug, where a URI is needed", matched=named.slug, expected=named.uri
                )
                raise InvalidTarget(
                    f"resource {quoted(value)} is not a registered resource: send its URI, not its slug",
                    reason="resource_named_by_slug",
                )
            raise InvalidTarget(f"resource {quoted(value)} is not a registered resource", reason="unknown_resource")
        if len(found) > 1:
            raise InvalidTarget(
                f"resource {quoted(value)} is ambiguous: several resources have this URI", reason="ambiguous_resource"
            )
        return found[0]

    @property
    def known_scope_names(self) -> tuple[str, ...] | None:
        """As ``scope_names``, when the resources have been read."""
        return None if self._snapshot is None else self._snapshot.scope_names

    async def has_slug(self, slug: str) -> bool:
        """Whether a resource has this slug, exactly as spelled."""
        return slug in (self._snapshot or await self._load()).by_slug

    async def run_by(self, client_id: str) -> tuple[Resource, ...]:
        """Return the resources that a client may act as."""
        return (self._snapshot or await self._load()).by_runtime_client.get(client_id, ())

    async def scope_names(self) -> tuple[str, ...]:
        """Return the scopes of all resources, each once, in the order first seen."""
        return (self._snapshot or await self._load()).scope_names

    async def find_published(self, reference: str, *, query: str = "") -> Resource | None:
        """Return the resource that a protected-resource metadata URL stands for, or None (public API §17).

        Args:
            reference: What follows the well-known path: a slug, or the path of the URI without its first slash.
            query: The query of the URL, without ``?``.
        """
        snapshot = self._snapshot or await self._load()
        slug = snapshot.by_slug.get(reference)
        if slug is not None:
            return slug if slug.uri else None
        found = [
            resource
            for resource in snapshot.by_path.get("/" + reference, ())
            if urlsplit(resource.uri).query in {"", query}
        ]
        return found[0] if len(found) == 1 else None

    async def _load(self) -> _Snapshot:
        # One reading at a time: what is installed last was read last.
        async with self._loading:
            snapshot = self._snapshot = _snapshot([resource async for resource in every_resource(self._db)])
            return snapshot


async def every_resource(db: Database) -> AsyncIterator[Resource]:
    """Go through all resources, oldest first."""
    page = await list_resources(db, limit=_PAGE_RESOURCES)
    while page:
        for resource in page:
            yield resource
        page = await list_resources(db, limit=_PAGE_RESOURCES, after=page[-1])


def _snapshot(resources: Sequence[Resource]) -> _Snapshot:
    by_uri: defaultdict[str, list[Resource]] = defaultdict(list)
    by_folded_uri: defaultdict[str, list[Resource]] = defaultdict(list)
    by_path: defaultdict[str, list[Resource]] = defaultdict(list)
    by_runtime_client: defaultdict[str, list[Resource]] = defaultdict(list)
    scope_names: dict[str, None] = {}
    for resource in resources:
        for client_id in set(resource.policy.runtime_client_ids):
            by_runtime_client[client_id].append(resource)
        if resource.backend_kind is BackendKind.MINT:
            scope_names.update(dict.fromkeys(resource.scope_names))
        if resource.uri:
            by_uri[resource.uri].append(resource)
            by_folded_uri[fold_resource(resource.uri)].append(resource)
            by_path[unquote(urlsplit(resource.uri).path)].append(resource)
    return _Snapshot(
        by_id={resource.id: resource for resource in resources},
        by_slug={resource.slug: resource for resource in resources},
        by_uri=_frozen(by_uri),
        by_folded_uri=_frozen(by_folded_uri),
        by_path=_frozen(by_path),
        by_runtime_client=_frozen(by_runtime_client),
        scope_names=tuple(scope_names),
    )


def _frozen(index: dict[str, list[Resource]]) -> Index:
    return {key: tuple(found) for key, found in index.items()}
