"""What an operator may do with fronting links. Each change is announced and audited in its own transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.resources.catalog import TOPIC
from authserver.resources.fronting import (
    ScopeMap,
    check_edit,
    check_ends,
    check_map_shape,
    check_no_cycle,
    check_shape,
    spell_scope_map,
)
from authserver.resources.fronting_store import (
    delete_link,
    find_link,
    insert_link,
    list_links,
    list_links_of,
    update_link,
)
from authserver.resources.records import FrontingLink, Resource
from authserver.resources.store import find_resource_by_slug, lock_resource
from authserver.resources.views import build_link
from authserver.storage.changes import announce
from authserver.storage.database import Database, Reader, Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontingAdministration:
    """The operators' side of the links."""

    db: Database
    trail: AuditTrail

    async def create(
        self, source: str, target: str, scope_map: ScopeMap, *, dry_run: bool = False, now: int
    ) -> FrontingLink:
        """Link two resources, or only check that it may be done (token exchange, section 15, its rules in their order).

        Args:
            source: Slug of the Resource whose tokens are exchanged.
            target: Slug of the Resource that they are exchanged for.
            scope_map: Scope of the source to those of the target.
            dry_run: Whether nothing is written.
            now: Seconds since the epoch.

        Raises:
            Invalid: A rule forbids the link.
            Conflict: There is one between these two.
        """
        check_shape(source, target, scope_map)
        event = _event(Action.FRONTING_LINK_CREATED)

        async def create(tx: Writer) -> FrontingLink:
            begin, end = await _named(tx, source, target)
            if not dry_run:
                # The row of the announcement is the lock under which two links cannot close a circle together.
                await announce(tx, TOPIC)
            check_ends(begin, end, scope_map)
            await _check_new(tx, begin, end)
            link = FrontingLink(
                source_id=begin.id,
                source=begin.slug,
                target_id=end.id,
                target=end.slug,
                scope_map=scope_map,
                created_at=now,
                created_by=event.actor_id,
            )
            if not dry_run:
                await insert_link(tx, link)
                await self.trail.append(tx, _about(event, link), now=now)
            return link

        return await self.db.write(create)

    async def update(self, source: str, target: str, scope_map: ScopeMap | None, *, now: int) -> FrontingLink:
        """Give a link another scope map; without one, and when it has that one already, nothing is written.

        Raises:
            NotFound: There is no such link.
            Invalid: The map does not fit.
        """
        if scope_map is not None:
            check_map_shape(scope_map)
        event = _event(Action.FRONTING_LINK_PATCHED)

        async def update(tx: Writer) -> FrontingLink:
            before = await _get(tx, source, target)
            if scope_map is None:
                return before
            check_ends(*(await _locked(tx, before.source_id, before.target_id)), scope_map)
            # Again, now that nobody changes it.
            before = await _get(tx, source, target)
            after = replace(before, scope_map=scope_map)
            if after == before:
                return before
            if not await update_link(tx, after):
                raise _not_found(source, target)
            await announce(tx, TOPIC)
            await self.trail.append(tx, _about(event, after), now=now)
            return after

        return await self.db.write(update)

    async def delete(self, source: str, target: str, *, now: int) -> None:
        """Delete a link.

        Raises:
            NotFound: There is no such link.
        """
        event = _event(Action.FRONTING_LINK_DELETED)

        async def delete(tx: Writer) -> None:
            link = await _get(tx, source, target)
            if not await delete_link(tx, link):
                raise _not_found(source, target)
            await announce(tx, TOPIC)
            await self.trail.append(tx, replace(event, detail=detail(source=link.source, target=link.target)), now=now)

        await self.db.write(delete)

    async def get(self, source: str, target: str) -> FrontingLink:
        """Return a link.

        Raises:
            NotFound: There is no such link.
        """
        return await _get(self.db, source, target)

    async def list(self, *, source: str = "", target: str = "") -> Sequence[FrontingLink]:
        """Return the links, all or those of a source or target, by their slugs."""
        links = await list_links(self.db)
        return [link for link in links if source in {"", link.source} and target in {"", link.target}]


async def check_links_fit(tx: Writer, before: Resource, after: Resource) -> None:
    """Check that an edit leaves every link of a resource valid.

    Raises:
        Invalid: It does not.
    """
    check_edit(before, after, await list_links_of(tx, before.id))


async def cut_links(tx: Writer, resource: Resource, *, cascade: bool) -> Sequence[FrontingLink]:
    """Delete the links of a resource that goes; return them.

    Raises:
        Conflict: There are some, and they shall not go with it.
    """
    links = await list_links_of(tx, resource.id)
    if links and not cascade:
        names = ", ".join(link.name for link in links)
        raise Conflict(
            f"resource has fronting links and cannot be deleted without them: {names}",
            dependents=[build_link(link) for link in links],
        )
    for link in links:
        await delete_link(tx, link)
    return links


async def _get(db: Reader, source: str, target: str) -> FrontingLink:
    link = await find_link(db, source, target)
    if link is None:
        raise _not_found(source, target)
    return link


def _not_found(source: str, target: str) -> NotFound:
    return NotFound(f"fronting link not found: {source}->{target}")


async def _named(tx: Writer, source: str, target: str) -> tuple[Resource, Resource]:
    """Return both ends by their slugs, locked."""
    found = []
    for slug in (source, target):
        resource = await find_resource_by_slug(tx, slug)
        if resource is None:
            raise Invalid(f"resource not found: {slug}")
        found.append(resource.id)
    return await _locked(tx, *found)


async def _check_new(tx: Writer, source: Resource, target: Resource) -> None:
    links = await list_links(tx)
    if any((link.source_id, link.target_id) == (source.id, target.id) for link in links):
        raise Conflict("fronting link already exists for this source and target")
    check_no_cycle(links, source_id=source.id, target_id=target.id)


async def _locked(tx: Writer, source_id: str, target_id: str) -> tuple[Resource, Resource]:
    """Return both ends, which nobody edits until this transaction ends; locked in one order, whichever is which."""
    locked = {resource_id: await lock_resource(tx, resource_id) for resource_id in sorted((source_id, target_id))}
    source, target = locked[source_id], locked[target_id]
    if source is None or target is None:
        raise Invalid("a resource of the link was deleted meanwhile")
    return source, target


def _event(action: Action) -> AuditEvent:
    return AuditEvent(action, actor_id=operator_name())


def _about(event: AuditEvent, link: FrontingLink) -> AuditEvent:
    text = detail(source=link.source, target=link.target, scopes=spell_scope_map(link.scope_map))
    return replace(event, detail=text)
