"""SQL of ``broker_providers`` and ``broker_grants``."""

import orjson

from authserver.broker.records import BrokerGrant, BrokerProtocol, BrokerProvider, Sealed
from authserver.storage.database import Reader, Row, Writer
from authserver.storage.totals import Counted

_PROVIDER = "id, slug, display_name, protocol, config_data, enc_secret_data, enc_secret_backend, created_at, updated_at"
_GRANT = (
    "id, user_id, broker_provider_id, credential_data, enc_backend, scopes_granted, version, created_at, updated_at,"
    " revoked_at"
)

ACTIVE_GRANTS = Counted("broker_grants WHERE revoked_at IS NULL")


def _provider(row: Row) -> BrokerProvider:
    sealed = row["enc_secret_data"]
    return BrokerProvider(
        id=row["id"],
        slug=row["slug"],
        display_name=row["display_name"],
        protocol=BrokerProtocol(row["protocol"]),
        config_data=orjson.loads(row["config_data"]),
        secret=None if sealed is None else Sealed(ciphertext=sealed, backend=row["enc_secret_backend"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _grant(row: Row) -> BrokerGrant:
    return BrokerGrant(
        id=row["id"],
        user_id=row["user_id"],
        broker_provider_id=row["broker_provider_id"],
        credential=Sealed(ciphertext=row["credential_data"], backend=row["enc_backend"]),
        scopes=tuple(orjson.loads(row["scopes_granted"])),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revoked_at=row["revoked_at"],
    )


async def find_provider(db: Reader, provider_id: str) -> BrokerProvider | None:
    """Look a provider up by id."""
    row = await db.fetch_one(f"SELECT {_PROVIDER} FROM broker_providers WHERE id = $1", provider_id)
    return _provider(row) if row else None


async def find_provider_by_slug(db: Reader, slug: str) -> BrokerProvider | None:
    """Look a provider up by slug, exactly as spelled."""
    row = await db.fetch_one(f"SELECT {_PROVIDER} FROM broker_providers WHERE slug = $1", slug)
    return _provider(row) if row else None


async def list_providers(db: Reader) -> list[BrokerProvider]:
    """Read all providers, by their slugs. Operators write them one by one: there are as many as they wrote."""
    return [_provider(row) for row in await db.fetch_all(f"SELECT {_PROVIDER} FROM broker_providers ORDER BY slug")]


async def insert_provider(tx: Writer, provider: BrokerProvider) -> None:
    """Store a new provider.

    Raises:
        UniqueViolation: The slug is taken.
    """
    await tx.execute(
        f"INSERT INTO broker_providers ({_PROVIDER}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        provider.id,
        provider.slug,
        provider.display_name,
        provider.protocol,
        orjson.dumps(provider.config_data).decode(),
        provider.secret.ciphertext if provider.secret else None,
        provider.secret.backend if provider.secret else None,
        provider.created_at,
        provider.updated_at,
    )


async def lock_provider(tx: Writer, provider_id: str) -> BrokerProvider | None:
    """Read a provider that is about to change or go; nobody else changes or refers to it until this transaction ends."""
    # An update that changes nothing is the row lock that both databases have.
    row = await tx.fetch_one(
        f"UPDATE broker_providers SET updated_at = updated_at WHERE id = $1 RETURNING {_PROVIDER}", provider_id
    )
    return _provider(row) if row else None


async def hold_provider(tx: Writer, provider_id: str) -> BrokerProvider | None:
    """Read a provider that something is about to refer to; nobody changes or deletes it until this transaction ends."""
    row = await tx.hold(f"SELECT {_PROVIDER} FROM broker_providers WHERE id = $1", provider_id)
    return _provider(row) if row else None


async def update_provider(tx: Writer, provider: BrokerProvider) -> None:
    """Store what changed about a provider.

    Raises:
        UniqueViolation: The slug is taken.
    """
    await tx.execute(
        "UPDATE broker_providers SET slug = $2, display_name = $3, protocol = $4, config_data = $5, enc_secret_data = $6,"
        " enc_secret_backend = $7, updated_at = $8 WHERE id = $1",
        provider.id,
        provider.slug,
        provider.display_name,
        provider.protocol,
        orjson.dumps(provider.config_data).decode(),
        provider.secret.ciphertext if provider.secret else None,
        provider.secret.backend if provider.secret else None,
        provider.updated_at,
    )


async def delete_provider(tx: Writer, provider_id: str) -> None:
    """Delete a provider that is locked and that no resource names, with the connects that wait for it.

    Raises:
        ReferenceViolation: Grants refer to it.
    """
    await tx.execute("DELETE FROM connect_pending_states WHERE provider_id = $1", provider_id)
    await tx.execute("DELETE FROM broker_providers WHERE id = $1", provider_id)


async def find_grant(db: Reader, *, user_id: str, provider_id: str) -> BrokerGrant | None:
    """Look up what a user has at a provider, revoked or not."""
    row = await db.fetch_one(
        f"SELECT {_GRANT} FROM broker_grants WHERE user_id = $1 AND broker_provider_id = $2", user_id, provider_id
    )
    return _grant(row) if row else None


async def list_grants_of_user(db: Reader, user_id: str) -> list[BrokerGrant]:
    """Read what a user has, revoked or not, newest first."""
    rows = await db.fetch_all(f"SELECT {_GRANT} FROM broker_grants WHERE user_id = $1 ORDER BY id DESC", user_id)
    return [_grant(row) for row in rows]


async def save_grant(tx: Writer, grant: BrokerGrant) -> BrokerGrant:
    """Write a credential: the first, or one that replaces another, revoked or not, under its id; return what is stored.

    Raises:
        ReferenceViolation: The user or the provider is gone.
    """
    row = await tx.fetch_one(
        f"INSERT INTO broker_grants ({_GRANT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL)"
        " ON CONFLICT (user_id, broker_provider_id) DO UPDATE SET credential_data = excluded.credential_data,"
        " enc_backend = excluded.enc_backend, scopes_granted = excluded.scopes_granted,"
        f" version = broker_grants.version + 1, updated_at = excluded.updated_at, revoked_at = NULL RETURNING {_GRANT}",
        grant.id,
        grant.user_id,
        grant.broker_provider_id,
        grant.credential.ciphertext,
        grant.credential.backend,
        orjson.dumps(grant.scopes).decode(),
        grant.version,
        grant.created_at,
        grant.updated_at,
    )
    if row is None:
        raise AssertionError("an upsert returns its row")
    return _grant(row)


async def revoke_grant(tx: Writer, grant_id: bytes, *, now: int) -> BrokerGrant | None:
    """Revoke a credential; return it, or None when there is none that is in force."""
    row = await tx.fetch_one(
        f"UPDATE broker_grants SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING {_GRANT}",
        grant_id,
        now,
    )
    return _grant(row) if row else None
