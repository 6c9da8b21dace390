"""SQL that shows operators the families of refresh tokens."""

from dataclasses import dataclass

from authserver.storage.database import Reader, Value

_COLUMNS = "id, client_id, user_id, scope, resource, consumed_at, revoked_at"


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
    found = await _read(db, "id = $1", [family_id], limit=1, offset=0)
    return found[0] if found else None


async def list_families(
    db: Reader, *, limit: int, offset: int, user_id: str | None = None, client_id: str | None = None
) -> list[Family]:
    """Read a page, newest first, revoked ones included."""
    condition, values = _of(user_id, client_id)
    return await _read(db, condition, values, limit=limit, offset=offset)


async def count_families(db: Reader, *, user_id: str | None = None, client_id: str | None = None) -> int:
    """Count families, revoked ones included. May read all: to be surveyed."""
    condition, values = _of(user_id, client_id)
    row = await db.fetch_one(
        f"SELECT count(*) AS number FROM authorizations WHERE consumed_at IS NOT NULL AND {condition}", *values
    )
    return int(row["number"]) if row else 0


async def count_families_since(db: Reader, since: int) -> tuple[int, int]:
    """Count the families that began, and those that were revoked, since a moment. Reads all: to be surveyed."""
    row = await db.fetch_one(
        "SELECT count(CASE WHEN consumed_at >= $1 THEN 1 END) AS begun,"
        " count(CASE WHEN revoked_at >= $1 THEN 1 END) AS revoked FROM authorizations WHERE consumed_at IS NOT NULL",
        since,
    )
    return (int(row["begun"]), int(row["revoked"])) if row else (0, 0)


def _of(user_id: str | None, client_id: str | None) -> tuple[str, list[Value]]:
    conditions, values = ["1 = 1"], list[Value]()
    for column, value in (("user_id", user_id), ("client_id", client_id)):
        if value is not None:
            values.append(value)
            conditions.append(f"{column} = ${len(values)}")
    return " AND ".join(conditions), values


async def _read(db: Reader, condition: str, values: list[Value], *, limit: int, offset: int) -> list[Family]:
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM authorizations WHERE consumed_at IS NOT NULL AND {condition}"
        f" ORDER BY id DESC LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}",
        *values,
        limit,
        offset,
    )
    return [
        Family(
            id=row["id"],
            client_id=row["client_id"],
            user_id=row["user_id"],
            scope=row["scope"],
            resource=row["resource"],
            created_at=row["consumed_at"],
            revoked_at=row["revoked_at"],
        )
        for row in rows
    ]
