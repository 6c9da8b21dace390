"""SQL of ``resources``."""

from typing import Any

import orjson

from authserver.protocol.resource_indicators import fold_resource
from authserver.resources.records import BackendKind, Resource, ResourcePolicy, ResourceScope
from authserver.storage.database import Reader, Row, Value, Writer

_COLUMNS = "id, slug, display_name, uri, backend_kind, broker_provider_id, scopes, policy, created_at, updated_at"


def _resource(row: Row) -> Resource:
    policy = orjson.loads(row["policy"])
    return Resource(
        id=row["id"],
        slug=row["slug"],
        display_name=row["display_name"],
        uri=row["uri"],
        backend_kind=BackendKind(row["backend_kind"]),
        broker_provider_id=row["broker_provider_id"],
        scopes=tuple(ResourceScope(**scope) for scope in orjson.loads(row["scopes"])),
        policy=ResourcePolicy(
            exchange_allowed_client_ids=tuple(policy["exchange_allowed_client_ids"]),
            runtime_client_ids=tuple(policy["runtime_client_ids"]),
            connect_allowed_return_urls=tuple(policy["connect_allowed_return_urls"]),
            dpop_required=policy.get("dpop_required", False),
        ),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _policy(policy: ResourcePolicy) -> str:
    return _json(
        {
            "exchange_allowed_client_ids": policy.exchange_allowed_client_ids,
            "runtime_client_ids": policy.runtime_client_ids,
            "connect_allowed_return_urls": policy.connect_allowed_return_urls,
            "dpop_required": policy.dpop_required,
        }
    )


def _scopes(scopes: tuple[ResourceScope, ...]) -> str:
    return _json([{"name": s.name, "upstream": s.upstream, "description": s.description} for s in scopes])


async def find_resource(db: Reader, resource_id: str) -> Resource | None:
    """Look a resource up by id."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM resources WHERE id = $1", resource_id)
    return _resource(row) if row else None


async def find_resource_by_slug(db: Reader, slug: str) -> Resource | None:
    """Look a resource up by slug, exactly as spelled."""
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM resources WHERE slug = $1", slug)
    return _resource(row) if row else None


async def list_resources(db: Reader, *, limit: int, after: Resource | None = None) -> list[Resource]:
    """Read a page, oldest first, beginning after the last resource of the page before."""
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM resources WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3",
        after.created_at if after else -1,
        after.id if after else "",
        limit,
    )
    return [_resource(row) for row in rows]


async def page_resources(
    db: Reader, *, limit: int, offset: int, backend_kind: str | None = None, broker_provider_id: str | None = None
) -> list[Resource]:
    """Read a page, oldest first, of all resources or those of a kind or provider.

    Resources are as many as operators wrote: an offset costs little here.
    """
    conditions, values = ["1 = 1"], list[Value]()
    for column, value in (("backend_kind", backend_kind), ("broker_provider_id", broker_provider_id)):
        if value is not None:
            values.append(value)
            conditions.append(f"{column} = ${len(values)}")
    values += (limit, offset)
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM resources WHERE {' AND '.join(conditions)} ORDER BY created_at, id"
        f" LIMIT ${len(values) - 1} OFFSET ${len(values)}",
        *values,
    )
    return [_resource(row) for row in rows]


async def list_upstream_scopes(db: Reader, provider_id: str) -> list[str]:
    """Return what the resources of a provider call their scopes there, each once, in the order first seen."""
    rows = await db.fetch_all(
        "SELECT scopes FROM resources WHERE broker_provider_id = $1 ORDER BY created_at, id", provider_id
    )
    named = (scope["upstream"] for row in rows for scope in orjson.loads(row["scopes"]))
    return list(dict.fromkeys(name for name in named if name))


async def insert_resource(tx: Writer, resource: Resource) -> None:
    """Store a new resource.

    Raises:
        UniqueViolation: The slug is taken.
    """
    await tx.execute(
        f"INSERT INTO resources ({_COLUMNS}, uri_folded, number)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        resource.id,
        resource.slug,
        resource.display_name,
        resource.uri,
        resource.backend_kind,
        resource.broker_provider_id,
        _scopes(resource.scopes),
        _policy(resource.policy),
        resource.created_at,
        resource.updated_at,
        fold_resource(resource.uri),
        await tx.number_of(resource.id),
    )


async def lock_resource(tx: Writer, resource_id: str) -> Resource | None:
    """Read a resource that is about to change; nobody else changes it until this transaction ends."""
    # An update that changes nothing is the row lock that both databases have.
    row = await tx.fetch_one(
        f"UPDATE resources SET updated_at = updated_at WHERE id = $1 RETURNING {_COLUMNS}", resource_id
    )
    return _resource(row) if row else None


async def update_resource(tx: Writer, resource: Resource) -> None:
    """Store what changed about a resource.

    Raises:
        UniqueViolation: The slug is taken.
    """
    await tx.execute(
        "UPDATE resources SET slug = $2, display_name = $3, uri = $4, uri_folded = $5, backend_kind = $6,"
        " broker_provider_id = $7, scopes = $8, policy = $9, updated_at = $10 WHERE id = $1",
        resource.id,
        resource.slug,
        resource.display_name,
        resource.uri,
        fold_resource(resource.uri),
        resource.backend_kind,
        resource.broker_provider_id,
        _scopes(resource.scopes),
        _policy(resource.policy),
        resource.updated_at,
    )


async def delete_resource(tx: Writer, resource_id: str, *, now: int) -> bool:
    """Delete a resource; False when there is none.

    Raises:
        ReferenceViolation: Consent grants, issuances or pending connects refer to it.
    """
    await tx.execute("DELETE FROM connect_pending_states WHERE resource_id = $1 AND expires_at <= $2", resource_id, now)
    return await tx.execute("DELETE FROM resources WHERE id = $1", resource_id) == 1
