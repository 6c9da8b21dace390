"""What an operator may do with policies and subject mappings."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, fields, replace

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.protocol.errors import InvalidScope
from authserver.protocol.id_jag import MAX_SUBJECT_BYTES
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.protocol.scopes import parse_scopes
from authserver.storage.changes import announce
from authserver.storage.database import Database, Reader, ReferenceViolation, UniqueViolation, Writer
from authserver.xaa.administration import check_name
from authserver.xaa.records import SubjectMapping, XaaPolicy
from authserver.xaa.registry import TOPIC
from authserver.xaa.store import (
    delete_mapping,
    delete_policy,
    find_idp,
    find_mapping_by_id,
    find_policy,
    insert_mapping,
    insert_policy,
    list_mappings,
    list_policies,
    update_policy,
)

UserExists = Callable[[Reader, str], Awaitable[bool]]
"""Whether there is a user of this id."""

_MOST_ENTRIES = 1000
_MAX_ENTRY_CHARACTERS = 2048
_PAGE = 500


class _Unchanged:
    """Stands for a field that a patch leaves as it is, where None says something else."""


UNCHANGED = _Unchanged()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPatch:
    """What an operator changes; None, for ``scopes`` ``UNCHANGED``, leaves a field as it is. Lists are replaced whole."""

    name: str | None = None
    client_ids: tuple[str, ...] | None = None
    scopes: tuple[str, ...] | _Unchanged | None = UNCHANGED
    resources: tuple[str, ...] | None = None
    enabled: bool | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self == PolicyPatch()

    def apply(self, policy: XaaPolicy, *, now: int) -> XaaPolicy:
        """Return the policy with what is changed."""
        scopes = policy.scopes if isinstance(self.scopes, _Unchanged) else self.scopes
        others = {
            each.name: value
            for each in fields(self)
            if each.name != "scopes" and (value := getattr(self, each.name)) is not None
        }
        return replace(policy, scopes=scopes, updated_at=now, **others)


class PolicyAdministration:
    """Policies. Each change is announced and audited in its own transaction, one at a time as those of providers."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def create(
        self,
        *,
        name: str,
        idp_id: str,
        client_ids: tuple[str, ...] = (),
        scopes: tuple[str, ...] | None = None,
        resources: tuple[str, ...] = (),
        now: int,
    ) -> XaaPolicy:
        """Let assertions of a provider through.

        Raises:
            Invalid: A field breaks its rule.
            NotFound: There is no such provider.
        """
        policy = XaaPolicy(
            id=new_public_id(),
            name=name,
            idp_id=idp_id,
            client_ids=client_ids,
            scopes=scopes,
            resources=resources,
            enabled=True,
            created_at=now,
            updated_at=now,
        )
        _check_policy(policy)
        event = AuditEvent(Action.XAA_POLICY_CREATED, actor_id=operator_name())

        async def create(tx: Writer) -> None:
            await announce(tx, TOPIC)
            await _check_idp(tx, idp_id)
            await insert_policy(tx, policy)
            await self._record(tx, event, policy, now=now)

        await self._db.write(create)
        return policy

    async def every(self, *, idp_id: str | None = None) -> list[XaaPolicy]:
        """Return all policies, or those of one provider, in the order in which they are tried."""
        return await list_policies(self._db, idp_id=idp_id)

    async def get(self, policy_id: str) -> XaaPolicy:
        """Return one policy.

        Raises:
            NotFound: There is no such policy.
        """
        return await _get_policy(self._db, policy_id)

    async def update(self, policy_id: str, patch: PolicyPatch, *, now: int) -> XaaPolicy:
        """Change what is given; a patch that changes nothing writes nothing.

        Raises:
            Invalid: A field breaks its rule.
            NotFound: There is no such policy.
        """
        event = AuditEvent(Action.XAA_POLICY_UPDATED, actor_id=operator_name())

        async def update(tx: Writer) -> XaaPolicy:
            if not patch.is_empty:
                await announce(tx, TOPIC)
            before = await _get_policy(tx, policy_id)
            if patch.apply(before, now=before.updated_at) == before:
                return before
            after = patch.apply(before, now=now)
            _check_policy(after)
            await update_policy(tx, after)
            await self._record(tx, event, after, now=now)
            return after

        return await self._db.write(update)

    async def delete(self, policy_id: str, *, now: int) -> None:
        """Delete a policy.

        Raises:
            NotFound: There is no such policy.
        """
        event = AuditEvent(Action.XAA_POLICY_DELETED, actor_id=operator_name())

        async def delete(tx: Writer) -> None:
            await announce(tx, TOPIC)
            policy = await _get_policy(tx, policy_id)
            await delete_policy(tx, policy_id)
            await self._record(tx, event, policy, now=now)

        await self._db.write(delete)

    async def _record(self, tx: Writer, event: AuditEvent, policy: XaaPolicy, *, now: int) -> None:
        text = detail(id=policy.id, idp_id=policy.idp_id, name=policy.name)
        await self._trail.append(tx, replace(event, detail=text), now=now)


