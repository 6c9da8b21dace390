"""SQL of the authorization's whole life: request, code, family.

What is one statement of a transaction is no coroutine of its own: the caller awaits the statement.
"""

from collections.abc import Awaitable

from authserver.authorization.records import (
    Authorization,
    AuthorizationRequest,
    IssuedCode,
    KeptAnswer,
    PendingAuthorization,
    RefreshToken,
)
from authserver.clients.records import Client
from authserver.clients.store import client_at, find_client, may_be_id
from authserver.clients.store import revision_of as client_revision_of
from authserver.protocol.identifiers import TokenHash
from authserver.storage.database import Append, Claim, Reader, Row, Writer
from authserver.users.records import UserStatus
from authserver.users.store import status_of

# In the order of ``Authorization`` and ``KeptAnswer``, which are made by position: SQLite looks a name up among all columns.
_COLUMNS = (
    "a.id, a.client_id, a.user_id, a.scope, a.resource_id, a.resource, a.dpop_jkt, a.consumed_at, a.revoked_at,"
    " a.authenticated_at"
)
_WIDTH = len(Authorization._fields)
_USER_IS_ACTIVE = f"{status_of('a.user_id')} = '{UserStatus.ACTIVE}'"

_FIND_PENDING = (
    "SELECT id, client_id, user_id, redirect_uri, scope, resource_id, resource, state, code_challenge, dpop_jkt, created_at"
    " FROM authorizations"
    " WHERE id = $1 AND user_id = $2 AND expires_at > $3 AND code_hash IS NULL AND revoked_at IS NULL"
)
_PENDING_WIDTH = len(PendingAuthorization._fields)

# Of the client that ``$2`` names, whoever the row is about.
_CLIENT_REVISION = client_revision_of("$2")

_CODE_COLUMNS = (
    f"{_COLUMNS}, a.redirect_uri, a.code_challenge, a.expires_at,"
    f" NOT a.consented OR g.id IS NOT NULL, {_USER_IS_ACTIVE}"
)
_CODE_WIDTH = _WIDTH + 5
_BY_CODE = (
    "FROM authorizations a"
    " LEFT JOIN consent_grants g ON g.user_id = a.user_id AND g.client_id = a.client_id"
    " AND g.resource_id = a.resource_id AND g.revoked_at IS NULL"
    " WHERE a.code_hash = $1"
)
_FIND_CODE = f"SELECT {_CODE_COLUMNS} {_BY_CODE}"
_FIND_CODE_AND_CLIENT = f"SELECT {_CODE_COLUMNS}, {_CLIENT_REVISION} {_BY_CODE}"

_REFRESH_COLUMNS = f"{_COLUMNS}, t.expires_at, t.consumed_at, {_USER_IS_ACTIVE}"
_REFRESH_WIDTH = _WIDTH + 3
_BY_HASH = "FROM refresh_tokens t JOIN authorizations a ON a.id = t.authorization_id WHERE t.token_hash = $1"
_FIND_REFRESH_TOKEN = f"SELECT {_REFRESH_COLUMNS} {_BY_HASH}"
_FIND_REFRESH_TOKEN_AND_CLIENT = f"SELECT {_REFRESH_COLUMNS}, {_CLIENT_REVISION} {_BY_HASH}"
_FIND_SPENT_REFRESH_TOKEN = (
    f"SELECT {_REFRESH_COLUMNS}, a.retry_token_hash, a.retry_request, a.retry_response, a.rotated_at {_BY_HASH}"
)
_SPENT_WIDTH = _REFRESH_WIDTH + len(KeptAnswer._fields)

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


