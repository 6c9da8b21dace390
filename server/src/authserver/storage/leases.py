"""Who of all processes does what only one should do. A lease that is not renewed runs out, and the next one takes it.

A lease saves work; it decides nothing. Clocks differ and processes stall, so whatever must happen once is a conditional
write beside it.
"""

from authserver.storage.database import Reader, Writer


async def is_leased_to_another(db: Reader, name: str, holder: str, *, now: int) -> bool:
    """Tell whether somebody else does it at present."""
    row = await db.fetch_one("SELECT holder, expires_at FROM leases WHERE name = $1", name)
    return row is not None and row["holder"] != holder and row["expires_at"] > now


async def take_lease(tx: Writer, name: str, holder: str, *, now: int, seconds: int) -> bool:
    """Take or renew a lease; False when somebody else has it."""
    count = await tx.execute(
        "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE"
        " SET holder = excluded.holder, expires_at = excluded.expires_at"
        " WHERE leases.holder = excluded.holder OR leases.expires_at <= $4",
        name,
        holder,
        now + seconds,
        now,
    )
    return count == 1


async def give_lease_back(tx: Writer, name: str, holder: str) -> None:
    """Let the next one begin at once."""
    await tx.execute("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)
