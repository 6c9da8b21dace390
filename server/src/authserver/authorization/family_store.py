"""SQL that shows operators the families of refresh tokens."""

from dataclasses import dataclass

from authserver.protocol.identifiers import LAST_ID, first_id
from authserver.storage.database import Reader, Row, Value
from authserver.storage.merging import find_nth
from authserver.storage.names import between, newest_first
from authserver.storage.totals import Counted

_COLUMNS = "id, client_id, user_id, scope, resource, consumed_at, revoked_at"
# From the first request, whose id the family has, to its code's redemption it takes minutes.
_LONGEST_REQUEST = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family, as operators see it.

    Attributes:
        created_at: When its code was redeemed.
    """

    id: bytes
    client_id: str
    user_id: str
    scope: str
    resource: str | None
    created_at: int
    revoked_at: int | None


async def find_family(db: Reader, family_id: bytes) -> Family | None:
    """Look a family up, revoked or not."""
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM authorizations WHERE id = $1 AND consumed_at IS NOT NULL", family_id
    )
    return _family(row) if row else None


async def list_families(
    db: Reader, *, limit: int, before: bytes | None = None, user_id: str | None = None, client_id: str | None = None
) -> list[Family]:
    """Read a page, newest first, revoked ones included.

    Args:
        db: Where to read.
        limit: Families a page.
        before: The id of the last one of the page before; None starts at the newest.
        user_id: Only those of this user.
        client_id: Only those of this client.
    """
    sql, values = _newest_first(_COLUMNS, user_id, client_id)
    rows = await db.fetch_all(f"{sql} LIMIT ${len(values) + 2}", *values, before or LAST_ID, limit)
    return [_family(row) for row in rows]


async def find_family_position(
    db: Reader, *, passed_over: int, user_id: str | None = None, client_id: str | None = None
) -> bytes | None:
    """Return the id of the last of so many families, newest first; None when there are fewer. To be surveyed."""
    sql, values = _newest_first("id", user_id, client_id)
    row = await find_nth(db, [sql], [*values, LAST_ID], nth=passed_over, order=lambda row: row["id"])
    return None if row is None else row["id"]


async def count_families_since(db: Reader, since: int) -> tuple[int, int]:
    """Count the families that began, and those that were revoked, since a moment. Reads all of them: to be surveyed."""
    begun = await db.fetch_one(
        "SELECT count(*) AS number FROM authorizations WHERE consumed_at >= $1 AND id >= $2",
        since,
        first_id((since - _LONGEST_REQUEST) * 1000),
    )
    revoked = await db.fetch_one(
        "SELECT count(*) AS number FROM authorizations WHERE revoked_at >= $1 AND consumed_at IS NOT NULL", since
    )
    return (int(begun["number"]), int(revoked["number"])) if begun and revoked else (0, 0)


def counted_families(*, user_id: str | None = None, client_id: str | None = None) -> Counted:
    """Return what there is to count, revoked ones included."""
    named = _named(user_id, client_id)
    equal = [f" AND {column} = ${n}" for n, column in enumerate(named, 1)]
    return Counted(f"authorizations WHERE consumed_at IS NOT NULL{''.join(equal)}", tuple(named.values()))


def _newest_first(columns: str, user_id: str | None, client_id: str | None) -> tuple[str, list[Value]]:
    """Return SQL for families before the id that is its last parameter, newest first."""
    named = _named(user_id, client_id)
    found = f"SELECT {columns} FROM authorizations WHERE consumed_at IS NOT NULL"
    if not named:
        return f"{found} AND id < $1 ORDER BY id DESC", []
    lead, *others = named
    # One index leads, that of the user if there is one: they have fewer than clients.
    passing = "".join(f" AND {column} = ${n}" for n, column in enumerate(others, 2))
    n = len(named)
    found = f"{found} AND {between(lead, '$1', f'${n + 1}', f'${n + 2}')}{passing} {newest_first(lead)}"
    return found, [*named.values(), b""]


def _named(user_id: str | None, client_id: str | None) -> dict[str, str]:
    return {column: value for column, value in (("user_id", user_id), ("client_id", client_id)) if value is not None}


def _family(row: Row) -> Family:
    return Family(
        id=row["id"],
        client_id=row["client_id"],
        user_id=row["user_id"],
        scope=row["scope"],
        resource=row["resource"],
        created_at=row["consumed_at"],
        revoked_at=row["revoked_at"],
    )
