"""Taking a user's consent back: with it goes everything that rests on it, to the last exchanged token."""

from dataclasses import dataclass, replace

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.consent_store import revoke_consent
from authserver.authorization.records import ConsentGrant
from authserver.authorization.store import revoke_families_at
from authserver.protocol.identifiers import parse_id
from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.telemetry.logs import get_logger
from authserver.tokens.store import revoke_lineage

_log = get_logger("token")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRevocation:
    """Revokes consents for operators (admin API, section 11)."""

    db: Database
    trail: AuditTrail

    async def revoke(self, consent_id: str, *, now: int) -> None:
        """Revoke a consent, the families and codes that came of it, and every token under it; an unknown id is none.

        May be run again: it then looks for what is still in force, and is recorded if there was any.

        All of it is one transaction. When that fails for another reason than a database that is away, the consent alone is
        revoked, so that nothing new comes of it, and the trail says what is still in force.

        Raises:
            StorageUnavailable: Nothing was revoked.
        """
        identifier = parse_id(consent_id)
        if identifier is None:
            return
        event = AuditEvent(Action.CONSENT_GRANT_REVOKED_ADMIN, actor_id=operator_name())
        try:
            await self.db.write(lambda tx: self._revoke(tx, identifier, event, now=now))
        except StorageUnavailable:
            raise
        except Exception:  # noqa: BLE001  the consent must not stay because what rests on it cannot be reached
            _log.exception("consent revoked without what rests on it", consent_id=consent_id)
            await self.db.write(lambda tx: self._revoke_alone(tx, identifier, event, now=now))

    async def _revoke(self, tx: Writer, consent_id: bytes, event: AuditEvent, *, now: int) -> None:
        consent = await revoke_consent(tx, consent_id, now=now)
        if consent is None:
            return
        # Families before tokens: their rows are locked until the end, so no refresh slips a token in behind.
        families = await revoke_families_at(
            tx,
            user_id=consent.user_id,
            client_id=consent.client_id,
            resource_id=consent.resource_id,
            now=now,
        )
        issuances = await revoke_lineage(
            tx,
            user_id=consent.user_id,
            client_id=consent.client_id,
            resource_id=consent.resource_id,
            now=now,
        )
        if consent.revoked_at is not None and not issuances and not families:
            return
        text = detail(**_fields(consent), revoked_issuances=issuances, revoked_families=families)
        await self.trail.append(tx, replace(event, detail=text), now=now)

    async def _revoke_alone(self, tx: Writer, consent_id: bytes, event: AuditEvent, *, now: int) -> None:
        consent = await revoke_consent(tx, consent_id, now=now)
        if consent is not None:
            # Also when it was revoked before: what rests on it is said to be in force.
            text = detail(**_fields(consent), cascade="failed", family_cascade="failed")
            await self.trail.append(tx, replace(event, detail=text), now=now)


def _fields(consent: ConsentGrant) -> dict[str, str | bytes]:
    return {
        "id": consent.id,
        "user_id": consent.user_id,
        "client_id": consent.client_id,
        "resource_id": consent.resource_id,
    }
