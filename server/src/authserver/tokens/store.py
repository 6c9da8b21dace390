"""SQL of ``issuance_rows``, which the view ``issuances`` shows with texts for numbers."""

from collections.abc import Awaitable
from functools import lru_cache
from typing import Any

import orjson

from authserver.clients.records import Client, ClientStatus
from authserver.clients.store import client_at
from authserver.clients.store import revision_of as client_revision_of
from authserver.clients.store import status_of as client_status_of
from authserver.protocol.identifiers import LAST_ID, first_id
from authserver.storage.database import Append, Claim, Reader, Row, Writer
from authserver.storage.names import between, newest_first, number_of, text_of
from authserver.tokens.records import LEEWAY, Issuance, IssuanceFilter, IssuanceKind, IssuedToken
from authserver.users.records import UserStatus
from authserver.users.store import status_of as user_status_of

_ISSUANCES = Append(
    table="issuance_rows",
    columns={
        "id": "bytea",
        "token_digest": "bytea",
        "kind": "text",
        "subject_number": "int",
        "client_number": "int",
        "resource_number": "int",
        "scopes": "text",
        "authorization_id": "bytea",
        "issued_at": "bigint",
        "expires_at": "bigint",
        "dpop_jkt": "text",
        "agent_number": "int",
        "agent_chain": "text",
        "consent_client_number": "int",
        "parent_jti": "bytea",
    },
    named=("subject_number", "client_number", "resource_number", "agent_number", "consent_client_number"),
)

_REVOKE_ISSUANCE = Claim(
    table="issuance_rows",
    assignments="revoked_at = $2",
    condition="id = $1 AND revoked_at IS NULL",
    types=("bytea", "bigint"),
)


_READ = (
    "i.id, i.token_digest, i.kind, i.subject, i.client_id, i.resource_id, i.scopes, i.authorization_id, i.issued_at,"
    " i.expires_at, i.dpop_jkt, i.agent_id, i.agent_chain, i.consent_client_id, i.parent_jti, i.revoked_at"
)
_STATUSES = f"{client_status_of('i.client_id')} AS client_status, {user_status_of('i.subject')} AS subject_status"
# The same columns without the statuses, from the rows: texts are looked up for those of the answer alone.
_LISTED = (
    f"id, token_digest, kind, {text_of('subject_number')} AS subject, {text_of('client_number')} AS client_id,"
    f" {text_of('resource_number')} AS resource_id, scopes, authorization_id, issued_at, expires_at, dpop_jkt,"
    f" {text_of('agent_number')} AS agent_id, agent_chain, {text_of('consent_client_number')} AS consent_client_id,"
    " parent_jti, revoked_at, NULL AS client_status, NULL AS subject_status"
)
_KEPT_RECORDS = 1024
_ISSUED_WIDTH = _READ.count(",") + 3
_SELECT_ISSUED = f"SELECT {_READ}, {_STATUSES} FROM issuances i"
_FIND_ISSUED = f"{_SELECT_ISSUED} WHERE i.id = $1"
_FIND_ISSUED_AND_CLIENT = (
    f"SELECT {_READ}, {_STATUSES}, {client_revision_of('$2')} AS client_revision FROM issuances i WHERE i.id = $1"
)


def _issued(row: Row) -> IssuedToken:
    return _kept_record(row[:_ISSUED_WIDTH])


@lru_cache(maxsize=_KEPT_RECORDS)
def _kept_record(values: tuple[Any, ...]) -> IssuedToken:
    """Return the record of a row, the same one for the same values: a token is asked about again and again (decision 0014)."""
    return _record(values)


def _record(values: tuple[Any, ...]) -> IssuedToken:
    """Return the record of a row, whose values stand in the order of the columns."""
    (
        jti,
        token_digest,
        kind,
        subject,
        client_id,
        resource_id,
        scopes,
        authorization_id,
        issued_at,
        expires_at,
        dpop_jkt,
        agent_id,
        agent_chain,
        consent_client_id,
        parent_jti,
        revoked_at,
        client_status,
        subject_status,
    ) = values
    issuance = Issuance(
        id=jti,
        token_digest=token_digest,
        kind=IssuanceKind(kind),
        subject=subject,
        client_id=client_id,
        resource_id=resource_id,
        scopes=tuple(scopes.split()),
        authorization_id=authorization_id,
        issued_at=issued_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        dpop_jkt=dpop_jkt,
        agent_id=agent_id,
        agent_chain=tuple(orjson.loads(agent_chain)) if agent_chain else (),
        consent_client_id=consent_client_id,
        parent_jti=parent_jti,
    )
    return IssuedToken(
        issuance=issuance,
        client_is_active=None if client_status is None else client_status == ClientStatus.ACTIVE,
        subject_is_active=None if subject_status is None else subject_status == UserStatus.ACTIVE,
    )


