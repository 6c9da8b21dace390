"""SQL of ``consent_grants``."""

import orjson

from authserver.authorization.records import ActiveConsent, ConsentGrant
from authserver.protocol.identifiers import LAST_ID
from authserver.storage.database import Reader, Row, Writer
from authserver.users.records import Account
from authserver.users.store import SIGNED_IN

_COLUMNS = "id, user_id, client_id, resource_id, scopes, redirect_uris, created_at, updated_at, revoked_at"
_WIDTH = _COLUMNS.count(",") + 1
_ACTIVE = "id, scopes, redirect_uris"
_FIND_ACTIVE = (
    f"SELECT {_ACTIVE} FROM consent_grants"
    " WHERE user_id = $1 AND client_id = $2 AND resource_id = $3 AND revoked_at IS NULL"
)
_FIND_SIGNED_IN = (
    "SELECT u.email, u.name, g.id, g.scopes, g.redirect_uris FROM users u LEFT JOIN consent_grants g"
    " ON g.user_id = u.id AND g.client_id = $3 AND g.resource_id = $4 AND g.revoked_at IS NULL"
    f" WHERE {SIGNED_IN}"
)
_ALL = 2**31 - 1


def _grant(row: Row) -> ConsentGrant:
    # By position: SQLite looks a column's name up among all of them, one after the other.
    grant_id, user_id, client_id, resource_id, scopes, redirect_uris, created_at, updated_at, revoked_at = row[:_WIDTH]
    return ConsentGrant(
        id=grant_id,
        user_id=user_id,
        client_id=client_id,
        resource_id=resource_id,
        scopes=tuple(orjson.loads(scopes)),
        redirect_uris=tuple(orjson.loads(redirect_uris)),
        created_at=created_at,
        updated_at=updated_at,
        revoked_at=revoked_at,
    )


def _active(consent_id: bytes, scopes: str, redirect_uris: str) -> ActiveConsent:
    return ActiveConsent(consent_id, tuple(orjson.loads(scopes)), tuple(orjson.loads(redirect_uris)))


async def find_consent(db: Reader, *, user_id: str, client_id: str, resource_id: str) -> ActiveConsent | None:
    """Look up an active consent."""
    row = await db.fetch_one(_FIND_ACTIVE, user_id, client_id, resource_id)
    return _active(*row[:3]) if row else None


async def find_signed_in_and_consent(
    db: Reader, user_id: str, *, epoch: int, client_id: str, resource_id: str | None
) -> tuple[Account, ActiveConsent | None] | None:
    """Look up who is signed in, as ``find_signed_in``, and in the same read the active consent to a client.

    Returns:
        None when nobody is signed in any more. Without a Resource there is no consent.
    """
    row = await db.fetch_one(_FIND_SIGNED_IN, user_id, epoch, client_id, resource_id)
    if row is None:
        return None
    email, name, *consent = row[:5]
    return Account(user_id, email, name), None if consent[0] is None else _active(*consent)


async def hold_consent(tx: Writer, consent_id: bytes) -> bool:
    """Whether a consent is active, which nobody changes until this transaction ends."""
    return await tx.hold("SELECT id FROM consent_grants WHERE id = $1 AND revoked_at IS NULL", consent_id) is not None


async def lock_consent(tx: Writer, *, user_id: str, client_id: str, resource_id: str) -> ActiveConsent | None:
    """Look up an active consent and keep others from changing it until this transaction ends."""
    row = await tx.fetch_one(
        "UPDATE consent_grants SET updated_at = updated_at"
        f" WHERE user_id = $1 AND client_id = $2 AND resource_id = $3 AND revoked_at IS NULL RETURNING {_ACTIVE}",
        user_id,
        client_id,
        resource_id,
    )
    return _active(*row[:3]) if row else None


async def save_consent(tx: Writer, grant: ConsentGrant) -> None:
    """Write a consent: the first, a changed one, or a revoked one revived under its old id."""
    await tx.execute(
        f"INSERT INTO consent_grants ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)"
        " ON CONFLICT (user_id, client_id, resource_id) DO UPDATE SET scopes = excluded.scopes,"
        " redirect_uris = excluded.redirect_uris, updated_at = excluded.updated_at, revoked_at = NULL",
        grant.id,
        grant.user_id,
        grant.client_id,
        grant.resource_id,
        orjson.dumps(grant.scopes).decode(),
        orjson.dumps(grant.redirect_uris).decode(),
        grant.created_at,
        grant.updated_at,
    )


async def revoke_consent(tx: Writer, consent_id: bytes, *, now: int) -> ConsentGrant | None:
    """Revoke a consent, unless it was before; return it as it was, or None when there is none."""
    row = await tx.fetch_one(
        f"UPDATE consent_grants SET updated_at = updated_at WHERE id = $1 RETURNING {_COLUMNS}", consent_id
    )
    if row is not None:
        await tx.execute(
            "UPDATE consent_grants SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", consent_id, now
        )
    return _grant(row) if row else None


async def list_consents(
    db: Reader, user_id: str, *, limit: int = _ALL, before: bytes | None = None
) -> list[ConsentGrant]:
    """Read what a user allowed, revoked or not, newest first.

    Args:
        db: Where to read.
        user_id: Who allowed it.
        limit: How many.
        before: The id of the last one of the page before; None starts at the newest.
    """
    rows = await db.fetch_all(
        f"SELECT {_COLUMNS} FROM consent_grants WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        user_id,
        before or LAST_ID,
        limit,
    )
    return [_grant(row) for row in rows]


async def forget_approved_redirects(tx: Writer, client_id: str) -> None:
    """Have every user of a client asked again: its document changed what they agreed to (CM-13)."""
    await tx.execute("UPDATE consent_grants SET redirect_uris = '[]' WHERE client_id = $1", client_id)
