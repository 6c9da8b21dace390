"""What may be deleted, and when (storage contract, section 7).

Nothing is ever correct only because this ran: every read checks expiry itself. Rows go in small batches, each a
transaction of its own, found by an index and never looked at twice.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from authserver.audit.chain.purging import Purge, purge_sealed
from authserver.audit.delivery.store import lowest_delivered
from authserver.protocol.identifiers import LAST_ID, first_id
from authserver.protocol.operator_errors import Invalid
from authserver.protocol.statements import Signer
from authserver.storage.changes import announce
from authserver.storage.database import Database, Value, Writer
from authserver.traces.recorder import trim_expired

P = TypeVar("P", int, bytes)

BATCH_ROWS = 500
SLICE_ROWS = 2000
DAY = 24 * 3600
UNUSED_CLIENT_AGE = 30 * DAY
DEFAULT_ISSUANCE_RETENTION = 30 * DAY
SPENT_SLACK = 3600
"""How long what says that a proof or an assertion was used outlives it: a purge by a clock that is ahead frees none."""


class Target(StrEnum):
    """What a purge may be asked to delete."""

    ASSERTION_JTI = "assertion-jti"
    AUDIT_EVENTS = "audit-events"
    CONNECT_PENDING_STATES = "connect-pending-states"
    DPOP_NONCES = "dpop-nonces"
    ISSUANCES = "issuances"
    JTI = "jti"
    MACHINE_TOKENS = "machine-tokens"
    REFRESH_TOKENS = "refresh-tokens"
    REFUSAL_TRACES = "refusal-traces"
    SESSIONS = "sessions"
    UNUSED_CLIENTS = "unused-clients"


NAMED_ONLY = frozenset({Target.AUDIT_EVENTS, Target.ISSUANCES, Target.UNUSED_CLIENTS})
"""Targets that run only when somebody names them."""

DEFAULT_TARGETS = tuple(sorted(set(Target) - NAMED_ONLY))

# Each statement takes where to begin, where to end and how many rows at most, and returns how far it came.

_ASSERTION_JTIS = (
    "DELETE FROM assertion_jtis WHERE (issuer, jti) IN (SELECT issuer, jti FROM assertion_jtis"
    " WHERE expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
_CONNECT_PENDING_STATES = (
    "DELETE FROM connect_pending_states WHERE id IN (SELECT id FROM connect_pending_states"
    " WHERE expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
_DPOP_JTIS = (
    "DELETE FROM dpop_jtis WHERE (jkt, jti) IN (SELECT jkt, jti FROM dpop_jtis"
    " WHERE expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
_USER_TOKENS = (
    "DELETE FROM issuance_rows WHERE id IN (SELECT id FROM issuance_rows"
    " WHERE resource_number IS NULL AND kind = 'user' AND expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
_MACHINE_TOKENS = (
    "DELETE FROM issuance_rows WHERE id IN (SELECT id FROM issuance_rows WHERE resource_number IS NULL"
    " AND kind IN ('machine', 'exchange') AND expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3)"
    " RETURNING expires_at AS reached"
)
_REFRESH_TOKENS = (
    "DELETE FROM refresh_tokens WHERE token_hash IN (SELECT token_hash FROM refresh_tokens"
    " WHERE expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
# The answer to a retry is sealed in the row of its family; nothing but the id leads to those rows in order. So all are looked
# at, slice by slice, and a request that writes waits for a slice at most.
_RETRY_SLICE = f"SELECT id AS last FROM authorizations WHERE id > $1 ORDER BY id LIMIT 1 OFFSET {SLICE_ROWS - 1}"
_RETRY_ANSWERS = (
    "UPDATE authorizations SET retry_token_hash = NULL, retry_request = NULL, retry_response = NULL"
    " WHERE id IN (SELECT id FROM authorizations WHERE id > $1 AND id <= $4 AND retry_response IS NOT NULL"
    " AND rotated_at < $2 ORDER BY id LIMIT $3) RETURNING id AS reached"
)
# A request that became no family goes; a family stays for ever, and only the code that it came from is forgotten.
_REQUESTS = (
    "DELETE FROM authorizations WHERE consumed_at IS NULL AND id IN (SELECT id FROM authorizations"
    " WHERE consumed_at IS NULL AND expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3)"
    " RETURNING expires_at AS reached"
)
_DEVICE_REQUESTS = (
    "DELETE FROM device_requests WHERE id IN (SELECT id FROM device_requests"
    " WHERE expires_at >= $1 AND expires_at < $2 ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
_CODES = (
    "UPDATE authorizations SET code_hash = NULL, expires_at = NULL, state = '' WHERE id IN"
    " (SELECT id FROM authorizations WHERE consumed_at IS NOT NULL AND expires_at >= $1 AND expires_at < $2"
    " ORDER BY expires_at LIMIT $3) RETURNING expires_at AS reached"
)
# A token expires after it was issued, so what is old enough to go has an old id. What something was exchanged from stays
# as long as that: revoking a consent finds what came of its tokens by going from one to the next.
_ISSUANCES = (
    "DELETE FROM issuance_rows WHERE id IN (SELECT id FROM issuance_rows i WHERE id > $1 AND id < $4"
    " AND ((revoked_at IS NULL AND expires_at < $2) OR revoked_at < $2)"
    " AND NOT EXISTS (SELECT 1 FROM issuance_rows c WHERE c.parent_jti = i.id) ORDER BY id LIMIT $3) RETURNING id AS reached"
)
_CLIENT_SLICE = (
    f"SELECT issued_at AS last FROM clients WHERE issued_at > $1 ORDER BY issued_at LIMIT 1 OFFSET {SLICE_ROWS - 1}"
)
# The sources are no index's matter: those in the order of time lead.
_UNUSED_CLIENTS = (
    "DELETE FROM clients WHERE id IN (SELECT id FROM clients c WHERE registration_source || '' IN ('dcr', 'cimd')"
    " AND issued_at >= $1 AND issued_at < $2 AND issued_at <= $4"
    " AND NOT EXISTS (SELECT 1 FROM authorizations a WHERE a.client_id = c.id"
    " AND (a.consumed_at IS NOT NULL OR a.expires_at >= $2))"
    " AND NOT EXISTS (SELECT 1 FROM device_requests d WHERE d.client_id = c.id AND d.expires_at >= $2)"
    " AND NOT EXISTS (SELECT 1 FROM consent_grants g WHERE g.client_id = c.id)"
    " AND NOT EXISTS (SELECT 1 FROM issuance_rows i WHERE i.client_number = (SELECT number FROM names WHERE name = c.id))"
    " ORDER BY issued_at LIMIT $3) RETURNING issued_at AS reached"
)


def parse_targets(only: str) -> tuple[Target, ...]:
    """Return the targets that ``--only`` names, in the order they run; an empty text means all but the named-only ones.

    Raises:
        Invalid: A name is unknown, or there are separators and no name.
    """
    if not only:
        return DEFAULT_TARGETS
    names = {name for part in only.split(",") if (name := part.strip())}
    if not names:
        raise Invalid("--only requires at least one target")
    unknown = sorted(names - set(Target))
    if unknown:
        raise Invalid(f"unknown purge target {unknown[0]!r}; valid targets: {', '.join(sorted(Target))}")
    return tuple(sorted(Target(name) for name in names))


def check_retention(targets: tuple[Target, ...], retention: int | None) -> None:
    """Check that what deletes history was told how much of it to keep.

    Raises:
        Invalid: Audit events are to go and nobody said which.
    """
    if Target.AUDIT_EVENTS in targets and retention is None:
        raise Invalid("target audit-events needs --retention")


async def purge(
    db: Database,
    target: Target,
    *,
    now: int,
    refresh_grace: int = 0,
    trace_age: int = DAY,
    retention: int | None = None,
    signer: Signer | None = None,
    destinations: frozenset[str] = frozenset(),
) -> int:
    """Delete what a target stands for; return the number of rows it deleted or emptied.

    Each batch is committed before the next begins, so that an interrupted purge keeps what it did.

    Args:
        db: Where to delete.
        target: What to delete.
        now: What expires earlier goes.
        refresh_grace: Seconds for which the answer of a rotation is kept for a retry.
        trace_age: Seconds for which traces of refusals are kept.
        retention: Seconds of history to keep, for issuances (30 days unless given) and audit events (must be given).
        signer: Signs what audit events leave behind; needed for them alone.
        destinations: Who gets audit events; what one of them does not have yet stays.

    Raises:
        Invalid: Audit events are to go without a retention, or nobody signs.
        StorageUnavailable: The database does not answer.
    """
    check_retention((target,), retention)
    match target:
        case Target.REFRESH_TOKENS:
            erased = await _walk(db, _RETRY_SLICE, _RETRY_ANSWERS, begin=b"", last=LAST_ID, end=now - refresh_grace)
            return erased + await _sweep(db, _REFRESH_TOKENS, end=now)
        case Target.REFUSAL_TRACES:
            return await trim_expired(db, before=now - trace_age)
        case Target.SESSIONS:
            # The requests first: then the index that finds the codes holds nothing else.
            deleted = await _sweep(db, _REQUESTS, end=now) + await _sweep(db, _DEVICE_REQUESTS, end=now)
            return deleted + await _sweep(db, _CODES, end=now)
        case Target.ISSUANCES:
            end = now - (DEFAULT_ISSUANCE_RETENTION if retention is None else retention)
            return await _purge_issuances(db, end=end)
        case Target.AUDIT_EVENTS:
            if signer is None:
                raise Invalid("audit events leave a signed tombstone, for which there is no key")
            most = await lowest_delivered(db, destinations)
            return await purge_sealed(db, signer, Purge(before=now - (retention or 0), most=most, now=now))
        case Target.UNUSED_CLIENTS:
            end = now - UNUSED_CLIENT_AGE
            return await _walk(db, _CLIENT_SLICE, _UNUSED_CLIENTS, begin=-1, last=end, end=end, topic="clients")
        case Target.ASSERTION_JTI | Target.DPOP_NONCES:
            return await _sweep(db, _EXPIRED[target], end=now - SPENT_SLACK)
        case _:
            return await _sweep(db, _EXPIRED[target], end=now)


_EXPIRED = {
    Target.ASSERTION_JTI: _ASSERTION_JTIS,
    Target.CONNECT_PENDING_STATES: _CONNECT_PENDING_STATES,
    Target.DPOP_NONCES: _DPOP_JTIS,
    Target.JTI: _USER_TOKENS,
    Target.MACHINE_TOKENS: _MACHINE_TOKENS,
}


async def _purge_issuances(db: Database, *, end: int) -> int:
    """Delete old tokens, those first that nothing was exchanged from; return their number."""
    deleted = 0
    while swept := await _sweep(db, _ISSUANCES, begin=b"", end=end, limit=first_id(end * 1000)):
        deleted += swept
    return deleted


async def _walk(db: Database, slice_: str, sql: str, *, begin: P, last: P, end: int, topic: str | None = None) -> int:
    """Run a statement slice by slice: it looks at every row of a table, most of which stay.

    Args:
        db: Where.
        slice_: Finds where the slice ends that begins at ``begin``.
        sql: As for ``_sweep``.
        begin: Where to begin.
        last: Where the last slice ends.
        end: What expires earlier goes.
        topic: What to announce.
    """
    touched = 0
    while True:
        row = await db.fetch_one(slice_, begin)
        reached: P = last if row is None else row["last"]
        touched += await _sweep(db, sql, begin=begin, end=end, limit=reached, topic=topic)
        if row is None or reached >= last:
            return touched
        begin = reached


async def _sweep(
    db: Database,
    sql: str,
    *,
    begin: int | bytes = 0,
    end: int,
    limit: int | bytes | None = None,
    topic: str | None = None,
) -> int:
    """Run a statement batch by batch, each from where the one before came to, until one is not full."""
    touched = 0
    while True:
        rows = await db.write(_batch(sql, begin, end, limit, topic))
        touched += len(rows)
        if len(rows) < BATCH_ROWS:
            return touched
        begin = max((reached for reached in rows if reached is not None), default=begin)


def _batch(
    sql: str, begin: Value, end: int, limit: Value, topic: str | None
) -> Callable[[Writer], Awaitable[list[int | bytes | None]]]:
    arguments: tuple[Value, ...] = (begin, end, BATCH_ROWS) if limit is None else (begin, end, BATCH_ROWS, limit)

    async def run(tx: Writer) -> list[int | bytes | None]:
        rows = await tx.fetch_all(sql, *arguments)
        if rows and topic:
            await announce(tx, topic)
        return [row["reached"] for row in rows]

    return run
