"""SQL of the authorization's whole life: request, code, family."""

from authserver.authorization.records import Authorization, AuthorizationRequest, IssuedCode, RefreshToken
from authserver.protocol.identifiers import TokenHash
from authserver.storage.database import Append, Claim, Reader, Row, Writer
from authserver.users.records import UserStatus
from authserver.users.store import status_of

_COLUMNS = (
    "a.id, a.client_id, a.user_id, a.redirect_uri, a.scope, a.resource_id, a.resource, a.state, a.code_challenge,"
    " a.dpop_jkt, a.consented, a.created_at, a.expires_at, a.consumed_at, a.revoked_at,"
    " a.retry_token_hash, a.retry_request, a.retry_response, a.rotated_at, a.authenticated_at"
)

_WIDTH = _COLUMNS.count(",") + 1

_FIND_CODE = (
    f"SELECT {_COLUMNS}, g.id IS NOT NULL AS consent_is_active, {status_of('a.user_id')} AS user_status"
    " FROM authorizations a"
    " LEFT JOIN consent_grants g ON g.user_id = a.user_id AND g.client_id = a.client_id"
    " AND g.resource_id = a.resource_id AND g.revoked_at IS NULL"
    " WHERE a.code_hash = $1"
)

_FIND_REFRESH_TOKEN = (
    f"SELECT {_COLUMNS}, t.expires_at AS token_expires_at, t.consumed_at AS token_consumed_at,"
    f" {status_of('a.user_id')} AS user_status"
    " FROM refresh_tokens t JOIN authorizations a ON a.id = t.authorization_id WHERE t.token_hash = $1"
)

_AUTHORIZATIONS = Append(
    table="authorizations",
    columns={
        "id": "bytea",
        "client_id": "text",
        "user_id": "text",
        "redirect_uri": "text",
        "scope": "text",
        "resource_id": "text",
        "resource": "text",
        "state": "text",
        "code_challenge": "text",
        "dpop_jkt": "text",
        "code_hash": "bytea",
        "consented": "boolean",
        "created_at": "bigint",
        "expires_at": "bigint",
        "authenticated_at": "bigint",
    },
)

_REFRESH_TOKENS = Append(
    table="refresh_tokens",
    columns={"token_hash": "bytea", "authorization_id": "bytea", "created_at": "bigint", "expires_at": "bigint"},
)

_ATTACH_CODE = Claim(
    table="authorizations",
    assignments="code_hash = $2, scope = $4, consented = $5, expires_at = $7, authenticated_at = $8",
    condition="id = $1 AND user_id = $3 AND code_hash IS NULL AND revoked_at IS NULL AND expires_at > $6",
    types=("bytea", "bytea", "text", "text", "boolean", "bigint", "bigint", "bigint"),
)

_CONSUME_CODE = Claim(
    table="authorizations",
    assignments="consumed_at = $2, dpop_jkt = $3",
    condition="code_hash = $1 AND consumed_at IS NULL AND revoked_at IS NULL AND (NOT consented OR EXISTS ("
    "SELECT 1 FROM consent_grants g WHERE g.user_id = authorizations.user_id"
    " AND g.client_id = authorizations.client_id AND g.resource_id = authorizations.resource_id"
    " AND g.revoked_at IS NULL))",
    types=("bytea", "bigint", "text"),
)

_CONSUME_REFRESH_TOKEN = Claim(
    table="refresh_tokens",
    assignments="consumed_at = $2",
    condition="token_hash = $1 AND consumed_at IS NULL",
    types=("bytea", "bigint"),
)

_ROTATE_FAMILY = Claim(
    table="authorizations",
    assignments="retry_token_hash = $2, retry_request = $3, retry_response = $4, rotated_at = $5",
    condition="id = $1 AND revoked_at IS NULL",
    types=("bytea", "bytea", "bytea", "bytea", "bigint"),
)

_REVOKE_FAMILY = Claim(
    table="authorizations",
    assignments="revoked_at = $2, retry_token_hash = NULL, retry_request = NULL, retry_response = NULL, rotated_at = NULL",
    condition="id = $1 AND revoked_at IS NULL",
    types=("bytea", "bigint"),
)


