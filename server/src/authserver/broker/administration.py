"""What an operator may do with upstream services. Each change is announced and audited in its own transaction."""

import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.broker.provider_secrets import Routed, route_secret, secret_context
from authserver.broker.records import BrokerProtocol, BrokerProvider, Sealed
from authserver.broker.sealing import seal
from authserver.broker.store import (
    delete_provider,
    find_provider,
    find_provider_by_slug,
    insert_provider,
    list_providers,
    lock_provider,
    update_provider,
)
from authserver.encryption.encryptor import Encryptor
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.resources.catalog import TOPIC
from authserver.resources.store import page_resources
from authserver.resources.validation import check_slug
from authserver.storage.changes import announce
from authserver.storage.database import Database, ReferenceViolation, UniqueViolation, Writer

_MAX_NAME_BYTES = 255

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDraft:
    """A provider as an operator states it; not yet checked, and it may hold a secret."""

    slug: str
    display_name: str
    protocol: str
    config_data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPatch:
    """What an operator changes; None leaves a field as it is. ``config_data`` is replaced whole."""

    slug: str | None = None
    display_name: str | None = None
    protocol: str | None = None
    config_data: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def changed_fields(self) -> tuple[str, ...]:
        """The names of the fields that are given, in the order of the audit trail."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerProviderAdministration:
    """The operators' side of the providers.

    Attributes:
        encryptor: Seals the secrets that operators give; without one they may only be referred to.
    """

    db: Database
    trail: AuditTrail
    encryptor: Encryptor | None

    async def create(self, draft: ProviderDraft, *, now: int) -> BrokerProvider:
        """Register a provider.

        Raises:
            Invalid: A field breaks its rule, or a secret cannot be encrypted here.
            Conflict: The slug is in use.
            Failed: The secret cannot be encrypted now.
        """
        provider_id, routed = new_public_id(), self.check_draft(draft)
        provider = BrokerProvider(
            id=provider_id,
            slug=draft.slug.lower(),
            display_name=draft.display_name,
            protocol=BrokerProtocol(draft.protocol),
            config_data=routed.config_data,
            secret=await self._seal(provider_id, routed),
            created_at=now,
            updated_at=now,
        )
        event = _event(Action.BROKER_PROVIDER_CREATED, detail(id=provider.id, slug=provider.slug))

        async def create(tx: Writer) -> None:
            await insert_provider(tx, provider)
            await self._finish(tx, event, now=now)

        await self._write(create, slug=provider.slug)
        return provider

    def check_draft(self, draft: ProviderDraft) -> Routed:
        """Check a draft before it is registered; return its configuration without the secret.

        Raises:
            Invalid: A field breaks its rule, or a secret cannot be encrypted here.
        """
        protocol = parse_protocol(draft.protocol)
        _check_names(draft.slug, draft.display_name)
        return self._route(protocol, draft.config_data)

    async def update(self, provider_id: str, patch: ProviderPatch, *, now: int) -> BrokerProvider:
        """Change what is given; a patch that changes nothing writes nothing. A secret that is given is always a change.

        A reference takes the place of a secret that was encrypted before, and one secret that of another; a configuration
        with neither leaves it.

        Raises:
            NotFound: There is no such provider.
            Invalid: A field breaks its rule, or a secret cannot be encrypted here.
            Conflict: The slug is in use, or the provider was given another protocol meanwhile.
            Failed: The secret cannot be encrypted now.
        """
        seen = await self.get(provider_id)
        if not patch.changed_fields:
            return seen
        protocol = seen.protocol if patch.protocol is None else parse_protocol(patch.protocol)
        routed = None if patch.config_data is None else self._route(protocol, patch.config_data)
        sealed = None if routed is None else await self._seal(provider_id, routed)
        event = _event(Action.BROKER_PROVIDER_PATCHED)

        async def update(tx: Writer) -> BrokerProvider:
            before = await lock_provider(tx, provider_id)
            if before is None:
                raise _not_found(provider_id)
            if before.protocol is not seen.protocol:
                raise Conflict("broker provider was changed by someone else at the same time")
            display_name = before.display_name if patch.display_name is None else patch.display_name
            after = replace(
                before,
                slug=_check_names(before.slug if patch.slug is None else patch.slug, display_name),
                display_name=display_name,
                protocol=protocol,
                updated_at=now,
            )
            if routed is not None:
                secret = sealed or (None if routed.has_reference else before.secret)
                after = replace(after, config_data=routed.config_data, secret=secret)
            if replace(after, updated_at=before.updated_at) == before:
                return before
            await update_provider(tx, after)
            text = detail(id=after.id, slug=after.slug, fields=",".join(patch.changed_fields))
            await self._finish(tx, replace(event, detail=text), now=now)
            return after

        return await self._write(update, slug=patch.slug)

    async def delete(self, provider_id: str, *, now: int) -> None:
        """Delete a provider that nothing refers to.

        Raises:
            NotFound: There is no such provider.
            Conflict: Resources or grants refer to it, revoked grants included.
        """
        event = _event(Action.BROKER_PROVIDER_DELETED, detail(id=provider_id))

        async def delete(tx: Writer) -> None:
            if await lock_provider(tx, provider_id) is None:
                raise _not_found(provider_id)
            # Whoever is about to name the provider holds its row: what is not there now does not come.
            if await page_resources(tx, limit=1, offset=0, broker_provider_id=provider_id):
                raise ReferenceViolation
            await delete_provider(tx, provider_id)
            await self._finish(tx, event, now=now)

        try:
            await self.db.write(delete)
        except ReferenceViolation as exc:
            raise Conflict("broker provider has references and cannot be deleted") from exc

    async def get(self, provider_id: str) -> BrokerProvider:
        """Return a provider.

        Raises:
            NotFound: There is no such provider.
        """
        provider = await find_provider(self.db, provider_id)
        if provider is None:
            raise _not_found(provider_id)
        return provider

    async def get_by_slug(self, slug: str) -> BrokerProvider:
        """Return the provider of a slug.

        Raises:
            NotFound: There is no such provider.
        """
        provider = await find_provider_by_slug(self.db, slug)
        if provider is None:
            raise _not_found(slug)
        return provider

    async def every(self) -> list[BrokerProvider]:
        """Return all providers, by their slugs."""
        return await list_providers(self.db)

    async def get_id(self, *, provider_id: str, slug: str) -> str:
        """Return the id of the provider that somebody names by id or slug; empty when neither is given.

        Raises:
            NotFound: There is no provider of this slug.
            Invalid: The id is another's.
        """
        if not slug:
            return provider_id
        provider = await self.get_by_slug(slug)
        if provider_id and provider_id != provider.id:
            raise Invalid("broker_provider_id and broker_provider_slug name different providers")
        return provider.id

    def _route(self, protocol: BrokerProtocol, config_data: Mapping[str, Any]) -> Routed:
        routed = route_secret(protocol, config_data)
        if routed.secret is not None and self.encryptor is None:
            raise Invalid(
                f"{routed.field} cannot be stored without data_encryption: name an environment variable that holds it"
                f" in {routed.field}_ref"
            )
        return routed

    async def _seal(self, provider_id: str, routed: Routed) -> Sealed | None:
        if routed.secret is None or self.encryptor is None:
            return None
        plaintext = routed.secret.reveal().encode("utf-8")
        return await seal(self.encryptor, plaintext, context=secret_context(provider_id, routed.field))

    async def _finish(self, tx: Writer, event: AuditEvent, *, now: int) -> None:
        await announce(tx, TOPIC)
        await self.trail.append(tx, event, now=now)

    async def _write(self, transaction: Callable[[Writer], Awaitable[T]], *, slug: str | None) -> T:
        try:
            return await self.db.write(transaction)
        except UniqueViolation as exc:
            raise Conflict(f'slug "{slug}" is already in use') from exc


def parse_protocol(text: str) -> BrokerProtocol:
    """Return the protocol that a text names.

    Raises:
        Invalid: It names none.
    """
    if text not in set(BrokerProtocol):
        raise Invalid(f"protocol must be one of {', '.join(BrokerProtocol)}")
    return BrokerProtocol(text)


def _check_names(slug: str, display_name: str) -> str:
    """Return the slug in the form that is stored.

    Raises:
        Invalid: It is none, or the display name is missing, too long or no line of text.
    """
    folded = slug.lower()
    check_slug(folded)
    if not display_name.strip() or len(display_name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        raise Invalid(f"display_name must be 1 to {_MAX_NAME_BYTES} bytes")
    if any(unicodedata.category(character)[0] == "C" for character in display_name):
        raise Invalid("display_name must not have control characters")
    return folded


def _not_found(named: str) -> NotFound:
    return NotFound(f"broker provider not found: {named}")


def _event(action: Action, text: str = "") -> AuditEvent:
    return AuditEvent(action, actor_id=operator_name(), detail=text)
