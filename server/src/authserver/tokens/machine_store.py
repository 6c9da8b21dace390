"""SQL that shows operators the tokens that machines got for themselves."""

from dataclasses import dataclass

from authserver.storage.database import Reader, Value
from authserver.storage.names import number_of
from authserver.tokens.records import IssuanceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineToken:
    """A machine's token, as operators see it.

    Attributes:
        resource: URI of the Resource it is for; empty without one.
    """

    id: bytes
    client_id: str
    scopes: str
    resource: str
    issued_at: int
    expires_at: int


async def list_machine_tokens(
    db: Reader, *, limit: int, offset: int, client_id: str | None = None
) -> list[MachineToken]:
    """Read a page, newest first, expired and revoked ones included. May read much: to be surveyed."""
    condition, values = _of(client_id)
    rows = await db.fetch_all(
        "SELECT i.id, c.name AS client_id, i.scopes, r.uri, i.issued_at, i.expires_at"
        f" FROM (SELECT * FROM issuance_rows WHERE {condition}"
        f" ORDER BY id DESC LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}) i"
        " JOIN names c ON c.number = i.client_number LEFT JOIN resources r ON r.number = i.resource_number"
        " ORDER BY i.id DESC",
        *values,
        limit,
        offset,
    )
    return [
        MachineToken(
            id=row["id"],
            client_id=row["client_id"],
            scopes=row["scopes"],
            resource=row["uri"] or "",
            issued_at=row["issued_at"],
            expires_at=row["expires_at"],
        )
        for row in rows
    ]


async def count_machine_tokens(db: Reader, *, client_id: str | None = None) -> int:
    """Count the tokens of machines, expired and revoked ones included. May read all: to be surveyed."""
    condition, values = _of(client_id)
    row = await db.fetch_one(f"SELECT count(*) AS number FROM issuance_rows WHERE {condition}", *values)
    return int(row["number"]) if row else 0


async def count_machine_tokens_since(db: Reader, since: int) -> tuple[int, int]:
    """Count those that were issued, and those that were revoked, since a moment. Reads all: to be surveyed."""
    row = await db.fetch_one(
        "SELECT count(CASE WHEN issued_at >= $2 THEN 1 END) AS issued,"
        " count(CASE WHEN revoked_at >= $2 THEN 1 END) AS revoked FROM issuance_rows WHERE kind = $1",
        str(IssuanceKind.MACHINE),
        since,
    )
    return (int(row["issued"]), int(row["revoked"])) if row else (0, 0)


def _of(client_id: str | None) -> tuple[str, list[Value]]:
    values: list[Value] = [str(IssuanceKind.MACHINE)]
    if client_id is None:
        return "kind = $1", values
    return f"kind = $1 AND client_number = {number_of('$2')}", [*values, client_id]
