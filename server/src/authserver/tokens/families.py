"""Ending a family of refresh tokens: because its user wants it, or because something of it was used twice."""

from dataclasses import dataclass
from enum import StrEnum

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.records import Authorization
from authserver.authorization.store import revoke_family
from authserver.protocol.identifiers import TokenHash, spell_id
from authserver.storage.database import Database
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import REVOCATION_FAILURES, TOKENS_REVOKED
from authserver.tokens.store import revoke_issuances_of_family

_log = get_logger("token")


class ReusePath(StrEnum):
    """What was used twice, in the spelling of the metrics."""

    REFRESH = "reuse"
    CODE = "code_reuse"


@dataclass(frozen=True, slots=True)
class _Words:
    """How the two paths are spoken of, in the audit trail, the metrics and the log."""

    detail: str
    reason: str
    log_during: str
    log_revoked: str
    id_name: str


_WORDS = {
    ReusePath.REFRESH: _Words(
        "reuse_detection",
        "family_revocation",
        "reuse detection",
        "refresh token reuse detected — family revoked",
        "token_id",
    ),
    ReusePath.CODE: _Words(
        "code_reuse",
        "code_reuse",
        "code reuse detection",
        "authorization code reuse detected — family revoked",
        "session_id",
    ),
}


class Families:
    """Revokes families with everything they handed out."""

    def __init__(self, db: Database, trail: AuditTrail) -> None:
        self._db = db
        self._trail = trail

    async def revoke_after_reuse(
        self, family: Authorization, path: ReusePath, *, now: int, token_hash: TokenHash | None = None
    ) -> None:
        """Withdraw a family after reuse: the family, and then its tokens even if the first half failed (storage.md §4.1).

        Never fails: the caller's answer is the same whatever happened here. Each half reports its own failure.

        Args:
            family: The family.
            path: What was used twice.
            now: Seconds since the epoch.
            token_hash: Of the refresh token that was; a code is known by its family.
        """
        words = _WORDS[path]
        if family.revoked_at is None and await self._revoke_family_half(family, path, now=now):
            TOKENS_REVOKED.inc(words.reason)
            _log.warning(words.log_revoked, family_id=spell_id(family.id), **{words.id_name: token_hash or family.id})
        try:
            await self._db.write(lambda tx: revoke_issuances_of_family(tx, family.id, now=now))
        except Exception as exc:  # noqa: BLE001  the answer must not tell whether this worked
            REVOCATION_FAILURES.inc(path, "jti")
            _log.error(f"JTI denylist failed during {words.log_during}", family_id=spell_id(family.id), error=repr(exc))
            await self._report(Action.FAMILY_DENYLIST_FAILED, family, path, half="jti", now=now)

    async def _revoke_family_half(self, family: Authorization, path: ReusePath, *, now: int) -> bool:
        words = _WORDS[path]
        event = self._event(Action.FAMILY_REVOKED, family, detail(words.detail, family=family.id))
        try:
            changed = await self._db.write(lambda tx: revoke_family(tx, family.id, now=now))
        except Exception as exc:  # noqa: BLE001  the answer must not tell whether this worked
            REVOCATION_FAILURES.inc(path, "family")
            _log.error(
                f"failed to revoke family during {words.log_during}", family_id=spell_id(family.id), error=repr(exc)
            )
            await self._report(Action.FAMILY_REVOCATION_FAILED, family, path, half="family", now=now)
            return False
        # Each detection leaves its row. A code's family that was revoked before is old news: only its tokens are asked for.
        if changed or path is ReusePath.REFRESH:
            await self._trail.record(event, now=now)
        return changed

    async def _report(self, action: Action, family: Authorization, path: ReusePath, *, half: str, now: int) -> None:
        text = detail(_WORDS[path].detail, family=family.id, path=path, half=half)
        await self._trail.record(self._event(action, family, text), now=now)

    def _event(self, action: Action, family: Authorization, text: str) -> AuditEvent:
        return AuditEvent(action, actor_id=family.user_id, client_id=family.client_id, detail=text)
