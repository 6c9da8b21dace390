"""What an operator may do with resources: create, change and delete them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.resources.catalog import TOPIC
from authserver.resources.fronting_administration import check_links_fit, cut_links
from authserver.resources.records import BackendKind, Resource, ResourcePolicy, ResourceScope
from authserver.resources.store import (
    delete_resource,
    insert_resource,
    lock_resource,
    update_resource,
)
from authserver.resources.validation import (
    check_display_name,
    check_policy,
    check_scopes,
    check_slug,
    check_uri,
    parse_backend_kind,
)
from authserver.storage.changes import announce
from authserver.storage.database import Database, Reader, ReferenceViolation, UniqueViolation, Writer
from authserver.telemetry.metrics import RESOURCE_SERVER_OPS

T = TypeVar("T")


ClientExists = Callable[[Reader, str], Awaitable[bool]]
"""Whether there is a client of this id; clients stand above resources, so they hand it in."""

ProviderHeld = Callable[[Writer, str], Awaitable[bool]]
"""Whether there is a provider of this id, which then stays until the transaction ends; handed in as clients are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceDraft:
    """A resource as an operator states it; not yet checked."""

    slug: str
    backend_kind: str
    uri: str = ""
    display_name: str = ""
    broker_provider_id: str = ""
    scopes: tuple[ResourceScope, ...] = ()
    policy: ResourcePolicy = field(default_factory=ResourcePolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePatch:
    """What an operator changes; None leaves a field as it is. Scopes and policy are replaced whole."""

    slug: str | None = None
    uri: str | None = None
    backend_kind: str | None = None
    broker_provider_id: str | None = None
    display_name: str | None = None
    scopes: tuple[ResourceScope, ...] | None = None
    policy: ResourcePolicy | None = None

    @property
    def changed_fields(self) -> tuple[str, ...]:
        """The names of the fields that are given, in the order of the audit trail."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) is not None)


class ResourceAdministration:
    """The operators' side of the catalogue. Each change is announced and audited in its own transaction."""

    def __init__(
        self, db: Database, trail: AuditTrail, client_exists: ClientExists, provider_held: ProviderHeld
    ) -> None:
        self._db = db
        self._trail = trail
        self._client_exists = client_exists
        self._provider_held = provider_held

    async def create_resource(self, draft: ResourceDraft, *, now: int) -> Resource:
        """Register a resource.

        Raises:
            Invalid: A field breaks its rule.
            Conflict: The slug is in use.
        """
        resource = _new(draft, now=now)
        event = _event(Action.RESOURCE_CREATED, detail(id=resource.id, slug=resource.slug))

        async def create(tx: Writer) -> None:
            await self._check_clients(tx, resource.policy)
            await self._check_provider(tx, resource)
            await insert_resource(tx, resource)
            await self._finish(tx, event, now=now)

        await self._write(create, slug=resource.slug)
        RESOURCE_SERVER_OPS.inc("create")
        return resource

    async def check_draft(self, draft: ResourceDraft) -> None:
        """Check what can be checked of a draft before it is registered.

        Raises:
            Invalid: A field breaks its rule.
        """
        await self._check_clients(self._db, _new(draft, now=0).policy)

    async def update_resource(self, resource_id: str, patch: ResourcePatch, *, now: int) -> Resource:
        """Change what is given; a patch that changes nothing writes nothing.

        Raises:
            NotFound: There is no such resource.
            Invalid: A field breaks its rule, or a fronting link that names the resource would not fit any more.
            Conflict: The slug is in use.
        """
        event = _event(Action.RESOURCE_PATCHED)

        async def update(tx: Writer) -> Resource:
            before = await lock_resource(tx, resource_id)
            if before is None:
                raise NotFound(f"resource not found: {resource_id}")
            if not patch.changed_fields:
                return before
            after = _checked(_patched(before, patch, now=now))
            if replace(after, updated_at=before.updated_at) == before:
                return before
            if patch.policy is not None:
                await self._check_clients(tx, after.policy)
            await check_links_fit(tx, before, after)
            if after.broker_provider_id != before.broker_provider_id:
                await self._check_provider(tx, after)
            await update_resource(tx, after)
            text = detail(id=after.id, slug=after.slug, fields=",".join(patch.changed_fields))
            await self._finish(tx, replace(event, detail=text), now=now)
            return after

        resource = await self._write(update, slug=patch.slug)
        RESOURCE_SERVER_OPS.inc("update")
        return resource

    async def delete_resource(self, resource_id: str, *, cascade: bool = False, now: int) -> None:
        """Delete a resource that nothing refers to.

        Args:
            resource_id: Which.
            cascade: Whether the fronting links that name it go with it.
            now: Seconds since the epoch.

        Raises:
            NotFound: There is no such resource.
            Conflict: Consent grants, issuances, pending connects or fronting links refer to it.
        """
        event, unlinked = _event(Action.RESOURCE_DELETED), _event(Action.FRONTING_LINK_DELETED)

        async def delete(tx: Writer) -> None:
            resource = await lock_resource(tx, resource_id)
            if resource is None:
                raise NotFound(f"resource not found: {resource_id}")
            cut = await cut_links(tx, resource, cascade=cascade)
            for link in cut:
                text = detail(source=link.source, target=link.target, reason="resource_cascade")
                await self._trail.append(tx, replace(unlinked, detail=text), now=now)
            await delete_resource(tx, resource_id, now=now)
            text = detail(id=resource.id, slug=resource.slug, cascaded_links=len(cut) or None)
            await self._finish(tx, replace(event, detail=text), now=now)

        try:
            await self._db.write(delete)
        except ReferenceViolation as exc:
            raise Conflict("resource has references and cannot be deleted") from exc
        RESOURCE_SERVER_OPS.inc("delete")

    async def _check_clients(self, tx: Reader, policy: ResourcePolicy) -> None:
        for client_id in (*policy.exchange_allowed_client_ids, *policy.runtime_client_ids):
            if not await self._client_exists(tx, client_id):
                raise Invalid(f"client not found: {client_id}")

    async def _check_provider(self, tx: Writer, resource: Resource) -> None:
        provider_id = resource.broker_provider_id
        if provider_id is not None and not await self._provider_held(tx, provider_id):
            raise Invalid(f"broker provider not found: {provider_id}")

    async def _finish(self, tx: Writer, event: AuditEvent, *, now: int) -> None:
        await announce(tx, TOPIC)
        await self._trail.append(tx, event, now=now)

    async def _write(self, transaction: Callable[[Writer], Awaitable[T]], *, slug: str | None) -> T:
        try:
            return await self._db.write(transaction)
        except UniqueViolation as exc:
            raise Conflict(f'slug "{slug}" is already in use') from exc


def _new(draft: ResourceDraft, *, now: int) -> Resource:
    return _checked(
        Resource(
            id=new_public_id(),
            slug=draft.slug,
            display_name=draft.display_name,
            uri=draft.uri,
            backend_kind=parse_backend_kind(draft.backend_kind),
            broker_provider_id=draft.broker_provider_id or None,
            scopes=draft.scopes,
            policy=draft.policy,
            created_at=now,
            updated_at=now,
        )
    )


def _patched(before: Resource, patch: ResourcePatch, *, now: int) -> Resource:
    kind = before.backend_kind if patch.backend_kind is None else parse_backend_kind(patch.backend_kind)
    provider = before.broker_provider_id if patch.broker_provider_id is None else patch.broker_provider_id or None
    return replace(
        before,
        slug=before.slug if patch.slug is None else patch.slug,
        uri=before.uri if patch.uri is None else patch.uri,
        backend_kind=kind,
        broker_provider_id=provider,
        display_name=before.display_name if patch.display_name is None else patch.display_name,
        scopes=before.scopes if patch.scopes is None else patch.scopes,
        policy=before.policy if patch.policy is None else patch.policy,
        updated_at=now,
    )


def _checked(resource: Resource) -> Resource:
    """Return a resource that obeys the rules, in the form that is stored.

    Raises:
        Invalid: A field breaks its rule.
    """
    slug = resource.slug.lower()
    check_slug(slug)
    check_display_name(resource.display_name)
    check_uri(resource.uri)
    if resource.backend_kind is BackendKind.MINT and resource.broker_provider_id:
        raise Invalid("broker_provider_id must be empty for a mint resource")
    if resource.backend_kind is BackendKind.BROKER and not resource.broker_provider_id:
        raise Invalid("a broker resource needs a provider: broker_provider_id is required")
    check_scopes(resource.scopes)
    policy = resource.policy
    if resource.backend_kind is BackendKind.MINT:
        # Nothing connects to a mint resource; the list means nothing there.
        policy = replace(policy, connect_allowed_return_urls=())
    check_policy(policy)
    return replace(resource, slug=slug, policy=policy)


def _event(action: Action, text: str = "") -> AuditEvent:
    return AuditEvent(action, actor_id=operator_name(), detail=text)
