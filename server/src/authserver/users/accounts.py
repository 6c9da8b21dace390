"""What may be done with an account: check its password, create, change, disable, delete it, end its sessions."""

import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.storage.database import Database, StorageUnavailable, UniqueViolation, Writer
from authserver.telemetry.logs import get_logger
from authserver.users.passwords import MAX_PASSWORD_BYTES, Passwords, UnusableHash
from authserver.users.records import User, UserProvider, UserRole, UserStatus
from authserver.users.store import (
    delete_user,
    find_user,
    insert_user,
    raise_session_epoch,
    replace_password_hash,
    update_user,
)

_log = get_logger("users")

MAX_EMAIL_BYTES = 254
_MAX_NAME_BYTES = 255

T = TypeVar("T")


class PasswordRefusal(StrEnum):
    """Why a sign-in was refused: for the audit trail and the metrics, never for the person who tries."""

    USER_NOT_FOUND = "user_not_found"
    USER_DISABLED = "user_disabled"
    USER_NOT_LOCAL = "user_not_local"
    INVALID_CREDENTIALS = "invalid_credentials"
    UNUSABLE_STORED_HASH = "unusable_stored_hash"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordVerdict:
    """The outcome of a check.

    Attributes:
        user: Who was tried, if there is such a user.
        refusal: Why not; None when the password is right.
    """

    user: User | None
    refusal: PasswordRefusal | None

    @property
    def accepted(self) -> bool:
        """Whether the user may sign in."""
        return self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTokens:
    """What the packages above do about a user's tokens; user id and ``now`` are handed to each.

    Attributes:
        has_live: Whether the user has a family or token that still works.
        revoke_all: Revokes every family and token of the user; returns the number of families that were live.
    """

    has_live: Callable[[Writer, str, int], Awaitable[bool]]
    revoke_all: Callable[[Writer, str, int], Awaitable[int]]


