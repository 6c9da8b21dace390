"""What is hashed of a row, and how a checkpoint lists its rows.

A row is hashed as the trail reads it, whatever columns the database keeps it in: the JSON array of its nine members,
without blanks, in UTF-8, behind a line that says what it is.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import orjson

from authserver.audit.records import AuditRecord
from authserver.protocol.identifiers import spell_id

LEAF_BYTES = 32
_ID_BYTES = 16
_PREFIX = b"authplane audit row v1\n"


def hash_row(record: AuditRecord) -> bytes:
    """Return SHA-256 of a row, of all its members."""
    text = orjson.dumps(
        (
            spell_id(record.id),
            record.created_at,
            record.action,
            record.actor_id,
            record.client_id,
            record.ip,
            record.detail,
            record.trace_id,
            record.reference,
        )
    )
    return hashlib.sha256(_PREFIX + text).digest()


def leaf(record_id: bytes, row_hash: bytes) -> bytes:
    """Return the entry of a row in the list of its checkpoint."""
    return record_id + row_hash[: LEAF_BYTES - _ID_BYTES]


def list_rows(records: Sequence[AuditRecord]) -> tuple[bytes, str]:
    """Return the list of rows that a checkpoint keeps, and the hash over them; they are in the order of their ids."""
    everything = hashlib.sha256()
    entries = []
    for record in records:
        row_hash = hash_row(record)
        everything.update(row_hash)
        entries.append(leaf(record.id, row_hash))
    return b"".join(entries), everything.hexdigest()


def read_leaves(leaves: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield id and half a hash of each entry of a list."""
    for start in range(0, len(leaves), LEAF_BYTES):
        yield leaves[start : start + _ID_BYTES], leaves[start + _ID_BYTES : start + LEAF_BYTES]


def leaf_ids(leaves: bytes) -> list[bytes]:
    """Return the ids of a list."""
    return [record_id for record_id, _ in read_leaves(leaves)]


def sort_rows(*parts: Iterable[AuditRecord]) -> list[AuditRecord]:
    """Return rows in the order of their ids."""
    return sorted((record for part in parts for record in part), key=lambda record: record.id)
