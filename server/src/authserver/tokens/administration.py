"""What operators see of the tokens that were handed out, and taking one back (admin API, section 11)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail, subject_name
from authserver.protocol.identifiers import parse_id
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.storage.database import Database, Writer
from authserver.tokens.records import Issuance, IssuanceFilter, IssuanceKind
from authserver.tokens.store import find_issuance, list_descendants, list_issuances, revoke_descendants, revoke_issuance

MOST_LISTED = 5000
LISTED = 500
SINCE = 24 * 3600
"""Seconds: how far back a list goes, unless it is said."""
LONGEST_SINCE = 30 * 24 * 3600
_TOLERANCE = 60
_MOST_ANCESTORS = 64
_MOST_DESCENDANTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a token came from, and what came of it.

    Attributes:
        ancestors: What it was exchanged from, the root first.
        descendants: What was exchanged from it, to the leaves, oldest first; at most 1,000.
    """

    issuance: Issuance
    ancestors: Sequence[Issuance]
    descendants: Sequence[Issuance]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceAdministration:
    """Lists, shows and revokes tokens for operators."""

    db: Database
    trail: AuditTrail

    async def list_issuances(
        self, wanted: IssuanceFilter, *, since: int, limit: int = LISTED, now: int
    ) -> Sequence[Issuance]:
        """Return what was issued since a moment and passes a filter, newest first; one token whenever it was issued.

        Args:
            wanted: The filter.
            since: Seconds since the epoch, not more than 30 days ago; not looked at when the filter names a token.
            limit: How many at most, 1 to 5000; not looked at when the filter names a token.
            now: Seconds since the epoch.

        Raises:
            Invalid: The filter is empty, or a number is out of range.
        """
        if wanted.is_empty:
            raise Invalid("at least one of user, client, resource, jti is required")
        if wanted.jti is not None:
            identifier = parse_id(wanted.jti)
            found = None if identifier is None else await find_issuance(self.db, identifier)
            # What another service issued has a row and no ``jti``.
            is_it = found is not None and found.kind is not IssuanceKind.BROKER and wanted.passes(found)
            return [found] if found is not None and is_it else []
        if not 1 <= limit <= MOST_LISTED:
            raise Invalid(f"limit must be from 1 to {MOST_LISTED}")
        if since < now - LONGEST_SINCE - _TOLERANCE:
            raise Invalid("since must not be more than 30 days ago")
        return await list_issuances(self.db, wanted, since=since, limit=limit)

    async def get_issuance(self, issuance_id: str) -> Issuance:
        """Return one.

        Raises:
            NotFound: There is none with this id.
        """
        identifier = parse_id(issuance_id)
        found = None if identifier is None else await find_issuance(self.db, identifier)
        if found is None:
            raise NotFound(f"issuance not found: {issuance_id}")
        return found

    async def get_lineage(self, issuance_id: str) -> Lineage:
        """Return a token with those before and after it.

        Raises:
            NotFound: There is none with this id.
        """
        issuance = await self.get_issuance(issuance_id)
        ancestors: list[Issuance] = []
        parent = issuance.parent_jti
        while parent is not None and len(ancestors) < _MOST_ANCESTORS:
            found = await find_issuance(self.db, parent)
            if found is None:  # purged
                break
            ancestors.insert(0, found)
            parent = found.parent_jti
        descendants = await list_descendants(self.db, issuance.id, limit=_MOST_DESCENDANTS)
        return Lineage(issuance=issuance, ancestors=ancestors, descendants=descendants)

    async def revoke(self, issuance_id: str, *, cascade: bool = False, now: int) -> None:
        """Revoke a token, in one transaction; an id that is not known is none, and one that was revoked stays so.

        Args:
            issuance_id: The token's ``jti``.
            cascade: Whether what was exchanged from it goes, too, to the leaves: also when the token itself is revoked.
            now: Seconds since the epoch.
        """
        identifier = parse_id(issuance_id)
        if identifier is not None:
            event = AuditEvent(Action.ISSUANCE_REVOKED_ADMIN, actor_id=operator_name())
            await self.db.write(lambda tx: self._revoke(tx, identifier, event, cascade=cascade, now=now))

    async def _revoke(self, tx: Writer, jti: bytes, event: AuditEvent, *, cascade: bool, now: int) -> None:
        changed = await revoke_issuance(tx, jti, now=now)
        descendants = await revoke_descendants(tx, jti, now=now) if cascade else None
        issuance = await find_issuance(tx, jti)
        if issuance is None or not (changed or descendants):
            return
        text = detail(
            id=issuance.id,
            subject_user_id=subject_name(issuance.subject or issuance.client_id),
            client_id=issuance.client_id,
            resource_id=issuance.resource_id or "",
            revoked_descendants=descendants,
        )
        await self.trail.append(tx, replace(event, detail=text), now=now)
