"""SQL of clients, and of the one setting that belongs to them."""

from typing import Any

import orjson

from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.storage.database import Reader, Row, Value, Writer

_COLUMNS = (
    "id, secret_hash, jwks, jwks_uri, name, redirect_uris, grant_types, response_types, token_endpoint_auth_method,"
    " status, registration_source, cimd_url, cimd_fetched_at, scope, application_type, is_agent, agent_description,"
    " dpop_bound_access_tokens, version, issued_at, updated_at"
)
_PLACEHOLDERS = ", ".join(f"${number}" for number in range(1, _COLUMNS.count(",") + 2))
_LONGEST_ID = 2048


async def find_client(db: Reader, client_id: str) -> Client | None:
    """Look a client up, whatever its status; any text may be asked for."""
    if len(client_id) > _LONGEST_ID or "\x00" in client_id:
        return None
    row = await db.fetch_one(f"SELECT {_COLUMNS} FROM clients WHERE id = $1", client_id)
    return _client(row) if row else None


async def list_clients(
    db: Reader,
    *,
    limit: int,
    status: ClientStatus | None = None,
    source: RegistrationSource | None = None,
    before: tuple[int, str] | None = None,
) -> list[Client]:
    """Read a page, newest first.

    Args:
        db: Where to read.
        limit: Clients a page.
        status: Only clients of this status.
        source: Only clients that registered this way.
        before: ``issued_at`` and id of the last client of the page before; None starts at the newest.
    """
    conditions, values = ["1 = 1"], list[Value]()
    for column, value in (("status", status), ("registration_source", source)):
        if value is not None:
            values.append(str(value))
            conditions.append(f"{column} = ${len(values)}")
    if before is not None:
        values += before
        conditions.append(f"(issued_at, id) < (${len(values) - 1}, ${len(values)})")
    values.append(limit)
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM clients WHERE {' AND '.join(conditions)}"
        f" ORDER BY issued_at DESC, id DESC LIMIT ${len(values)}",
        *values,
    )
    return [_client(row) for row in rows]


async def count_active_clients(db: Reader) -> int:
    """Count the clients that may act. Reads them all: for the gauge, not for requests."""
    row = await db.fetch_one("SELECT count(*) AS number FROM clients WHERE status = $1", ClientStatus.ACTIVE)
    return int(row["number"]) if row else 0


async def insert_client(tx: Writer, client: Client) -> None:
    """Store a new client.

    Raises:
        UniqueViolation: The id is taken.
    """
    await tx.execute(f"INSERT INTO clients ({_COLUMNS}) VALUES ({_PLACEHOLDERS})", *_values(client))


async def update_client(tx: Writer, client: Client) -> bool:
    """Store a changed client over the version it was read at (storage.md A17). False: somebody else was faster.

    What is fixed at creation is not written: source, agent fields, response types, and when it was issued.
    """
    changed = await tx.execute(
        "UPDATE clients SET secret_hash = $3, jwks = $4, jwks_uri = $5, name = $6, redirect_uris = $7,"
        " grant_types = $8, token_endpoint_auth_method = $9, status = $10, cimd_fetched_at = $11, scope = $12,"
        " application_type = $13, dpop_bound_access_tokens = $14, updated_at = $15, version = version + 1"
        " WHERE id = $1 AND version = $2",
        client.id,
        client.version,
        client.secret_hash,
        client.jwks,
        client.jwks_uri,
        client.name,
        _json(client.redirect_uris),
        _json(client.grant_types),
        client.token_endpoint_auth_method,
        client.status,
        client.cimd_fetched_at,
        client.scope,
        client.application_type,
        client.dpop_bound_access_tokens,
        client.updated_at,
    )
    return changed == 1


async def update_secret_hash(tx: Writer, client_id: str, *, old: str, new: str) -> None:
    """Store the same secret in another form, unless it was rotated meanwhile. The version stays: nothing changed."""
    await tx.execute("UPDATE clients SET secret_hash = $3 WHERE id = $1 AND secret_hash = $2", client_id, old, new)


async def update_fetched_at(tx: Writer, client_id: str, *, fetched_at: int) -> None:
    """Note that a client's metadata document was read and said the same. The version stays: nothing changed."""
    await tx.execute(
        "UPDATE clients SET cimd_fetched_at = $2 WHERE id = $1 AND (cimd_fetched_at IS NULL OR cimd_fetched_at < $2)",
        client_id,
        fetched_at,
    )


async def delete_client(tx: Writer, client_id: str) -> bool:
    """Delete a client with its authorizations and consent grants; False when there is none."""
    return await tx.execute("DELETE FROM clients WHERE id = $1", client_id) == 1


async def find_setting(db: Reader, key: str) -> str | None:
    """Look up a setting that operators change while the server runs."""
    row = await db.fetch_one("SELECT value FROM runtime_settings WHERE key = $1", key)
    return str(row["value"]) if row else None


async def put_setting(tx: Writer, key: str, value: str, *, now: int) -> None:
    """Store a setting, new or changed."""
    await tx.execute(
        "INSERT INTO runtime_settings (key, value, updated_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        key,
        value,
        now,
    )


def _values(client: Client) -> list[Value]:
    return [
        client.id,
        client.secret_hash,
        client.jwks,
        client.jwks_uri,
        client.name,
        _json(client.redirect_uris),
        _json(client.grant_types),
        _json(client.response_types),
        client.token_endpoint_auth_method,
        client.status,
        client.registration_source,
        client.cimd_url,
        client.cimd_fetched_at,
        client.scope,
        client.application_type,
        client.is_agent,
        client.agent_description,
        client.dpop_bound_access_tokens,
        client.version,
        client.issued_at,
        client.updated_at,
    ]


def _json(names: tuple[str, ...]) -> str:
    return orjson.dumps(names).decode()


def _names(text: Any) -> tuple[str, ...]:
    return tuple(orjson.loads(text))


def _client(row: Row) -> Client:
    return Client(
        id=row["id"],
        secret_hash=row["secret_hash"],
        jwks=row["jwks"],
        jwks_uri=row["jwks_uri"],
        name=row["name"],
        redirect_uris=_names(row["redirect_uris"]),
        grant_types=_names(row["grant_types"]),
        response_types=_names(row["response_types"]),
        token_endpoint_auth_method=row["token_endpoint_auth_method"],
        status=ClientStatus(row["status"]),
        registration_source=RegistrationSource(row["registration_source"]),
        cimd_url=row["cimd_url"],
        cimd_fetched_at=row["cimd_fetched_at"],
        scope=row["scope"],
        application_type=row["application_type"],
        is_agent=bool(row["is_agent"]),
        agent_description=row["agent_description"],
        dpop_bound_access_tokens=bool(row["dpop_bound_access_tokens"]),
        version=row["version"],
        issued_at=row["issued_at"],
        updated_at=row["updated_at"],
    )
