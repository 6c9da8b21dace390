"""SQL of the tables ``signing_keys`` and ``vault_key_versions``."""

from collections.abc import Sequence
from dataclasses import dataclass

from authserver.storage.database import Reader, Row, Writer

_COLUMNS = "kid, algorithm, enc_private, created_at, rotated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """A row of ``signing_keys``.

    Attributes:
        sealed_pem: The private key as PKCS#8 PEM, encrypted under the context ``signing-key:<kid>``.
        rotated_at: When its successor came; None for the current key.
    """

    kid: str
    alg: str
    sealed_pem: bytes
    created_at: int
    rotated_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultVersion:
    """A row of ``vault_key_versions``.

    Attributes:
        vault_created_at: When Vault made the version, by its clock.
        key_name: The key in Vault.
        created_at: When this server had it made, by its own clock; None: somebody else did.
        retired_at: When an operator retired it.
    """

    kid: str
    vault_created_at: int
    key_name: str
    created_at: int | None
    retired_at: int | None


async def list_sealed_keys(db: Reader) -> list[SealedKey]:
    """Return all keys, the current one first, the others newest first."""
    rows = await db.fetch_all(f"SELECT {_COLUMNS} FROM signing_keys ORDER BY is_current DESC, id DESC")
    return [_sealed_key(row) for row in rows]


async def has_current_key(tx: Writer) -> bool:
    """Tell whether there is a key to sign with."""
    return await tx.fetch_one("SELECT 1 AS one FROM signing_keys WHERE is_current") is not None


async def supersede_current(tx: Writer, *, now: int) -> None:
    """Make the current key a previous one."""
    await tx.execute("UPDATE signing_keys SET is_current = FALSE, rotated_at = $1 WHERE is_current", now)


async def insert_current(tx: Writer, key: SealedKey) -> None:
    """Add the current key; the one before it must have been superseded.

    Raises:
        UniqueViolation: There is a current key.
    """
    await tx.execute(
        f"INSERT INTO signing_keys (id, is_current, {_COLUMNS})"
        " SELECT COALESCE(MAX(id), 0) + 1, TRUE, $1, $2, $3, $4, $5 FROM signing_keys",
        key.kid,
        key.alg,
        key.sealed_pem,
        key.created_at,
        key.rotated_at,
    )


async def delete_previous(tx: Writer, kid: str) -> None:
    """Delete a key that signs no more."""
    await tx.execute("DELETE FROM signing_keys WHERE kid = $1 AND NOT is_current", kid)


async def delete_rotated_before(tx: Writer, moment: int) -> None:
    """Delete the keys that were superseded at or before a moment."""
    await tx.execute("DELETE FROM signing_keys WHERE NOT is_current AND rotated_at <= $1", moment)


async def list_vault_versions(db: Reader, key_names: Sequence[str]) -> list[VaultVersion]:
    """Return what is known of the versions of some keys in Vault."""
    found = []
    for key_name in key_names:
        rows = await db.fetch_all(
            "SELECT kid, vault_created_at, key_name, created_at, retired_at FROM vault_key_versions WHERE key_name = $1",
            key_name,
        )
        found += [_vault_version(row) for row in rows]
    return found


async def save_vault_version(tx: Writer, version: VaultVersion) -> None:
    """Keep what is known of a version; what is known already stays."""
    await tx.execute(
        "INSERT INTO vault_key_versions (kid, vault_created_at, key_name, created_at, retired_at)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kid, vault_created_at) DO UPDATE"
        " SET created_at = COALESCE(vault_key_versions.created_at, excluded.created_at),"
        " retired_at = COALESCE(vault_key_versions.retired_at, excluded.retired_at)",
        version.kid,
        version.vault_created_at,
        version.key_name,
        version.created_at,
        version.retired_at,
    )


def _sealed_key(row: Row) -> SealedKey:
    return SealedKey(
        kid=row["kid"],
        alg=row["algorithm"],
        sealed_pem=row["enc_private"],
        created_at=row["created_at"],
        rotated_at=row["rotated_at"],
    )


def _vault_version(row: Row) -> VaultVersion:
    return VaultVersion(
        kid=row["kid"],
        vault_created_at=row["vault_created_at"],
        key_name=row["key_name"],
        created_at=row["created_at"],
        retired_at=row["retired_at"],
    )
