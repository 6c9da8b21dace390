"""SQL of ``device_requests``: what devices ask for until a user has answered."""

from authserver.authorization.records import AuthorizationRequest, DeviceRequest
from authserver.protocol.identifiers import TokenHash
from authserver.storage.database import Claim, Reader, Row, Writer

MOST_REQUESTS = 50_000
"""Rows of the table, expired ones counted. Beyond what the limits let in, so that only a fault of theirs gets here."""

TOLD_AFTER_EXPIRY = 600
"""Seconds for which a device that comes too late is told so; after that its code is unknown."""

SLOWER_BY = 5
"""Seconds added to the interval of a device that polls too fast (RFC 8628 §3.5)."""

# Clocks of processes on different machines, and the seconds that we count in, differ by as much.
_SLACK = 1
_EXPIRED_ROWS = 100

_COLUMNS = (
    "id, device_code_hash, user_code, client_id, scope, resource_id, resource, dpop_jkt,"
    " created_at, expires_at, denied_at"
)

_POLL = Claim(
    table="device_requests",
    assignments="polled_at = $2",
    condition="device_code_hash = $1 AND denied_at IS NULL AND (polled_at IS NULL OR polled_at + poll_interval <= $3)",
    types=("bytea", "bigint", "bigint"),
)

_DENY = Claim(
    table="device_requests",
    assignments="denied_at = $2",
    condition="id = $1 AND denied_at IS NULL AND expires_at > $2",
    types=("bytea", "bigint"),
)


def _request(row: Row) -> DeviceRequest:
    return DeviceRequest(
        id=row["id"],
        device_code_hash=row["device_code_hash"],
        user_code=row["user_code"],
        client_id=row["client_id"],
        scope=row["scope"],
        resource_id=row["resource_id"],
        resource=row["resource"],
        dpop_jkt=row["dpop_jkt"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        denied_at=row["denied_at"],
    )


async def insert_device_request(
    tx: Writer,
    request_id: bytes,
    request: AuthorizationRequest,
    *,
    device_code_hash: TokenHash,
    user_code: str,
    interval: int,
    now: int,
    expires_at: int,
) -> bool:
    """Record a request after making room for it; False when there is none.

    Raises:
        UniqueViolation: The user code is taken.
    """
    await delete_expired_requests(tx, before=now - TOLD_AFTER_EXPIRY)
    row = await tx.fetch_one("SELECT count(*) AS number FROM device_requests")
    if row is not None and row["number"] >= MOST_REQUESTS:
        return False
    await tx.execute(
        "INSERT INTO device_requests (id, device_code_hash, user_code, client_id, scope, resource_id, resource, dpop_jkt,"
        " created_at, expires_at, poll_interval) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        request_id,
        device_code_hash,
        user_code,
        request.client_id,
        " ".join(request.scopes),
        request.resource_id,
        request.resource,
        request.dpop_jkt,
        now,
        expires_at,
        interval,
    )
    return True


async def delete_expired_requests(tx: Writer, *, before: int) -> int:
    """Delete a batch of what expired before a moment; return how many went."""
    return await tx.execute(
        "DELETE FROM device_requests WHERE device_code_hash IN (SELECT device_code_hash FROM device_requests"
        " WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
        before,
        _EXPIRED_ROWS,
    )


async def find_by_device_code(db: Reader, device_code_hash: TokenHash) -> DeviceRequest | None:
    """Look a request up by the code that its device polls with: unanswered, denied or expired."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM device_requests WHERE device_code_hash = $1", device_code_hash)
    return _request(row) if row else None


async def find_by_user_code(db: Reader, user_code: str) -> DeviceRequest | None:
    """Look a request up by the code that somebody typed: unanswered, denied or expired."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM device_requests WHERE user_code = $1", user_code)
    return _request(row) if row else None


async def find_device_request(db: Reader, request_id: bytes) -> DeviceRequest | None:
    """Look a request up by its id: unanswered, denied or expired."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM device_requests WHERE id = $1", request_id)
    return _request(row) if row else None


async def poll_device_request(tx: Writer, device_code_hash: TokenHash, *, now: int) -> bool:
    """Count a poll of an unanswered request; False when it came too soon, which makes the interval longer.

    All processes count together: of polls at the same moment one is in time.
    """
    if await tx.claim(_POLL, device_code_hash, now, now + _SLACK):
        return True
    # No claim: of those, one wins, and every poll that comes too soon makes the interval longer.
    touched = await tx.execute(
        "UPDATE device_requests SET polled_at = $2, poll_interval = poll_interval + $3"
        " WHERE device_code_hash = $1 AND denied_at IS NULL",
        device_code_hash,
        now,
        SLOWER_BY,
    )
    # Nothing there: a user answered a moment ago, and the next poll hears of it.
    return touched == 0


async def deny_device_request(tx: Writer, request_id: bytes, *, now: int) -> bool:
    """Keep the user's no until the device has asked for it. Of any number of answers, one gets True."""
    return await tx.claim(_DENY, request_id, now)


async def take_device_request(tx: Writer, request_id: bytes, *, now: int) -> bool:
    """Take an unanswered request out, for it to become an authorization. Of any number of answers, one gets True."""
    touched = await tx.execute(
        "DELETE FROM device_requests WHERE id = $1 AND denied_at IS NULL AND expires_at > $2", request_id, now
    )
    return touched == 1
