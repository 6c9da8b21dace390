"""SQL of ``trusted_idps``, ``xaa_policies`` and ``subject_mappings``."""

from collections.abc import Sequence

import orjson

from authserver.storage.database import Reader, Row, Writer
from authserver.users.records import UserStatus
from authserver.users.store import status_of as user_status_of
from authserver.xaa.records import MappedUser, SubjectMapping, TrustedIdp, XaaPolicy

_IDP = "id, name, issuer, jwks_uri, audience, enabled, keys_version, created_at, updated_at"
_POLICY = "id, name, idp_id, client_ids, scopes, resources, enabled, created_at, updated_at"
_MAPPING = "id, idp_id, idp_subject, local_user_id, created_at"


def _idp(row: Row) -> TrustedIdp:
    return TrustedIdp(
        id=row["id"],
        name=row["name"],
        issuer=row["issuer"],
        jwks_uri=row["jwks_uri"],
        audience=row["audience"],
        enabled=bool(row["enabled"]),
        keys_version=row["keys_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _policy(row: Row) -> XaaPolicy:
    return XaaPolicy(
        id=row["id"],
        name=row["name"],
        idp_id=row["idp_id"],
        client_ids=tuple(orjson.loads(row["client_ids"])),
        scopes=None if row["scopes"] is None else tuple(orjson.loads(row["scopes"])),
        resources=tuple(orjson.loads(row["resources"])),
        enabled=bool(row["enabled"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _mapping(row: Row) -> SubjectMapping:
    return SubjectMapping(
        id=row["id"],
        idp_id=row["idp_id"],
        idp_subject=row["idp_subject"],
        local_user_id=row["local_user_id"],
        created_at=row["created_at"],
    )


def _list(values: Sequence[str]) -> str:
    return orjson.dumps(values).decode()


async def find_idp(db: Reader, idp_id: str) -> TrustedIdp | None:
    """Look a provider up by id."""
    row = await db.fetch_one(f"SELECT {_IDP} FROM trusted_idps WHERE id = $1", idp_id)
    return _idp(row) if row else None


async def list_idps(db: Reader) -> list[TrustedIdp]:
    """Read all providers, oldest first."""
    return [_idp(row) for row in await db.fetch_all(f"SELECT {_IDP} FROM trusted_idps ORDER BY created_at, id")]


async def insert_idp(tx: Writer, idp: TrustedIdp) -> None:
    """Store a new provider.

    Raises:
        UniqueViolation: Its issuer is registered.
    """
    await tx.execute(
        f"INSERT INTO trusted_idps ({_IDP}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        idp.id,
        idp.name,
        idp.issuer,
        idp.jwks_uri,
        idp.audience,
        idp.enabled,
        idp.keys_version,
        idp.created_at,
        idp.updated_at,
    )


async def update_idp(tx: Writer, idp_id: str, *, name: str | None, enabled: bool | None, now: int) -> bool:
    """Change what is given; False when there is no such provider."""
    touched = await tx.execute(
        "UPDATE trusted_idps SET name = COALESCE($2, name), enabled = COALESCE($3, enabled), updated_at = $4"
        " WHERE id = $1",
        idp_id,
        name,
        enabled,
        now,
    )
    return touched == 1


async def raise_keys_version(tx: Writer, idp_id: str) -> bool:
    """Have every process forget a provider's keys; False when there is no such provider."""
    return await tx.execute("UPDATE trusted_idps SET keys_version = keys_version + 1 WHERE id = $1", idp_id) == 1


async def delete_idp(tx: Writer, idp_id: str) -> bool:
    """Delete a provider with its policies and mappings; False when there is no such provider."""
    return await tx.execute("DELETE FROM trusted_idps WHERE id = $1", idp_id) == 1


async def find_policy(db: Reader, policy_id: str) -> XaaPolicy | None:
    """Look a policy up by id."""
    row = await db.fetch_one(f"SELECT {_POLICY} FROM xaa_policies WHERE id = $1", policy_id)
    return _policy(row) if row else None


async def list_policies(db: Reader, *, idp_id: str | None = None) -> list[XaaPolicy]:
    """Read all policies, or those of one provider, in the order in which they are tried: oldest first."""
    where, values = ("", ()) if idp_id is None else (" WHERE idp_id = $1", (idp_id,))
    rows = await db.fetch_all(f"SELECT {_POLICY} FROM xaa_policies{where} ORDER BY created_at, id", *values)
    return [_policy(row) for row in rows]


async def insert_policy(tx: Writer, policy: XaaPolicy) -> None:
    """Store a new policy.

    Raises:
        ReferenceViolation: There is no such provider.
    """
    await tx.execute(
        f"INSERT INTO xaa_policies ({_POLICY}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        policy.id,
        policy.name,
        policy.idp_id,
        _list(policy.client_ids),
        None if policy.scopes is None else _list(policy.scopes),
        _list(policy.resources),
        policy.enabled,
        policy.created_at,
        policy.updated_at,
    )


async def update_policy(tx: Writer, policy: XaaPolicy) -> None:
    """Store what changed about a policy."""
    await tx.execute(
        "UPDATE xaa_policies SET name = $2, client_ids = $3, scopes = $4, resources = $5, enabled = $6, updated_at = $7"
        " WHERE id = $1",
        policy.id,
        policy.name,
        _list(policy.client_ids),
        None if policy.scopes is None else _list(policy.scopes),
        _list(policy.resources),
        policy.enabled,
        policy.updated_at,
    )


async def delete_policy(tx: Writer, policy_id: str) -> bool:
    """Delete a policy; False when there is no such policy."""
    return await tx.execute("DELETE FROM xaa_policies WHERE id = $1", policy_id) == 1


async def find_mapped_user(db: Reader, idp_id: str, idp_subject: str) -> MappedUser | None:
    """Look up who a provider's user is here, and whether they may act; None when nobody said."""
    row = await db.fetch_one(
        f"SELECT local_user_id, {user_status_of('local_user_id')} AS status FROM subject_mappings"
        " WHERE idp_id = $1 AND idp_subject = $2",
        idp_id,
        idp_subject,
    )
    if row is None:
        return None
    return MappedUser(user_id=row["local_user_id"], is_active=row["status"] == UserStatus.ACTIVE)


async def find_mapping_by_id(db: Reader, mapping_id: str) -> SubjectMapping | None:
    """Look a mapping up by id."""
    row = await db.fetch_one(f"SELECT {_MAPPING} FROM subject_mappings WHERE id = $1", mapping_id)
    return _mapping(row) if row else None


async def list_mappings(
    db: Reader, *, limit: int, idp_id: str | None = None, after: SubjectMapping | None = None
) -> list[SubjectMapping]:
    """Read a page of the mappings, of all providers or of one, beginning after the last of the page before."""
    only = "" if idp_id is None else " AND idp_id = $3"
    rows = await db.fetch_all(
        f"SELECT {_MAPPING} FROM subject_mappings WHERE (idp_id, idp_subject) > ($1, $2){only}"
        f" ORDER BY idp_id, idp_subject LIMIT {limit:d}",
        after.idp_id if after else "",
        after.idp_subject if after else "",
        *(() if idp_id is None else (idp_id,)),
    )
    return [_mapping(row) for row in rows]


async def insert_mapping(tx: Writer, mapping: SubjectMapping) -> None:
    """Store a new mapping.

    Raises:
        UniqueViolation: The provider's user is mapped.
        ReferenceViolation: There is no such provider.
    """
    await tx.execute(
        f"INSERT INTO subject_mappings ({_MAPPING}) VALUES ($1, $2, $3, $4, $5)",
        mapping.id,
        mapping.idp_id,
        mapping.idp_subject,
        mapping.local_user_id,
        mapping.created_at,
    )


async def delete_mapping(tx: Writer, mapping_id: str) -> bool:
    """Delete a mapping; False when there is no such mapping."""
    return await tx.execute("DELETE FROM subject_mappings WHERE id = $1", mapping_id) == 1