def _authorization(row: Row) -> Authorization:
    # By position: SQLite looks a column's name up among all of them, one after the other.
    (
        authorization_id,
        client_id,
        user_id,
        redirect_uri,
        scope,
        resource_id,
        resource,
        state,
        code_challenge,
        dpop_jkt,
        consented,
        created_at,
        expires_at,
        consumed_at,
        revoked_at,
        retry_token_hash,
        retry_request,
        retry_response,
        rotated_at,
        authenticated_at,
    ) = row[:_WIDTH]
    return Authorization(
        id=authorization_id,
        client_id=client_id,
        user_id=user_id,
        redirect_uri=redirect_uri,
        scope=scope,
        resource_id=resource_id,
        resource=resource,
        state=state,
        code_challenge=code_challenge,
        dpop_jkt=dpop_jkt,
        consented=bool(consented),
        created_at=created_at,
        expires_at=expires_at,
        consumed_at=consumed_at,
        revoked_at=revoked_at,
        retry_token_hash=retry_token_hash,
        retry_request=retry_request,
        retry_response=retry_response,
        rotated_at=rotated_at,
        authenticated_at=authenticated_at,
    )


async def insert_authorization(
    tx: Writer,
    authorization_id: bytes,
    request: AuthorizationRequest,
    *,
    user_id: str,
    code_hash: TokenHash | None,
    consented: bool,
    now: int,
    expires_at: int,
    authenticated_at: int | None,
) -> None:
    """Record a request of a signed-in user: pending, or with its code at once when consent is remembered."""
    await tx.append(
        _AUTHORIZATIONS,
        authorization_id,
        request.client_id,
        user_id,
        request.redirect_uri,
        " ".join(request.scopes),
        request.resource_id,
        request.resource,
        request.state,
        request.code_challenge,
        request.dpop_jkt,
        code_hash,
        consented,
        now,
        expires_at,
        authenticated_at,
    )


async def find_pending(db: Reader, authorization_id: bytes, *, user_id: str, now: int) -> Authorization | None:
    """Look up a request that waits for this user's consent: not expired, no code yet."""
    row = await db.fetch_one(
        f"SELECT {_COLUMNS} FROM authorizations a"
        " WHERE a.id = $1 AND a.user_id = $2 AND a.expires_at > $3 AND a.code_hash IS NULL AND a.revoked_at IS NULL",
        authorization_id,
        user_id,
        now,
    )
    return _authorization(row) if row else None


async def attach_code(
    tx: Writer,
    authorization_id: bytes,
    code_hash: TokenHash,
    *,
    user_id: str,
    scope: str,
    consented: bool,
    now: int,
    expires_at: int,
    authenticated_at: int,
) -> bool:
    """Give a pending request its code and the approved scope. Of any number of submits, one gets True."""
    return await tx.claim(
        _ATTACH_CODE, authorization_id, code_hash, user_id, scope, consented, now, expires_at, authenticated_at
    )


async def delete_pending(tx: Writer, authorization_id: bytes, *, user_id: str) -> bool:
    """Delete a request that the user denied. Of any number of submits, one gets True."""
    touched = await tx.execute(
        "DELETE FROM authorizations WHERE id = $1 AND user_id = $2 AND code_hash IS NULL AND consumed_at IS NULL",
        authorization_id,
        user_id,
    )
    return touched == 1


async def find_code(db: Reader, code_hash: TokenHash) -> IssuedCode | None:
    """Look a code up, redeemed or not, with the state of the consent it rests on and of its user."""
    row = await db.fetch_one(_FIND_CODE, code_hash)
    if row is None:
        return None
    authorization = _authorization(row)
    return IssuedCode(
        authorization=authorization,
        consent_is_active=not authorization.consented or bool(row["consent_is_active"]),
        user_is_active=row["user_status"] == UserStatus.ACTIVE,
    )


async def consume_code(tx: Writer, code_hash: TokenHash, *, jkt: str | None, now: int) -> bool:
    """Redeem a code: its row becomes a family. Of any number of callers at once, in any number of workers, one gets True.

    The consent is asked for once more in the same statement, so a revocation cannot slip in between.
    """
    return await tx.claim(_CONSUME_CODE, code_hash, now, jkt)


async def insert_refresh_token(
    tx: Writer, token_hash: TokenHash, *, family_id: bytes, now: int, expires_at: int
) -> None:
    """Add a live refresh token to a family."""
    await tx.append(_REFRESH_TOKENS, token_hash, family_id, now, expires_at)


