"""What seals the trail."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from authserver.protocol.identifiers import parse_id, spell_id
from authserver.protocol.statements import InvalidStatement, open_statement

CHECKPOINT_TYPE = "audit-checkpoint"
TOMBSTONE_TYPE = "audit-tombstone"
NOTHING = bytes(16)
"""The id before every id."""
NO_HASH = "0" * 64
"""What stands for the checkpoint before the first."""

_HASH = re.compile(r"[0-9a-f]{64}")
_STATEMENT: Mapping[str, type[object]] = {
    "number": int,
    "previous": str,
    "through": str,
    "count": int,
    "late": int,
    "total": int,
    "rows": str,
    "leaves": str,
    "sealed_at": int,
    "key": str,
    "succeeds": str,
}
_TOMBSTONE: Mapping[str, type[object]] = {
    "number": int,
    "hash": str,
    "through": str,
    "total": int,
    "purged_at": int,
    "key": str,
}


class MalformedSeal(ValueError):  # noqa: N818  an outcome that callers turn into one of their own
    """What was sealed cannot be read; the text says which part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a checkpoint says, and its signature is over.

    Attributes:
        number: Counts from 1, without gaps.
        previous: The hash of the checkpoint before it; zeros before the first.
        through: Every row up to this id is in this checkpoint or one before it, or came late.
        count: How many rows it lists.
        late: How many of them have an id that the checkpoint before it had passed already.
        total: How many rows all checkpoints up to this one list.
        rows: SHA-256 over the hashes of the rows, in their order; hexadecimal, as the other hashes.
        leaves: SHA-256 of the list of rows.
        sealed_at: Seconds since the epoch.
        key: The thumbprint of the key that signed it.
        succeeds: The thumbprint of the key that signed the checkpoint before it, when that is another one, which the
            installation held at that time, too: it has then signed this one as well. Else empty.
    """

    number: int
    previous: str
    through: bytes
    count: int
    late: int
    total: int
    rows: str
    leaves: str
    sealed_at: int
    key: str
    succeeds: str

    def spell(self) -> bytes:
        """Return it as it is signed."""
        return _spell(self, _STATEMENT)


def parse_statement(payload: bytes) -> Statement:
    """Return what a checkpoint says.

    Raises:
        MalformedSeal: It is no statement of this version.
    """
    return Statement(**_read(payload, _STATEMENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A row of ``audit_checkpoints``.

    Attributes:
        jws: The statement, signed.
        cosignature: The same statement signed with the key that it succeeds.
        leaves: The list of rows: for each its id and the first half of its hash, in the order of the ids.
    """

    number: int
    through: bytes
    count: int
    late: int
    total: int
    jws: str
    cosignature: str | None
    leaves: bytes

    @property
    def hash(self) -> str:
        """What the next checkpoint names."""
        return hash_seal(self.jws)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the chain stands: its newest checkpoint; zeros before the first.

    Attributes:
        jws: The checkpoint, signed; empty before the first.
    """

    number: int = 0
    hash: str = NO_HASH
    through: bytes = NOTHING
    total: int = 0
    jws: str = ""

    @property
    def key(self) -> str:
        """The thumbprint of the key that signed it, or an empty text."""
        try:
            return parse_statement(open_statement(self.jws, typ=CHECKPOINT_TYPE).payload).key
        except (InvalidStatement, MalformedSeal):
            # None, or one that somebody broke: what follows is sealed all the same, and a verification tells.
            return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """What a purge leaves: the checkpoints up to a number are gone, with their rows, and this was the last one's hash.

    Attributes:
        through: That checkpoint's.
        total: That checkpoint's.
        purged_at: Seconds since the epoch.
        key: The thumbprint of the key that signed this.
    """

    number: int
    hash: str
    through: bytes
    total: int
    purged_at: int
    key: str

    def spell(self) -> bytes:
        """Return it as it is signed."""
        return _spell(self, _TOMBSTONE)


def parse_tombstone(payload: bytes) -> Tombstone:
    """Return what a tombstone says.

    Raises:
        MalformedSeal: It is no tombstone of this version.
    """
    return Tombstone(**_read(payload, _TOMBSTONE))


def hash_seal(jws: str) -> str:
    """Return the hash by which a signed checkpoint is named."""
    return hashlib.sha256(jws.encode("utf-8")).hexdigest()


def is_hash(text: str) -> bool:
    """Tell whether a text is spelled like such a hash."""
    return _HASH.fullmatch(text) is not None


def _spell(record: Statement | Tombstone, kinds: Mapping[str, type[object]]) -> bytes:
    members = {name: getattr(record, name) for name in kinds}
    return orjson.dumps({"version": 1, **members, "through": spell_id(record.through)})


def _read(payload: bytes, kinds: Mapping[str, type[object]]) -> dict[str, Any]:
    try:
        members = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise MalformedSeal("what was signed is not JSON") from exc
    if not isinstance(members, dict) or members.pop("version", None) != 1 or set(members) != set(kinds):
        raise MalformedSeal("what was signed is of another version")
    if any(not isinstance(members[name], kind) or members[name] is True for name, kind in kinds.items()):
        raise MalformedSeal("what was signed is malformed")
    through = parse_id(members["through"])
    if through is None:
        raise MalformedSeal("what was signed is malformed")
    return {**members, "through": through}