def insert_authorization(
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
) -> Awaitable[None]:
    """Record a request of a signed-in user: pending, or with its code at once when consent is remembered."""
    return tx.append(
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


async def find_pending(db: Reader, authorization_id: bytes, *, user_id: str, now: int) -> PendingAuthorization | None:
    """Look up a request that waits for this user's consent: not expired, no code yet."""
    row = await db.fetch_one(_FIND_PENDING, authorization_id, user_id, now)
    return PendingAuthorization._make(row[:_PENDING_WIDTH]) if row else None


def attach_code(
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
) -> Awaitable[bool]:
    """Give a pending request its code and the approved scope. Of any number of submits, one gets True."""
    return tx.claim(
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
    return _issued_code(code_hash, row) if row else None


async def find_code_and_client(
    db: Reader, code_hash: TokenHash, client_id: str
) -> tuple[IssuedCode | None, Client | None]:
    """Look a code up, as ``find_code``, and in the same read a client, such as the one that presents it."""
    row = await db.fetch_one(_FIND_CODE_AND_CLIENT, code_hash, client_id) if may_be_id(client_id) else None
    if row is None:
        return None, await find_client(db, client_id)
    return _issued_code(code_hash, row), await client_at(db, client_id, row[_CODE_WIDTH])


def _issued_code(code_hash: TokenHash, row: Row) -> IssuedCode:
    redirect_uri, code_challenge, expires_at, consent_is_active, user_is_active = row[_WIDTH:_CODE_WIDTH]
    authorization = Authorization._make(row[:_WIDTH])
    return IssuedCode(
        code_hash,
        authorization,
        redirect_uri,
        code_challenge,
        expires_at,
        bool(consent_is_active),
        bool(user_is_active),
    )


def consume_code(tx: Writer, code_hash: TokenHash, *, jkt: str | None, now: int) -> Awaitable[bool]:
    """Redeem a code: its row becomes a family. Of any number of callers at once, in any number of workers, one gets True.

    The consent is asked for once more in the same statement, so a revocation cannot slip in between.
    """
    return tx.claim(_CONSUME_CODE, code_hash, now, jkt)


def insert_refresh_token(
    tx: Writer, token_hash: TokenHash, *, family_id: bytes, now: int, expires_at: int
) -> Awaitable[None]:
    """Add a live refresh token to a family."""
    return tx.append(_REFRESH_TOKENS, token_hash, family_id, now, expires_at)


async def find_refresh_token(db: Reader, token_hash: TokenHash) -> RefreshToken | None:
    """Look a refresh token up with its family, consumed or not, revoked or not, and the state of its user."""
    row = await db.fetch_one(_FIND_REFRESH_TOKEN, token_hash)
    return _refresh_token(token_hash, row) if row else None


async def find_refresh_token_and_client(
    db: Reader, token_hash: TokenHash, client_id: str
) -> tuple[RefreshToken | None, Client | None]:
    """Look a refresh token up, as ``find_refresh_token``, and in the same read a client, such as the one that presents it."""
    row = await db.fetch_one(_FIND_REFRESH_TOKEN_AND_CLIENT, token_hash, client_id) if may_be_id(client_id) else None
    if row is None:
        return None, await find_client(db, client_id)
    return _refresh_token(token_hash, row), await client_at(db, client_id, row[_REFRESH_WIDTH])


async def find_spent_refresh_token(db: Reader, token_hash: TokenHash) -> tuple[RefreshToken, KeptAnswer] | None:
    """Look a refresh token up as ``find_refresh_token``, and in the same read the answer that its family keeps."""
    row = await db.fetch_one(_FIND_SPENT_REFRESH_TOKEN, token_hash)
    if row is None:
        return None
    return _refresh_token(token_hash, row), KeptAnswer._make(row[_REFRESH_WIDTH:_SPENT_WIDTH])


def _refresh_token(token_hash: TokenHash, row: Row) -> RefreshToken:
    expires_at, consumed_at, user_is_active = row[_WIDTH:_REFRESH_WIDTH]
    return RefreshToken(token_hash, expires_at, consumed_at, bool(user_is_active), Authorization._make(row[:_WIDTH]))


def consume_refresh_token(tx: Writer, token_hash: TokenHash, *, now: int) -> Awaitable[bool]:
    """Spend a refresh token. Of any number of callers at once, in any number of workers, one gets True."""
    return tx.claim(_CONSUME_REFRESH_TOKEN, token_hash, now)


def rotate_family(
    tx: Writer,
    family_id: bytes,
    *,
    spent: TokenHash,
    retry_request: bytes | None,
    retry_response: bytes | None,
    now: int,
) -> Awaitable[bool]:
    """Keep the answer of a rotation for a retry, in place of the previous one; False when the family is revoked.

    The update locks the family's row, so a revocation at the same moment comes wholly before or wholly after.
    """
    return tx.claim(_ROTATE_FAMILY, family_id, spent, retry_request, retry_response, now)


def revoke_family(tx: Writer, family_id: bytes, *, now: int) -> Awaitable[bool]:
    """Revoke a family and forget its stored answer; True when this call changed its state.

    No refresh token of it works after that: each use asks for the family.
    """
    return tx.claim(_REVOKE_FAMILY, family_id, now)


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
