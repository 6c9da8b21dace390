"""SQL of what seals the trail."""

from collections.abc import Mapping
from typing import Any

import orjson

from authserver.audit.chain.records import Checkpoint, Head, hash_seal
from authserver.storage.database import Reader, Row, Writer

_COLUMNS = "number, through, row_count, late_count, total, jws, cosignature, leaves"
_PAGE = 64
"""Checkpoints a page: each may list a thousand rows."""


async def insert_checkpoint(tx: Writer, checkpoint: Checkpoint) -> None:
    """Insert a checkpoint. Of all who have one of the same number, one succeeds.

    Raises:
        UniqueViolation: Somebody else did.
    """
    await tx.execute(
        f"INSERT INTO audit_checkpoints ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        checkpoint.number,
        checkpoint.through,
        checkpoint.count,
        checkpoint.late,
        checkpoint.total,
        checkpoint.jws,
        checkpoint.cosignature,
        checkpoint.leaves,
    )


async def find_head(db: Reader) -> Head:
    """Return where the chain stands. A purge always leaves the newest checkpoint."""
    row = await db.fetch_one("SELECT number, through, total, jws FROM audit_checkpoints ORDER BY number DESC LIMIT 1")
    if row is None:
        return Head()
    return Head(
        number=row["number"], hash=hash_seal(row["jws"]), through=row["through"], total=row["total"], jws=row["jws"]
    )


async def list_checkpoints(db: Reader, *, after: int, limit: int = _PAGE) -> list[Checkpoint]:
    """Return a page of checkpoints, the lowest numbers first."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM audit_checkpoints WHERE number > $1 ORDER BY number LIMIT $2", after, limit
    )
    return [_checkpoint(row) for row in rows]


async def list_newest_checkpoints(db: Reader, *, before: int) -> list[Checkpoint]:
    """Return a page of checkpoints, the highest numbers first."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM audit_checkpoints WHERE number < $1 ORDER BY number DESC LIMIT $2", before, _PAGE
    )
    return [_checkpoint(row) for row in rows]


async def delete_checkpoints(tx: Writer, *, through: int) -> int:
    """Delete the checkpoints up to a number; return how many."""
    return await tx.execute("DELETE FROM audit_checkpoints WHERE number <= $1", through)


async def keep_key(tx: Writer, thumbprint: str, jwk: Mapping[str, str]) -> None:
    """Keep a public key that signs checkpoints."""
    await tx.execute(
        "INSERT INTO audit_keys (thumbprint, jwk) VALUES ($1, $2) ON CONFLICT (thumbprint) DO NOTHING",
        thumbprint,
        orjson.dumps(dict(jwk)).decode(),
    )


async def list_keys(db: Reader) -> list[Any]:
    """Return the public keys that signed checkpoints, as JWK; what cannot be read is left out."""
    rows = await db.fetch_all("SELECT jwk FROM audit_keys ORDER BY thumbprint")
    return [jwk for row in rows if (jwk := _json(row["jwk"])) is not None]


async def replace_tombstone(tx: Writer, number: int, jws: str) -> None:
    """Put the tombstone of a purge in the place of those before it."""
    await tx.execute("DELETE FROM audit_tombstones WHERE number < $1", number)
    await tx.execute("INSERT INTO audit_tombstones (number, jws) VALUES ($1, $2)", number, jws)


async def find_tombstone(db: Reader) -> str | None:
    """Return the newest tombstone, signed, or None when nothing was purged."""
    row = await db.fetch_one("SELECT jws FROM audit_tombstones ORDER BY number DESC LIMIT 1")
    return None if row is None else str(row["jws"])


def _json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _checkpoint(row: Row) -> Checkpoint:
    return Checkpoint(
        number=row["number"],
        through=bytes(row["through"]),
        count=row["row_count"],
        late=row["late_count"],
        total=row["total"],
        jws=row["jws"],
        cosignature=row["cosignature"],
        leaves=bytes(row["leaves"]),
    )