class Accounts:
    """The accounts of this server. All but the password check are acts of an operator and audited as such."""

    def __init__(self, db: Database, trail: AuditTrail, passwords: Passwords, tokens: UserTokens) -> None:
        self._db = db
        self._trail = trail
        self._passwords = passwords
        self._tokens = tokens

    async def verify_password(self, user: User | None, password: str) -> PasswordVerdict:
        """Check a sign-in. Takes one full derivation whatever the outcome, an unknown user's included."""
        refusal = await self._refusal(user, password)
        if refusal is None and user is not None and self._passwords.is_outdated(user.password_hash):
            await self._upgrade(user, password)
        return PasswordVerdict(user=user, refusal=refusal)

    async def create_user(
        self, *, email: str, password: str, name: str = "", role: UserRole = UserRole.USER, now: int
    ) -> User:
        """Create a local user.

        Raises:
            Invalid: The address, the password or the name may not be one.
            Conflict: Another account has the address.
        """
        check_email(email)
        check_password(password)
        _check_name(name)
        user = User(
            id=new_public_id(),
            email=email,
            name=name,
            role=role,
            status=UserStatus.ACTIVE,
            password_hash=await self._passwords.hash(password),
            provider=UserProvider.LOCAL,
            provider_sub="",
            session_epoch=0,
            version=1,
            created_at=now,
            updated_at=now,
        )
        event = _event(Action.USER_CREATED, user.id)

        async def create(tx: Writer) -> None:
            await insert_user(tx, user)
            await self._trail.append(tx, event, now=now)

        await self._write(create)
        return user

    async def update_user(self, user_id: str, *, email: str | None = None, name: str | None = None, now: int) -> User:
        """Change what is given; None leaves it as it is, and what is as wanted already is not written.

        Raises:
            NotFound: There is no such user.
            Invalid: The address or the name may not be one.
            Conflict: Another account has the address, or the user was changed at the same time.
        """
        if email is not None:
            check_email(email)
        _check_name(name or "")

        def changed(user: User) -> User:
            return replace(user, email=user.email if email is None else email, name=user.name if name is None else name)

        return await self._change(user_id, Action.USER_UPDATED, changed, now=now)

    async def set_password(self, user_id: str, password: str, *, now: int) -> User:
        """Give a local user another password and end their browser sessions.

        Raises:
            NotFound: There is no such user.
            Invalid: The password may not be one, or the user signs in elsewhere.
            Conflict: The user was changed at the same time.
        """
        check_password(password)
        password_hash = await self._passwords.hash(password)

        def changed(user: User) -> User:
            if user.provider is not UserProvider.LOCAL:
                raise Invalid("the user signs in through another provider and has no password here")
            return replace(user, password_hash=password_hash, session_epoch=user.session_epoch + 1)

        return await self._change(user_id, Action.USER_PASSWORD_SET, changed, now=now)

    async def disable_user(self, user_id: str, *, now: int) -> User:
        """Shut a user out: sign-in, sessions and tokens stop working.

        Raises:
            NotFound: There is no such user.
            Conflict: The user is disabled already, or was changed at the same time.
        """

        def changed(user: User) -> User:
            if not user.is_active:
                raise Conflict("user is already disabled")
            return replace(user, status=UserStatus.DISABLED, session_epoch=user.session_epoch + 1)

        return await self._change(user_id, Action.USER_DISABLED, changed, now=now)

    async def enable_user(self, user_id: str, *, now: int) -> User:
        """Let a disabled user in again.

        Raises:
            NotFound: There is no such user.
            Conflict: The user is active already, or was changed at the same time.
        """

        def changed(user: User) -> User:
            if user.is_active:
                raise Conflict("user is already active")
            return replace(user, status=UserStatus.ACTIVE)

        return await self._change(user_id, Action.USER_ENABLED, changed, now=now)

    async def delete_user(self, user_id: str, *, force: bool = False, now: int) -> None:
        """Delete a user; with ``force`` their tokens are revoked first, in the same transaction.

        Raises:
            NotFound: There is no such user.
            Conflict: The user has live tokens and ``force`` is not given.
        """
        event = replace(_event(Action.USER_DELETED, user_id), detail=detail(user=user_id, force=force))

        async def delete(tx: Writer) -> None:
            if not force and await self._tokens.has_live(tx, user_id, now):
                raise Conflict("user has active tokens")
            await self._tokens.revoke_all(tx, user_id, now)
            if not await delete_user(tx, user_id):
                raise NotFound(f"user not found: {user_id}")
            await self._trail.append(tx, event, now=now)

        await self._db.write(delete)

    async def force_logout(self, user_id: str, *, now: int) -> int:
        """End a user's browser sessions and tokens; return the number of token families revoked.

        Raises:
            NotFound: There is no such user.
        """
        event = _event(Action.USER_FORCE_LOGOUT, user_id)

        async def log_out(tx: Writer) -> int:
            if not await raise_session_epoch(tx, user_id, now=now):
                raise NotFound(f"user not found: {user_id}")
            revoked = await self._tokens.revoke_all(tx, user_id, now)
            await self._trail.append(tx, replace(event, detail=detail(user=user_id, revoked=revoked)), now=now)
            return revoked

        return await self._db.write(log_out)

    async def _refusal(self, user: User | None, password: str) -> PasswordRefusal | None:
        refusal = None
        if user is None:
            refusal = PasswordRefusal.USER_NOT_FOUND
        elif user.provider is not UserProvider.LOCAL:
            refusal = PasswordRefusal.USER_NOT_LOCAL
        elif not user.is_active:
            refusal = PasswordRefusal.USER_DISABLED
        elif len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
            refusal = PasswordRefusal.INVALID_CREDENTIALS
        if user is None or refusal is not None:
            await self._passwords.verify_nobody(password)
            return refusal
        try:
            matches = await self._passwords.verify(password, user.password_hash)
        except UnusableHash:
            return PasswordRefusal.UNUSABLE_STORED_HASH
        return None if matches else PasswordRefusal.INVALID_CREDENTIALS

    async def _upgrade(self, user: User, password: str) -> None:
        """Store a better hash while the password is at hand; the next sign-in tries again if it cannot be stored."""
        better = await self._passwords.hash(password)
        try:
            await self._db.write(lambda tx: replace_password_hash(tx, user.id, old=user.password_hash, new=better))
        except StorageUnavailable as exc:
            _log.warning("password hash not upgraded", user_id=user.id, error=str(exc))

    async def _change(self, user_id: str, action: Action, changed: Callable[[User], User], *, now: int) -> User:
        event = _event(action, user_id)

        async def change(tx: Writer) -> User:
            user = await find_user(tx, user_id)
            if user is None:
                raise NotFound(f"user not found: {user_id}")
            wanted = changed(user)
            if wanted == user:
                return user
            after = replace(wanted, updated_at=now)
            if not await update_user(tx, after):
                raise Conflict("user was changed by someone else at the same time")
            await self._trail.append(tx, event, now=now)
            return replace(after, version=user.version + 1)

        return await self._write(change)

    async def _write(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        try:
            return await self._db.write(transaction)
        except UniqueViolation as exc:
            raise Conflict("email is already in use") from exc


def check_email(email: str) -> None:
    """Check that a text may be an address to sign in with; whether mail arrives there is not asked.

    Raises:
        Invalid: It may not.
    """
    local, at, domain = email.rpartition("@")
    if len(email.encode("utf-8", "surrogatepass")) > MAX_EMAIL_BYTES:
        raise Invalid(f"email must be at most {MAX_EMAIL_BYTES} bytes")
    if not (at and local and domain) or any(unicodedata.category(character)[0] in "CZ" for character in email):
        raise Invalid("email is not an address")


def check_password(password: str) -> None:
    """Check that a text may be chosen as password (ruling R33).

    Raises:
        Invalid: It is empty or too long.
    """
    if not password:
        raise Invalid("password must not be empty")
    if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        raise Invalid(f"password must be at most {MAX_PASSWORD_BYTES} bytes")


def _check_name(name: str) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        raise Invalid(f"name must be at most {_MAX_NAME_BYTES} bytes")


def _event(action: Action, user_id: str) -> AuditEvent:
    return AuditEvent(action, actor_id=operator_name(), detail=detail(user=user_id))
