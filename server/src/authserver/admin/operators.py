"""Operators with names and roles: created, found by their key, revoked (decision 0028)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from authserver.admin.records import BUILT_IN_OWNER, ROLES, Operator, OperatorRecord, Role
from authserver.admin.store import find_operator, find_operator_by_key, insert_operator, revoke_operator
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.protocol.identifiers import hash_token, new_secret
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.protocol.quoting import quoted
from authserver.protocol.times import LAST_SECOND, spell_time
from authserver.resources.store import find_resource, find_resource_by_slug
from authserver.storage.database import Database, UniqueViolation, Writer

KEY_PREFIX = "apo_"
"""Begins every operator's key, so that people and scanners of leaked secrets know one when they see it."""

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
# Actors that audit rows have already.
_TAKEN = frozenset({BUILT_IN_OWNER.name, "cli", "system"})
_MOST_RESOURCES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperator:
    """What an owner asks for; every member is checked.

    Attributes:
        resources: Slugs or ids of the resources it is for; None: for everything.
        expires_at: Seconds since the epoch; None: never.
    """

    name: str
    role: str
    resources: Sequence[str] | None = None
    expires_at: int | None = None


class OperatorAdministration:
    """The operators beside the built-in owner. Every change is audited in the transaction that makes it."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def find(self, key: str) -> OperatorRecord | None:
        """Return whose key it is. Asked of the database each time, so that a revocation holds everywhere at once."""
        return await find_operator_by_key(self._db, hash_token(key)) if key.startswith(KEY_PREFIX) else None

    async def create(self, new: NewOperator, *, now: int) -> tuple[OperatorRecord, str]:
        """Create an operator; return it and its key, which is not stored and cannot be shown again.

        Raises:
            Invalid: The name, the role, a resource or the expiry is none.
            Conflict: The name was given before.
        """
        if not _NAME.fullmatch(new.name) or new.name in _TAKEN:
            raise Invalid(
                "name must begin with a lower-case letter, go on with those, digits and . _ -, and not be taken"
            )
        role = ROLES.get(new.role)
        if role is None:
            raise Invalid(f"role must be one of {', '.join(ROLES)}")
        if new.expires_at is not None and new.expires_at <= now:
            raise Invalid("expires_at must be in the future")
        if new.expires_at is not None and new.expires_at > LAST_SECOND:
            raise Invalid("expires_at must be before the year 10000, UTC")
        operator = Operator(name=new.name, role=role, resources=await self._resources(new.resources, role))
        by = operator_name()
        record = OperatorRecord(
            operator=operator, created_by=by, created_at=now, expires_at=new.expires_at, revoked_at=None
        )
        key = KEY_PREFIX + new_secret()
        expires_at = None if new.expires_at is None else spell_time(new.expires_at)
        text = detail(name=operator.name, role=str(role), resources=operator.resources, expires_at=expires_at)
        event = AuditEvent(Action.OPERATOR_CREATED, actor_id=by, detail=text)

        async def insert(tx: Writer) -> None:
            await insert_operator(tx, record, hash_token(key))
            await self._trail.append(tx, event, now=now)

        try:
            await self._db.write(insert)
        except UniqueViolation as exc:
            raise Conflict("the name was given before, and audit rows bear it") from exc
        return record, key

    async def revoke(self, name: str, *, now: int) -> None:
        """Refuse an operator's key from now on, in every process. May be run again.

        Raises:
            NotFound: There is no such operator.
        """
        event = AuditEvent(Action.OPERATOR_REVOKED, actor_id=operator_name(), detail=detail(name=name))

        async def revoke(tx: Writer) -> None:
            if await revoke_operator(tx, name, now=now):
                await self._trail.append(tx, event, now=now)
            elif await find_operator(tx, name) is None:
                raise NotFound("operator not found")

        await self._db.write(revoke)

    async def _resources(self, named: Sequence[str] | None, role: Role) -> frozenset[str] | None:
        if named is None:
            return None
        if role is Role.OWNER:
            raise Invalid("an owner is for everything: leave resources out, or give another role")
        if not 1 <= len(named) <= _MOST_RESOURCES:
            raise Invalid(f"resources must name 1..{_MOST_RESOURCES}")
        found: set[str] = set()
        for name in named:
            both = (await find_resource_by_slug(self._db, name), await find_resource(self._db, name))
            ids = {resource.id for resource in both if resource is not None}
            if not ids:
                raise Invalid(f"resource not found: {quoted(name)}")
            if len(ids) > 1:
                # Whoever may change a slug could else have a key for another resource made out to theirs, or the reverse.
                raise Invalid(f"one resource has the slug and another the id {quoted(name)}: name it by the other")
            found |= ids
        return frozenset(found)
