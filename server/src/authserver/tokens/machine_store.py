"""SQL that shows operators the tokens that machines got for themselves."""

from dataclasses import dataclass

from authserver.protocol.identifiers import LAST_ID, first_id
from authserver.storage.database import Reader
from authserver.storage.names import number_of, text_of
from authserver.storage.totals import Counted
from authserver.tokens.records import IssuanceKind

# A parameter would not find the partial index of these.
_MACHINES = f"issuance_rows WHERE kind = '{IssuanceKind.MACHINE}'"


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
    db: Reader, *, limit: int, before: bytes | None = None, client_id: str | None = None
) -> list[MachineToken]:
    """Read a page, newest first, expired and revoked ones included.

    Those of one client are to be surveyed: what it was given by other grants is passed over.

    Args:
        db: Where to read.
        limit: Tokens a page.
        before: The id of the last one of the page before; None starts at the newest.
        client_id: Only those of this client.
    """
    found = counted_machine_tokens(client_id=client_id)
    n = len(found.values)
    rows = await db.fetch_all(
        f"SELECT id, {text_of('client_number')} AS client_id, scopes,"
        " (SELECT uri FROM resources WHERE number = resource_number) AS uri, issued_at, expires_at"
        f" FROM {found.rows} AND id < ${n + 1} ORDER BY id DESC LIMIT ${n + 2}",
        *found.values,
        before or LAST_ID,
        limit,
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


async def find_machine_position(db: Reader, *, passed_over: int, client_id: str | None = None) -> bytes | None:
    """Return the id of the last of so many tokens, newest first; None when there are fewer. To be surveyed."""
    found = counted_machine_tokens(client_id=client_id)
    rows = await db.fetch_all(
        f"SELECT id FROM {found.rows} ORDER BY id DESC LIMIT 1 OFFSET ${len(found.values) + 1}",
        *found.values,
        passed_over - 1,
    )
    return rows[0]["id"] if rows else None


async def count_machine_tokens_since(db: Reader, since: int) -> tuple[int, int]:
    """Count those that were issued, and those that were revoked, since a moment. Reads all of them: to be surveyed."""
    issued = await db.fetch_one(f"SELECT count(*) AS number FROM {_MACHINES} AND id >= $1", first_id(since * 1000))
    revoked = await db.fetch_one(f"SELECT count(*) AS number FROM {_MACHINES} AND revoked_at >= $1", since)
    return (int(issued["number"]), int(revoked["number"])) if issued and revoked else (0, 0)


def counted_machine_tokens(*, client_id: str | None = None) -> Counted:
    """Return what there is to count, expired and revoked ones included."""
    if client_id is None:
        return Counted(_MACHINES)
    # The index of clients leads, which an expression keeps that of machines from doing.
    return Counted(
        f"issuance_rows WHERE kind || '' = '{IssuanceKind.MACHINE}' AND client_number = {number_of('$1')}", (client_id,)
    )
