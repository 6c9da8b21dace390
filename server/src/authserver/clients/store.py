"""SQL of clients, and of the one setting that belongs to them."""

from typing import Any

import orjson

from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.storage.database import Reader, Row, Value, Writer
from authserver.storage.merging import find_nth, read_merged
from authserver.storage.revisions import KeptRecords
from authserver.storage.totals import Counted

_COLUMNS = (
    "id, secret_hash, jwks, jwks_uri, name, redirect_uris, grant_types, response_types, token_endpoint_auth_method,"
    " status, registration_source, cimd_url, cimd_fetched_at, scope, application_type, is_agent, agent_description,"
    " dpop_bound_access_tokens, version, issued_at, updated_at"
)
_FIELDS = tuple(_COLUMNS.split(", "))
_WIDTH = len(_FIELDS)
_LONG = tuple(_FIELDS.index(name) for name in ("jwks", "redirect_uris", "scope"))
_PLACEHOLDERS = ", ".join(f"${number}" for number in range(1, _WIDTH + 1))
_FIND_REVISION = "SELECT revision FROM clients WHERE id = $1"
_READ_CLIENT = f"SELECT {_COLUMNS}, revision FROM clients WHERE id = $1"
_LONGEST_ID = 2048
_KEPT = KeptRecords[Client](4096)
_LONGEST_KEPT = 4096
_BEHIND_ALL = (2**62, "")

Position = tuple[int, str]
"""Where a client stands in the order of time: ``issued_at`` and id."""
ALL_CLIENTS = Counted("clients")


async def find_client(db: Reader, client_id: str) -> Client | None:
    """Look a client up, whatever its status; any text may be asked for."""
    if not may_be_id(client_id):
        return None
    row = await db.fetch_one(_FIND_REVISION, client_id)
    return await client_at(db, client_id, row["revision"] if row else None)


def may_be_id(client_id: str) -> bool:
    """Whether a text can be looked up as the id of a client."""
    return len(client_id) <= _LONGEST_ID and "\x00" not in client_id


def revision_of(client_id: str) -> str:
    """Return SQL for the revision of the client that a parameter names, or NULL; ``client_at`` takes it."""
    return f"(SELECT revision FROM clients WHERE id = {client_id})"


async def client_at(db: Reader, client_id: str, revision: int | None) -> Client | None:
    """Return a client whose row was just seen to have this revision, or not to be there."""
    if revision is None:
        return None
    return _KEPT.get(client_id, revision) or await read_client(db, client_id)


async def read_client(db: Reader, client_id: str) -> Client | None:
    """Read the whole row of a client."""
    row = await db.fetch_one(_READ_CLIENT, client_id)
    if row is None:
        return None
    values = row[:_WIDTH]
    client = _record(values)
    # A key set may have 64 KiB, and anybody may register: what is kept of strangers' rows is small.
    if sum(len(values[column] or "") for column in _LONG) <= _LONGEST_KEPT:
        _KEPT.put(client_id, row["revision"], client)
    return client


def status_of(client_id: str) -> str:
    """Return SQL for the status of the client that a column names, or NULL: for a read that needs no more of it."""
    return f"(SELECT status FROM clients WHERE id = {client_id})"


async def list_clients(
    db: Reader,
    *,
    limit: int,
    status: str | None = None,
    source: str | None = None,
    before: Position | None = None,
) -> list[Client]:
    """Read a page, newest first.

    Args:
        db: Where to read.
        limit: Clients a page.
        status: Only clients of this status.
        source: Only clients that registered this way.
        before: Where the last client of the page before stands; None starts at the newest.
    """
    rows = await read_merged(
        db, _of_kind(_COLUMNS, status, source), before or _BEHIND_ALL, limit=limit, order=_position
    )
    # Not kept: a long list would put those out that requests are about.
    return [_record(row[:_WIDTH]) for row in rows]


async def find_position(
    db: Reader, *, passed_over: int, status: str | None = None, source: str | None = None
) -> Position | None:
    """Return where the last of so many clients stands, newest first; None when there are fewer. To be surveyed."""
    kinds = _of_kind("issued_at, id", status, source)
    row = await find_nth(db, kinds, _BEHIND_ALL, nth=passed_over, order=_position)
    return None if row is None else _position(row)


def position_of(client: Client) -> Position:
    """Return where a client stands."""
    return client.issued_at, client.id


def _of_kind(columns: str, status: str | None, source: str | None) -> list[str]:
    """Return SQL for the clients of a status and source that stand behind a position: lists to be merged.

    One index leads to each status of each source in the order of time. So no client is looked at that does not pass.
    """
    behind = f"SELECT {columns} FROM clients WHERE (issued_at, id) < ($1, $2)"
    order = "ORDER BY issued_at DESC, id DESC"
    if status is None and source is None:
        return [f"{behind} {order}"]
    return [
        f"{behind} AND registration_source = '{one}' AND status = '{other}' {order}"
        for one in RegistrationSource
        for other in ClientStatus
        if source in {None, one} and status in {None, other}
    ]


def _position(row: Row) -> Position:
    return row["issued_at"], row["id"]


async def list_agents(db: Reader, *, limit: int) -> list[tuple[str, str]]:
    """Return id and description of the active agents, oldest first. May read all clients: not for requests."""
    rows = await db.fetch_all(
        "SELECT id, agent_description FROM clients WHERE is_agent AND status = $1 ORDER BY issued_at, id LIMIT $2",
        ClientStatus.ACTIVE,
        limit,
    )
    return [(row["id"], row["agent_description"]) for row in rows]


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


async def revoke_client(tx: Writer, client_id: str, *, now: int) -> bool:
    """Stop a client for ever, whatever its version; False when there is none, or it was revoked before."""
    touched = await tx.execute(
        "UPDATE clients SET status = $2, updated_at = $3, version = version + 1 WHERE id = $1 AND status <> $2",
        client_id,
        ClientStatus.REVOKED,
        now,
    )
    return touched == 1


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


def _record(values: tuple[Any, ...]) -> Client:
    """Return the record of a row, whose values stand in the order of the columns."""
    fields = dict(zip(_FIELDS, values, strict=True))
    for name in ("redirect_uris", "grant_types", "response_types"):
        fields[name] = _names(fields[name])
    fields["status"] = ClientStatus(fields["status"])
    fields["registration_source"] = RegistrationSource(fields["registration_source"])
    fields["is_agent"] = bool(fields["is_agent"])
    fields["dpop_bound_access_tokens"] = bool(fields["dpop_bound_access_tokens"])
    return Client(**fields)