class MappingAdministration:
    """Subject mappings. They are read at the moment of use, so no change is announced; each is audited."""

    def __init__(self, db: Database, trail: AuditTrail, user_exists: UserExists) -> None:
        self._db = db
        self._trail = trail
        self._user_exists = user_exists

    async def create(self, *, idp_id: str, idp_subject: str, local_user_id: str | None, now: int) -> SubjectMapping:
        """Say who a provider's user is here.

        Raises:
            Invalid: The subject breaks its rule, or is mapped already.
            NotFound: There is no such provider or user.
        """
        if not idp_subject or "\x00" in idp_subject or len(idp_subject.encode()) > MAX_SUBJECT_BYTES:
            raise Invalid(f"idp_subject must be 1 to {MAX_SUBJECT_BYTES} bytes")
        mapping = SubjectMapping(
            id=new_public_id(),
            idp_id=idp_id,
            idp_subject=idp_subject,
            local_user_id=local_user_id or None,
            created_at=now,
        )
        event = AuditEvent(Action.XAA_SUBJECT_MAPPING_CREATED, actor_id=operator_name())

        async def create(tx: Writer) -> None:
            await _check_idp(tx, idp_id)
            if mapping.local_user_id is not None and not await self._user_exists(tx, mapping.local_user_id):
                raise NotFound(f"user not found: {mapping.local_user_id}")
            await insert_mapping(tx, mapping)
            await self._finish(tx, event, mapping, now=now)

        try:
            await self._db.write(create)
        except UniqueViolation as exc:
            raise Invalid("idp_subject is mapped already") from exc
        except ReferenceViolation as exc:
            # Deleted since it was looked for.
            raise NotFound(f"trusted IdP not found: {idp_id}") from exc
        return mapping

    async def page(
        self, *, limit: int, idp_id: str | None = None, after: SubjectMapping | None = None
    ) -> list[SubjectMapping]:
        """Return a page of the mappings, as ``list_mappings``."""
        return await list_mappings(self._db, limit=limit, idp_id=idp_id, after=after)

    async def every(self, *, idp_id: str | None = None) -> AsyncIterator[SubjectMapping]:
        """Go through all mappings, or those of one provider."""
        page = await list_mappings(self._db, limit=_PAGE, idp_id=idp_id)
        while page:
            for mapping in page:
                yield mapping
            page = await list_mappings(self._db, limit=_PAGE, idp_id=idp_id, after=page[-1])

    async def delete(self, mapping_id: str, *, now: int) -> None:
        """Delete a mapping.

        Raises:
            NotFound: There is no such mapping.
        """
        event = AuditEvent(Action.XAA_SUBJECT_MAPPING_DELETED, actor_id=operator_name())

        async def delete(tx: Writer) -> None:
            mapping = await find_mapping_by_id(tx, mapping_id)
            if mapping is None or not await delete_mapping(tx, mapping_id):
                raise NotFound(f"subject mapping not found: {mapping_id}")
            await self._finish(tx, event, mapping, now=now)

        await self._db.write(delete)

    async def _finish(self, tx: Writer, event: AuditEvent, mapping: SubjectMapping, *, now: int) -> None:
        text = detail(id=mapping.id, idp_id=mapping.idp_id)
        await self._trail.append(tx, replace(event, detail=text), now=now)


async def _check_idp(tx: Writer, idp_id: str) -> None:
    if await find_idp(tx, idp_id) is None:
        raise NotFound(f"trusted IdP not found: {idp_id}")


async def _get_policy(db: Reader, policy_id: str) -> XaaPolicy:
    policy = await find_policy(db, policy_id)
    if policy is None:
        raise NotFound(f"policy not found: {policy_id}")
    return policy


def _check_policy(policy: XaaPolicy) -> None:
    check_name(policy.name)
    for name, entries in (
        ("client_ids", policy.client_ids),
        ("scopes", policy.scopes or ()),
        ("resources", policy.resources),
    ):
        if len(entries) > _MOST_ENTRIES:
            raise Invalid(f"{name} may have {_MOST_ENTRIES} entries at most")
        if not all(entry and len(entry) <= _MAX_ENTRY_CHARACTERS and entry.isprintable() for entry in entries):
            raise Invalid(f"an entry of {name} is empty, too long or holds control characters")
    for scope in policy.scopes or ():
        try:
            is_one = parse_scopes(scope) == (scope,)
        except InvalidScope:
            is_one = False
        if not is_one:
            raise Invalid("an entry of scopes is no scope")