async def find_refresh_token(db: Reader, token_hash: TokenHash) -> RefreshToken | None:
    """Look a refresh token up with its family, consumed or not, revoked or not, and the state of its user."""
    row = await db.fetch_one(_FIND_REFRESH_TOKEN, token_hash)
    if row is None:
        return None
    return RefreshToken(
        token_hash=token_hash,
        expires_at=row["token_expires_at"],
        consumed_at=row["token_consumed_at"],
        user_is_active=row["user_status"] == UserStatus.ACTIVE,
        family=_authorization(row),
    )


async def consume_refresh_token(tx: Writer, token_hash: TokenHash, *, now: int) -> bool:
    """Spend a refresh token. Of any number of callers at once, in any number of workers, one gets True."""
    return await tx.claim(_CONSUME_REFRESH_TOKEN, token_hash, now)


async def rotate_family(
    tx: Writer,
    family_id: bytes,
    *,
    spent: TokenHash,
    retry_request: bytes | None,
    retry_response: bytes | None,
    now: int,
) -> bool:
    """Keep the answer of a rotation for a retry, in place of the previous one; False when the family is revoked.

    The update locks the family's row, so a revocation at the same moment comes wholly before or wholly after.
    """
    return await tx.claim(_ROTATE_FAMILY, family_id, spent, retry_request, retry_response, now)


async def revoke_family(tx: Writer, family_id: bytes, *, now: int) -> bool:
    """Revoke a family and forget its stored answer; True when this call changed its state.

    No refresh token of it works after that: each use asks for the family.
    """
    return await tx.claim(_REVOKE_FAMILY, family_id, now)


async def revoke_families_of(tx: Writer, *, user_id: str | None = None, client_id: str | None = None, now: int) -> int:
    """Revoke every family of a user, or of a client, and every request and code that could still become one.

    Returns:
        The number of families that were in force.
    """
    column, value = ("user_id", user_id) if user_id is not None else ("client_id", client_id)
    await tx.settle(_AUTHORIZATIONS)
    revoked = await tx.fetch_all(
        "UPDATE authorizations SET revoked_at = $2, retry_token_hash = NULL, retry_request = NULL,"
        " retry_response = NULL, rotated_at = NULL"
        f" WHERE {column} = $1 AND revoked_at IS NULL RETURNING consumed_at",
        value,
        now,
    )
    return sum(row["consumed_at"] is not None for row in revoked)


async def revoke_families_at(tx: Writer, *, user_id: str, client_id: str, resource_id: str, now: int) -> int:
    """Revoke what a user let a client do at one Resource: families, and requests and codes that could become one.

    Returns:
        The number of families that were in force.
    """
    await tx.settle(_AUTHORIZATIONS)
    revoked = await tx.fetch_all(
        "UPDATE authorizations SET revoked_at = $4, retry_token_hash = NULL, retry_request = NULL,"
        " retry_response = NULL, rotated_at = NULL"
        " WHERE user_id = $1 AND client_id = $2 AND resource_id = $3 AND revoked_at IS NULL RETURNING consumed_at",
        user_id,
        client_id,
        resource_id,
        now,
    )
    return sum(row["consumed_at"] is not None for row in revoked)


async def has_family_used_since(
    db: Reader, *, user_id: str | None = None, client_id: str | None = None, since: int
) -> bool:
    """Whether a user, or a client, has a family in force that was begun or refreshed since a moment."""
    column, value = ("user_id", user_id) if user_id is not None else ("client_id", client_id)
    row = await db.fetch_one(
        "SELECT 1 AS found FROM authorizations"
        f" WHERE {column} = $1 AND revoked_at IS NULL AND COALESCE(rotated_at, consumed_at) > $2 LIMIT 1",
        value,
        since,
    )
    return row is not None


async def count_active_families(db: Reader) -> int:
    """Count the families that are not revoked. Reads them all: for the gauge, not for requests."""
    row = await db.fetch_one(
        "SELECT count(*) AS number FROM authorizations WHERE consumed_at IS NOT NULL AND revoked_at IS NULL"
    )
    return int(row["number"]) if row else 0


async def find_last_authorization(db: Reader, client_id: str) -> bytes | None:
    """Return the id of a client's newest authorization."""
    row = await db.fetch_one("SELECT id FROM authorizations WHERE client_id = $1 ORDER BY id DESC LIMIT 1", client_id)
    return row["id"] if row else None
