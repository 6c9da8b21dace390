"""SQL of ``users``."""

import unicodedata
from typing import Any

from authserver.storage.database import Reader, Writer
from authserver.storage.revisions import KeptRecords
from authserver.storage.totals import Counted
from authserver.users.records import Account, User, UserProvider, UserRole, UserStatus

_COLUMNS = "id, email, name, role, status, password_hash, provider, provider_sub, session_epoch, version, created_at, updated_at"
_WIDTH = _COLUMNS.count(",") + 1
_KEPT = KeptRecords[User](4096)
_FIND_REVISION = "SELECT revision FROM users WHERE id = $1"
_READ_USER = f"SELECT {_COLUMNS}, revision FROM users WHERE id = $1"

SIGNED_IN = f"u.id = $1 AND u.session_epoch = $2 AND u.status = '{UserStatus.ACTIVE}'"
"""What finds the user ``u`` whose id is ``$1``, as long as a session of epoch ``$2`` is good."""
_FIND_SIGNED_IN = f"SELECT u.email, u.name FROM users u WHERE {SIGNED_IN}"

ALL_USERS = Counted("users")


def fold_email(email: str) -> str:
    """Return what an address is compared by: case does not count, nor how an accented letter is composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).casefold())


def _record(values: tuple[Any, ...]) -> User:
    """Return the record of a row, whose values stand in the order of the columns."""
    (
        user_id,
        email,
        name,
        role,
        status,
        password_hash,
        provider,
        provider_sub,
        session_epoch,
        version,
        created_at,
        updated_at,
    ) = values
    return User(
        id=user_id,
        email=email,
        name=name,
        role=UserRole(role),
        status=UserStatus(status),
        password_hash=password_hash,
        provider=UserProvider(provider),
        provider_sub=provider_sub,
        session_epoch=session_epoch,
        version=version,
        created_at=created_at,
        updated_at=updated_at,
    )


async def find_user(db: Reader, user_id: str) -> User | None:
    """Look a user up by id."""
    row = await db.fetch_one(_FIND_REVISION, user_id)
    if row is None:
        return None
    return _KEPT.get(user_id, row["revision"]) or await read_user(db, user_id)


async def read_user(db: Reader, user_id: str) -> User | None:
    """Read the whole row of a user."""
    row = await db.fetch_one(_READ_USER, user_id)
    if row is None:
        return None
    user = _record(row[:_WIDTH])
    _KEPT.put(user_id, row["revision"], user)
    return user


async def find_signed_in(db: Reader, user_id: str, *, epoch: int) -> Account | None:
    """Look up who is signed in by a session of an epoch; None when the user is not active, or a later one has begun."""
    row = await db.fetch_one(_FIND_SIGNED_IN, user_id, epoch)
    return Account(user_id, *row[:2]) if row else None


def status_of(user_id: str) -> str:
    """Return SQL for the status of the user that a column names, or NULL: for a read that needs no more of them."""
    return f"(SELECT status FROM users WHERE id = {user_id})"


async def find_user_by_email(db: Reader, email: str) -> User | None:
    """Look a user up by address, in any case."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM users WHERE email_folded = $1", fold_email(email))
    return _record(row[:_WIDTH]) if row else None


async def list_users(db: Reader, *, limit: int, after: User | None = None) -> list[User]:
    """Read a page, oldest first, beginning after the last user of the page before."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM users WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3",
        after.created_at if after else -1,
        after.id if after else "",
        limit,
    )
    # Not kept: a long list would put those out that requests are about.
    return [_record(row[:_WIDTH]) for row in rows]


async def insert_user(tx: Writer, user: User) -> None:
    """Store a new user.

    Raises:
        UniqueViolation: Another account has the address, or the same federated identity.
    """
    await tx.execute(
        f"INSERT INTO users ({_COLUMNS}, email_folded) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        user.id,
        user.email,
        user.name,
        user.role,
        user.status,
        user.password_hash,
        user.provider,
        user.provider_sub,
        user.session_epoch,
        user.version,
        user.created_at,
        user.updated_at,
        None if user.email is None else fold_email(user.email),
    )


async def update_user(tx: Writer, user: User) -> bool:
    """Store what changed about a user and raise the version; False when it is no longer of the version given.

    Raises:
        UniqueViolation: Another account has the address.
    """
    touched = await tx.execute(
        "UPDATE users SET email = $3, email_folded = $4, name = $5, role = $6, status = $7, password_hash = $8,"
        " session_epoch = $9, updated_at = $10, version = version + 1 WHERE id = $1 AND version = $2",
        user.id,
        user.version,
        user.email,
        None if user.email is None else fold_email(user.email),
        user.name,
        user.role,
        user.status,
        user.password_hash,
        user.session_epoch,
        user.updated_at,
    )
    return touched == 1


async def replace_password_hash(tx: Writer, user_id: str, *, old: str, new: str) -> bool:
    """Store a better hash of the same password; False when the password was changed meanwhile."""
    touched = await tx.execute(
        "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2", user_id, old, new
    )
    return touched == 1


async def raise_session_epoch(tx: Writer, user_id: str, *, now: int) -> bool:
    """End every browser session of a user; False when there is no such user."""
    touched = await tx.execute(
        "UPDATE users SET session_epoch = session_epoch + 1, version = version + 1, updated_at = $2 WHERE id = $1",
        user_id,
        now,
    )
    return touched == 1


async def delete_user(tx: Writer, user_id: str) -> bool:
    """Delete a user with all that refers to them; False when there is no such user."""
    return await tx.execute("DELETE FROM users WHERE id = $1", user_id) == 1
