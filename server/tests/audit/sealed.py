"""A trail that is written and sealed, and somebody who tampers with its database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from authserver.audit.chain.parts import read_parts
from authserver.audit.chain.report import Report
from authserver.audit.chain.sealing import Sealer
from authserver.audit.chain.verification import Pinned, verify
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.store import append_event, scan_events
from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keyring import Keyring, open_keyring
from authserver.keys.keystore import Change
from authserver.keys.statements import KeyringSigner
from authserver.protocol.identifiers import first_id, new_id
from authserver.storage.database import Database, Value, Writer

NOW = 1_790_000_000


class Clock:
    """The time of a test, in milliseconds."""

    def __init__(self) -> None:
        self.ms = NOW * 1000

    def __call__(self) -> int:
        return self.ms

    def pass_seconds(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


async def keyring_in(directory: Path, *, retention: int = 3600) -> Keyring:
    """Return the keys of a directory, the first one made."""
    return await open_keyring(KeyfileStore(directory, algorithm="ES256", retention=retention), now=NOW)


async def unrecorded(kid: str, change: Change | None = None) -> None:
    """The row of a rotation would be one more in the trail."""


async def tamper(db: Database, sql: str, *values: Value) -> None:
    """Do what somebody can do who may write to the database."""
    assert await db.write(lambda tx: tx.execute(sql, *values)) > 0


async def change_row(db: Database, record_id: bytes, column: str, value: Value) -> None:
    """Change a column of a row. A text that rows have a number of is another number."""
    if column.endswith("number"):
        value = await db.write(lambda tx: tx.number_of(str(value)))
    await tamper(db, f"UPDATE audit_rows SET {column} = $2 WHERE id = $1", record_id, value)


async def remove_row(db: Database, record_id: bytes) -> None:
    """Remove a row."""
    await tamper(db, "DELETE FROM audit_rows WHERE id = $1", record_id)


class Trail:
    """An audit trail, what seals it, and its keys."""

    def __init__(self, db: Database, keyring: Keyring, clock: Clock) -> None:
        self.db = db
        self.keyring = keyring
        self.clock = clock
        self.sealer = Sealer(db, KeyringSigner(keyring), clock)

    @property
    def jwks(self) -> list[dict[str, str]]:
        return [dict(key.jwk) for key in self.keyring.snapshot(self.clock() // 1000).public_keys.values()]

    async def write(self, count: int, *, each_ms: int = 10, actor: str = "u1") -> list[bytes]:
        """Write rows; return their ids."""
        ids = []
        for _ in range(count):
            self.clock.ms += each_ms
            ids.append(new_id(self.clock.ms))

        async def append(tx: Writer) -> None:
            for number, record_id in enumerate(ids):
                event = AuditEvent(
                    Action.USER_LOGIN, actor_id=actor, client_id="c1", ip="192.0.2.7", detail=f"n={number}"
                )
                await append_event(tx, record_id, event, now=self.clock.ms // 1000)

        await self.db.write(append)
        return ids

    async def seal(self) -> int:
        """Let time pass until all is settled, and seal it."""
        self.clock.pass_seconds(2)
        return await self.sealer.seal()

    async def grow(self, *counts: int) -> list[bytes]:
        """Write and seal, one checkpoint after the other; return the ids."""
        ids = []
        for count in counts:
            ids += await self.write(count)
            assert await self.seal() == count
        return ids

    async def verify(self, *, trusted: Sequence[object] | None = None, pinned: Pinned | None = None) -> Report:
        return await verify(read_parts(self.db), trusted=self.jwks if trusted is None else trusted, pinned=pinned)

    async def tamper(self, sql: str, *values: Value) -> None:
        await tamper(self.db, sql, *values)

    async def insert(self, record_id: bytes) -> None:
        event = AuditEvent(Action.USER_CREATED, actor_id="nobody")
        await self.db.write(lambda tx: append_event(tx, record_id, event, now=NOW))

    async def count(self, table: str) -> Any:
        row = await self.db.fetch_one(f"SELECT count(*) AS n FROM {table}")
        assert row is not None
        return row["n"]

    async def rows(self) -> list[bytes]:
        rows = await scan_events(self.db, after=bytes(16), through=b"\xff" * 16, limit=100_000)
        return [row.id for row in rows]

    def id_before(self, seconds: float) -> bytes:
        """Return an id of some time ago."""
        return first_id(self.clock.ms - int(seconds * 1000))[:6] + new_id(0)[6:]
