"""Sign-in with a password that this server checks itself."""

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.login.lockout import Lockout, identity_of
from authserver.login.shared_lockout import SharedLockout
from authserver.protocol.times import spell_time
from authserver.storage.database import Reader
from authserver.telemetry.metrics import AUTH_DENIED, LOGIN_ATTEMPTS
from authserver.telemetry.notes import note
from authserver.users.accounts import Accounts, PasswordVerdict
from authserver.users.records import User
from authserver.users.store import find_user_by_email


class LockedOut(Exception):  # noqa: N818  an outcome, which becomes a page of its own
    """Too many wrong passwords came for this account from here; this one was not looked at.

    Attributes:
        retry_after: Seconds, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many failed attempts")
        self.retry_after = retry_after


class LocalLogin:
    """Checks an address and a password. What is wrong with them is for audit and metrics alone."""

    def __init__(self, db: Reader, accounts: Accounts, trail: AuditTrail, lockout: Lockout | SharedLockout) -> None:
        self._db = db
        self._accounts = accounts
        self._trail = trail
        self._lockout = lockout

    async def sign_in(
        self, email: str, password: str, *, client_address: str, now: int, reference: str | None = None
    ) -> User | None:
        """Return the user, or None when the credentials are rejected: after the same time, whatever is wrong.

        Args:
            email: As sent.
            password: As sent.
            client_address: Whose failures count.
            reference: The reference id that a rejection will have, for the audit trail.
            now: Seconds since the epoch.

        Raises:
            LockedOut: Decided before the password is looked at (T5).
            StorageUnavailable: Nothing was decided, and nothing counted.
        """
        identity = identity_of(email, client_address)
        with self._lockout.checking(identity) as retry_after:
            if retry_after:
                raise LockedOut(retry_after)
            verdict = await self._accounts.verify_password(await find_user_by_email(self._db, email.strip()), password)
            if verdict.accepted:
                self._lockout.clear(identity)
                locked = False
            else:
                locked = self._lockout.record_failure(identity)
        await self._record(verdict, reference=reference, now=now)
        if locked:
            until = spell_time(now + self._lockout.lockout)
            actor_id = verdict.user.id if verdict.user else ""
            event = AuditEvent(
                Action.AUTH_LOCKED_OUT, actor_id=actor_id, detail=detail(until=until), reference=reference
            )
            await self._trail.record(event, now=now)
        return verdict.user if verdict.accepted else None

    async def _record(self, verdict: PasswordVerdict, *, reference: str | None, now: int) -> None:
        """Count and audit an outcome. The actor of a failure is who was tried, not who did it."""
        actor_id = verdict.user.id if verdict.user else ""
        if verdict.refusal is None:
            LOGIN_ATTEMPTS.inc("success")
            event = AuditEvent(Action.USER_LOGIN, actor_id=actor_id)
        else:
            LOGIN_ATTEMPTS.inc("failure")
            AUTH_DENIED.inc(verdict.refusal)
            note("password checked", user_id=actor_id, cause=verdict.refusal)
            event = AuditEvent(
                Action.USER_LOGIN_FAILED,
                actor_id=actor_id,
                detail=detail(reason=verdict.refusal),
                reference=reference,
            )
        await self._trail.record(event, now=now)
