"""What is hashed of a row, and how a checkpoint lists its rows.

A row is hashed as the trail reads it, whatever columns the database keeps it in: the JSON array of its nine members,
without blanks, in UTF-8, behind a line that says what it is.
"""

import hashlib
from collections.abc import Iterator, Sequence

import orjson

from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import spell_id

LEAF_BYTES = 32
_ID_BYTES = 16
_PREFIX = b"authplane audit row v1\n"


def hash_row(record: AuditRecord) -> bytes:
    """Return SHA-256 of a row, of all its members."""
    return hash_members(
        record.id,
        record.created_at,
        record.action,
        record.actor_id,
        record.client_id,
        record.ip,
        record.detail,
        record.trace_id,
        record.reference,
    )


def hash_members(record_id: bytes, *others: object) -> bytes:
    """Return SHA-256 of a row that is no record, of its members in the order above."""
    return hashlib.sha256(_PREFIX + orjson.dumps((spell_id(record_id), *others))).digest()


def leaf(record_id: bytes, row_hash: bytes) -> bytes:
    """Return the entry of a row in the list of its checkpoint."""
    return record_id + row_hash[: LEAF_BYTES - _ID_BYTES]


def list_rows(rows: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, str]:
    """Return the list of rows that a checkpoint keeps, and the hash over them.

    Args:
        rows: The id of each and its hash, in the order of the ids.
    """
    entries = b"".join([leaf(record_id, row_hash) for record_id, row_hash in rows])
    return entries, hashlib.sha256(b"".join([row_hash for _, row_hash in rows])).hexdigest()


def read_leaves(leaves: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield id and half a hash of each entry of a list."""
    for start in range(0, len(leaves), LEAF_BYTES):
        yield leaves[start : start + _ID_BYTES], leaves[start + _ID_BYTES : start + LEAF_BYTES]


def leaf_ids(leaves: bytes) -> list[bytes]:
    """Return the ids of a list."""
    return [record_id for record_id, _ in read_leaves(leaves)]
