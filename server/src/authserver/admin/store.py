"""SQL of ``operators``."""

import orjson

from authserver.admin.records import ROLES, Operator, OperatorRecord
from authserver.protocol.identifiers import TokenHash
from authserver.storage.database import Reader, Row, Writer

_COLUMNS = "name, role, resources, created_by, created_at, expires_at, revoked_at"


async def find_operator_by_key(db: Reader, key_hash: TokenHash) -> OperatorRecord | None:
    """Look up whose key it is, whether or not it may still be used."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM operators WHERE key_hash = $1", key_hash)
    return _record(row) if row else None


async def list_operators(db: Reader, *, limit: int, offset: int = 0) -> list[OperatorRecord]:
    """Read a page, in the order of names, revoked ones included."""
    rows = await db.fetch_all(f"SELECT {_COLUMNS} FROM operators ORDER BY name LIMIT $1 OFFSET $2", limit, offset)
    return [_record(row) for row in rows]


async def insert_operator(tx: Writer, record: OperatorRecord, key_hash: TokenHash) -> None:
    """Store a new operator.

    Raises:
        UniqueViolation: The name was given before.
    """
    operator = record.operator
    await tx.execute(
        f"INSERT INTO operators ({_COLUMNS}, key_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        operator.name,
        str(operator.role),
        None if operator.resources is None else orjson.dumps(sorted(operator.resources)).decode(),
        record.created_by,
        record.created_at,
        record.expires_at,
        record.revoked_at,
        key_hash,
    )


async def revoke_operator(tx: Writer, name: str, *, now: int) -> bool:
    """Refuse a key from now on; False when there is no such operator or it was revoked before."""
    return (
        await tx.execute("UPDATE operators SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL", name, now) == 1
    )


async def find_operator(db: Reader, name: str) -> OperatorRecord | None:
    """Look an operator up by name."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM operators WHERE name = $1", name)
    return _record(row) if row else None


def _record(row: Row) -> OperatorRecord:
    resources = None if row["resources"] is None else frozenset(orjson.loads(row["resources"]))
    return OperatorRecord(
        operator=Operator(name=row["name"], role=ROLES[row["role"]], resources=resources),
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