async def has_issued(db: Reader) -> bool:
    """Tell whether any token was issued and is still remembered."""
    return await db.fetch_one("SELECT 1 AS one FROM issuance_rows LIMIT 1") is not None


def append_issuance(tx: Writer, issuance: Issuance) -> Awaitable[None]:
    """Record a token in the transaction that lets it leave."""
    return tx.append(
        _ISSUANCES,
        issuance.id,
        issuance.token_digest,
        str(issuance.kind),
        issuance.subject,
        issuance.client_id,
        issuance.resource_id,
        " ".join(issuance.scopes),
        issuance.authorization_id,
        issuance.issued_at,
        issuance.expires_at,
        issuance.dpop_jkt,
        issuance.agent_id,
        orjson.dumps(issuance.agent_chain).decode() if issuance.agent_chain else None,
        issuance.consent_client_id,
        issuance.parent_jti,
    )


async def find_issued(db: Reader, jti: bytes) -> IssuedToken | None:
    """Look a token up by its id, and at the same moment whether those it rests on may act."""
    row = await db.fetch_one(_FIND_ISSUED, jti)
    return _issued(row) if row else None


async def find_issued_and_client(db: Reader, jti: bytes, client_id: str) -> tuple[IssuedToken, Client | None] | None:
    """Look a token up by its id, as ``find_issued``, and in the same read a client, such as the one that asks about it.

    Returns:
        None when there is no such token, whether or not there is such a client.
    """
    row = await db.fetch_one(_FIND_ISSUED_AND_CLIENT, jti, client_id)
    if row is None:
        return None
    return _issued(row), await client_at(db, client_id, row["client_revision"])


async def hold_issuance(tx: Writer, jti: bytes, *, caller: str) -> tuple[bool, bool]:
    """Whether a token is not revoked, which nobody changes until this transaction ends; and whether a client may act.

    Of the client no row is held, which all its requests would share: who suspends it at this very moment is not waited
    for. Its tokens are inactive from then on.
    """
    row = await tx.hold(
        f"SELECT i.revoked_at, {client_status_of('$2')} AS caller_status FROM issuance_rows i WHERE i.id = $1",
        jti,
        caller,
    )
    if row is None:
        return False, True
    return row["revoked_at"] is None, row["caller_status"] == ClientStatus.ACTIVE


async def revoke_issuance(tx: Writer, jti: bytes, *, now: int) -> bool:
    """Revoke one token; True when this call changed its state."""
    await tx.settle(_ISSUANCES)
    return await tx.claim(_REVOKE_ISSUANCE, jti, now)


async def revoke_issuances_of_family(tx: Writer, authorization_id: bytes, *, now: int) -> int:
    """Revoke every token of a family; return the number of those that were not revoked."""
    await tx.settle(_ISSUANCES)
    return await tx.execute(
        "UPDATE issuance_rows SET revoked_at = $2 WHERE authorization_id = $1 AND revoked_at IS NULL",
        authorization_id,
        now,
    )


async def revoke_issuances_of(tx: Writer, *, user_id: str | None = None, client_id: str | None = None, now: int) -> int:
    """Revoke every token in force about a user, or of a client, the leeway of verifiers included; return their number."""
    await tx.settle(_ISSUANCES)
    column, value = ("subject", user_id) if user_id is not None else ("client", client_id)
    return await tx.execute(
        f"UPDATE issuance_rows SET revoked_at = $2 WHERE {column}_number = {number_of('$1')} AND revoked_at IS NULL AND expires_at > $3",
        value,
        now,
        now - LEEWAY,
    )


async def revoke_descendants(tx: Writer, jti: bytes, *, now: int) -> int:
    """Revoke what was exchanged from a token, to the leaves; return how many were not revoked. As ``revoke_lineage``."""
    return await _revoke_reach(tx, "SELECT id FROM issuance_rows WHERE parent_jti = $2", jti, now=now)


