"""Revoking a family or a machine token, for operators (admin API, 4)."""

from dataclasses import dataclass

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.family_store import find_family
from authserver.authorization.store import revoke_family
from authserver.protocol.identifiers import parse_id
from authserver.protocol.operator_errors import NotFound
from authserver.storage.database import Database, Writer
from authserver.telemetry.metrics import TOKENS_REVOKED
from authserver.tokens.records import IssuanceKind
from authserver.tokens.store import find_issued, revoke_issuance, revoke_issuances_of_family


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAdministration:
    """Tokens, as operators see them."""

    db: Database
    trail: AuditTrail

    async def revoke(self, token_id: str, *, now: int) -> None:
        """Revoke a family with everything it handed out, or one machine token. May be run again.

        Raises:
            NotFound: It is neither.
        """
        identifier = parse_id(token_id)
        family = None if identifier is None else await find_family(self.db, identifier)
        if family is not None:
            await self._revoke_family(family.id, client_id=family.client_id, now=now)
            return
        issued = None if identifier is None else await find_issued(self.db, identifier)
        if issued is None or issued.issuance.kind is not IssuanceKind.MACHINE:
            raise NotFound("there is no family and no machine token of this id")
        await self._revoke_machine_token(issued.issuance.id, client_id=issued.issuance.client_id, now=now)

    async def _revoke_family(self, family_id: bytes, *, client_id: str, now: int) -> None:
        event = _event(client_id, detail(family=family_id))

        async def revoke(tx: Writer) -> bool:
            is_changed = await revoke_family(tx, family_id, now=now)
            await revoke_issuances_of_family(tx, family_id, now=now)
            if is_changed:
                await self.trail.append(tx, event, now=now)
            return is_changed

        if await self.db.write(revoke):
            TOKENS_REVOKED.inc("explicit")

    async def _revoke_machine_token(self, jti: bytes, *, client_id: str, now: int) -> None:
        event = _event(client_id, detail(machine_jti=jti))

        async def revoke(tx: Writer) -> bool:
            is_changed = await revoke_issuance(tx, jti, now=now)
            if is_changed:
                await self.trail.append(tx, event, now=now)
            return is_changed

        if await self.db.write(revoke):
            TOKENS_REVOKED.inc("explicit_machine")


def _event(client_id: str, what: str) -> AuditEvent:
    return AuditEvent(Action.TOKEN_REVOKED, actor_id=operator_name(), client_id=client_id, detail=what)
