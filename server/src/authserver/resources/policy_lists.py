"""The lists of a resource's policy, changed entry by entry. Each change is announced and audited in its own transaction."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.protocol.uris import parse_uri
from authserver.resources.administration import ClientExists
from authserver.resources.catalog import TOPIC
from authserver.resources.records import BackendKind, Resource, ResourcePolicy
from authserver.resources.store import find_resource_by_slug, lock_resource, update_resource
from authserver.resources.validation import check_policy
from authserver.storage.changes import announce
from authserver.storage.database import Database, Writer
from authserver.telemetry.metrics import ALLOWLIST_OPS

# Taken as they are, so that the port may be a star (admin API, 7).
_LOOPBACK = tuple(f"{scheme}://{host}:" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1"))
_MAX_URL_BYTES = 2048


class PolicyList(Enum):
    """A list: the field of the policy, what its entries are called, and the actions of the audit trail."""

    EXCHANGE_CLIENTS = (
        "exchange_allowed_client_ids",
        "client_id",
        Action.RESOURCE_ALLOWED_CLIENT_ADDED,
        Action.RESOURCE_ALLOWED_CLIENT_REMOVED,
    )
    RUNTIME_CLIENTS = (
        "runtime_client_ids",
        "client_id",
        Action.RESOURCE_RUNTIME_CLIENT_ADDED,
        Action.RESOURCE_RUNTIME_CLIENT_REMOVED,
    )
    RETURN_URLS = (
        "connect_allowed_return_urls",
        "return_url",
        Action.RESOURCE_RETURN_URL_ADDED,
        Action.RESOURCE_RETURN_URL_REMOVED,
    )

    def __init__(self, field: str, entry: str, added: Action, removed: Action) -> None:
        self.field = field
        self.entry = entry
        self.added = added
        self.removed = removed

    def of(self, policy: ResourcePolicy) -> tuple[str, ...]:
        """Return its entries."""
        entries: tuple[str, ...] = getattr(policy, self.field)
        return entries

    def put(self, policy: ResourcePolicy, entries: tuple[str, ...]) -> ResourcePolicy:
        """Return a policy with other entries."""
        changes: dict[str, Any] = {self.field: entries}
        return replace(policy, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLists:
    """The operators' side of the lists."""

    db: Database
    trail: AuditTrail
    client_exists: ClientExists

    async def get(self, which: PolicyList, slug: str) -> tuple[str, ...]:
        """Return the entries.

        Raises:
            NotFound: There is no resource of this slug.
            Invalid: A mint resource has no such list.
        """
        resource = await find_resource_by_slug(self.db, slug)
        entries = which.of(_having(which, slug, resource).policy)
        ALLOWLIST_OPS.inc("list")
        return entries

    async def add(self, which: PolicyList, slug: str, entry: str, *, now: int) -> tuple[str, ...]:
        """Put an entry on a list; return all. One that is there already changes nothing.

        Raises:
            NotFound: There is no resource of this slug.
            Invalid: There is no such client, the URL is none, or a mint resource has no such list.
        """

        async def added(tx: Writer, present: tuple[str, ...]) -> tuple[str, ...]:
            if which is PolicyList.RETURN_URLS:
                _check_return_url(entry)
            elif not entry or not await self.client_exists(tx, entry):
                raise Invalid(f"client not found: {entry}")
            return present if entry in present else (*present, entry)

        entries = await self._change(which, slug, _event(which, which.added, slug, entry), added, now=now)
        ALLOWLIST_OPS.inc("add")
        return entries

    async def remove(self, which: PolicyList, slug: str, entry: str, *, now: int) -> tuple[str, ...]:
        """Take an entry off a list; return what is left. An absent one changes nothing.

        Raises:
            NotFound: There is no resource of this slug.
            Invalid: A mint resource has no such list.
        """

        async def removed(_tx: Writer, present: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(each for each in present if each != entry)

        entries = await self._change(which, slug, _event(which, which.removed, slug, entry), removed, now=now)
        ALLOWLIST_OPS.inc("remove")
        return entries

    async def _change(
        self,
        which: PolicyList,
        slug: str,
        event: AuditEvent,
        changed: Callable[[Writer, tuple[str, ...]], Awaitable[tuple[str, ...]]],
        *,
        now: int,
    ) -> tuple[str, ...]:
        async def change(tx: Writer) -> tuple[str, ...]:
            named = await find_resource_by_slug(tx, slug)
            resource = _having(which, slug, await lock_resource(tx, named.id) if named else None)
            before = which.of(resource.policy)
            after = await changed(tx, before)
            if after != before:
                policy = which.put(resource.policy, after)
                if len(after) > len(before):
                    check_policy(policy)
                await update_resource(tx, replace(resource, policy=policy, updated_at=now))
                await announce(tx, TOPIC)
                await self.trail.append(tx, event, now=now)
            return after

        return await self.db.write(change)


def _having(which: PolicyList, slug: str, resource: Resource | None) -> Resource:
    """Return a resource that was looked for, if there is one and it has such a list."""
    if resource is None:
        raise NotFound(f"resource not found: {slug}")
    if which is PolicyList.RETURN_URLS and resource.backend_kind is BackendKind.MINT:
        raise Invalid("a mint resource has no return URLs: nothing connects to it")
    return resource


def _check_return_url(url: str) -> None:
    parsed = None if len(url.encode()) > _MAX_URL_BYTES else parse_uri(url)
    if not url.startswith(_LOOPBACK) and (parsed is None or not parsed.is_web):
        raise Invalid("url must be an absolute http or https URL with a host")


def _event(which: PolicyList, action: Action, slug: str, entry: str) -> AuditEvent:
    """Return an event about the client that gains or loses a right, which is not the resource."""
    is_client = which.entry == "client_id"
    text = detail(slug=slug, **{which.entry: entry})
    return AuditEvent(action, actor_id=operator_name(), client_id=entry if is_client else "", detail=text)