async def revoke_lineage(tx: Writer, *, user_id: str, client_id: str, resource_id: str, now: int) -> int:
    """Revoke what rests on a consent, and what was exchanged from it, to the leaves; return how many were not revoked.

    Each round sees what was exchanged while the one before waited for it; the last one finds nothing. It leads through
    tokens that were revoked before, and through those that have expired: what came of them may live.
    """
    roots = (
        f"SELECT id FROM issuance_rows WHERE subject_number = {number_of('$2')} AND resource_number = {number_of('$4')}"
        f" AND (consent_client_number = {number_of('$3')} OR (consent_client_number IS NULL AND parent_jti IS NULL"
        f" AND client_number = {number_of('$3')}))"
    )
    return await _revoke_reach(tx, roots, user_id, client_id, resource_id, now=now)


async def _revoke_reach(tx: Writer, roots: str, *values: str | bytes, now: int) -> int:
    """Revoke the tokens that a constant query finds, and those after them; its parameters begin with ``$2``."""
    await tx.settle(_ISSUANCES)
    revoked = 0
    while touched := await tx.execute(
        f"UPDATE issuance_rows SET revoked_at = $1 WHERE revoked_at IS NULL AND id IN ({_reach(roots)})",
        now,
        *values,
    ):
        revoked += touched
    return revoked


def _reach(roots: str) -> str:
    """Return the query of the tokens that a query finds, and of what was exchanged from them, to the leaves."""
    return (
        f"WITH RECURSIVE reach (id) AS ({roots}"
        " UNION SELECT c.id FROM issuance_rows c JOIN reach r ON c.parent_jti = r.id) SELECT id FROM reach"
    )


async def has_live_issuance(tx: Writer, *, user_id: str | None = None, client_id: str | None = None, now: int) -> bool:
    """Whether a token about a user, or of a client, still works."""
    column, value = ("subject", user_id) if user_id is not None else ("client", client_id)
    await tx.settle(_ISSUANCES)
    row = await tx.fetch_one(
        f"SELECT 1 AS found FROM issuance_rows WHERE {column}_number = {number_of('$1')} AND revoked_at IS NULL AND expires_at > $2 LIMIT 1",
        value,
        now,
    )
    return row is not None


async def find_last_issuance(db: Reader, client_id: str) -> bytes | None:
    """Return the id of the token that a client was given last."""
    row = await db.fetch_one(
        f"SELECT id FROM issuance_rows WHERE client_number = {number_of('$1')} ORDER BY id DESC LIMIT 1", client_id
    )
    return row["id"] if row else None


async def find_issuance(db: Reader, jti: bytes) -> Issuance | None:
    """Look the record of a token up."""
    issued = await find_issued(db, jti)
    return None if issued is None else issued.issuance


async def list_descendants(db: Reader, jti: bytes, *, limit: int) -> list[Issuance]:
    """Return the records of what was exchanged from a token, oldest first; of more than so many, those closest to it."""
    reach = await db.fetch_all(f"{_reach('SELECT id FROM issuance_rows WHERE parent_jti = $1')} LIMIT $2", jti, limit)
    # One by one: of a list that it cannot see, PostgreSQL thinks that it is long, and reads the whole table.
    found = [await db.fetch_one(f"SELECT {_LISTED} FROM issuance_rows WHERE id = $1", row["id"]) for row in reach]
    return sorted((_listed(row) for row in found if row is not None), key=lambda issuance: issuance.id)


async def list_issuances(db: Reader, wanted: IssuanceFilter, *, since: int, limit: int) -> list[Issuance]:
    """Return the records that pass a filter, which names a user, a client or a resource; newest first."""
    named = [
        (column, value)
        for column, value in (
            ("subject_number", wanted.user_id),
            ("client_number", wanted.client_id),
            ("resource_number", wanted.resource_id),
        )
        if value is not None
    ]
    (first, _), *others = named
    # One index leads, which an expression keeps the others from doing: a user has fewer tokens than a client or a resource.
    # The index has no rows without a number, which a planner is told, too.
    conditions = [
        between(first, number_of("$1"), f"${len(named) + 1}", f"${len(named) + 2}"),
        f"{first} IS NOT NULL",
        *(f"{column} + 0 = {number_of(f'${n}')}" for n, (column, _) in enumerate(others, 2)),
    ]
    rows = await db.fetch_all(
        f"SELECT {_LISTED} FROM issuance_rows WHERE {' AND '.join(conditions)} {newest_first(first)}"
        f" LIMIT ${len(named) + 3}",
        *(value for _, value in named),
        first_id(since * 1000),
        LAST_ID,
        limit,
    )
    return [_listed(row) for row in rows]


def _listed(row: Row) -> Issuance:
    # Not kept: a long list would put those out that requests are about.
    return _record(row[:_ISSUED_WIDTH]).issuance
