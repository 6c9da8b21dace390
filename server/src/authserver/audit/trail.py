"""Writes the audit trail: in the transaction of what happened, or by itself and as well as it can."""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.store import append_event
from authserver.protocol.identifiers import new_id, spell_id
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AUDIT_EVENTS_DROPPED

_log = get_logger("audit")

_ID_BYTES = 16
_MOST_WAITING = 4096
_GATHERED_SECONDS = 0.02
_GATHERED_EVENTS = 256
_MOST_NAMED_CHARACTERS = 1000
_DIGEST_CHARACTERS = 16
# Begins where such characters begin: tried at each of them, a long run would cost its length squared.
_ADDRESS = re.compile(r"(?<![^\s:/,@])[^\s:/,@]+@[^\s:/,@.]+\.[^\s:/,@]+")
# Not a union, whose type would be made at each look.
_SETS = (frozenset, set)
_BARE = re.compile(r"[A-Za-z0-9._:/,+@\[\]{}>~-]+")

for _action in Action:
    # From the start: `rate` misses the first increment of a series that did not exist before.
    AUDIT_EVENTS_DROPPED.child(_action.value)

DetailValue = str | int | bool | bytes | Iterable[str] | None


class AuditTrail:
    """The one way into the audit trail."""

    def __init__(self, db: Database, clock_ms: Callable[[], int]) -> None:
        """Take the database and a clock.

        Args:
            db: Where rows go that have no transaction of another.
            clock_ms: Milliseconds since the epoch; rows of one second keep their order by it.
        """
        self._db = db
        self._clock_ms = clock_ms
        self._waiting: list[tuple[AuditEvent, int]] = []
        self._writing: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()

    def append(self, tx: Writer, event: AuditEvent, *, now: int) -> Coroutine[Any, Any, None]:
        """Record an event with what it tells of: both are committed, or neither. To be awaited."""
        return append_event(tx, new_id(self._clock_ms()), event, now=now)

    async def record(self, event: AuditEvent, *, now: int) -> None:
        """Record an event by itself. Never fails: what cannot be stored goes whole into the log and is counted."""
        await self._write([(event, now)])

    async def record_soon(self, event: AuditEvent, *, now: int) -> None:
        """Record an event of a request that only read, without making its answer wait for a commit.

        One commit takes all that gather within a moment, or while the last one is under way: a commit costs as much as
        many rows. A killed process loses what it had not written, some 20 milliseconds' worth; ``flush`` loses none. When
        the database does not keep up, callers wait.
        """
        if len(self._waiting) >= _MOST_WAITING:
            await self.record(event, now=now)
            return
        self._waiting.append((event, now))
        if len(self._waiting) >= _GATHERED_EVENTS:
            self._enough.set()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_waiting())

    async def flush(self) -> None:
        """Return when all that was recorded so far is written, or counted as dropped."""
        if self._writing is not None:
            self._enough.set()
            await self._writing

    async def _write_waiting(self) -> None:
        while self._waiting:
            timer = asyncio.get_running_loop().call_later(_GATHERED_SECONDS, self._enough.set)
            await self._enough.wait()
            timer.cancel()
            self._enough.clear()
            events, self._waiting = self._waiting, []
            await self._write(events)

    async def _write(self, events: Sequence[tuple[AuditEvent, int]]) -> None:
        async def append_all(tx: Writer) -> None:
            for event, now in events:
                await self.append(tx, event, now=now)

        try:
            await self._db.write(append_all)
        except Exception as exc:  # noqa: BLE001  the operation has succeeded already; only its trace is at stake
            for event, now in events:
                AUDIT_EVENTS_DROPPED.inc(str(event.action))
                _log.error("audit event dropped", **asdict(event), created_at=now, error=repr(exc))


def detail(*words: str, **fields: DetailValue) -> str:
    """Return the detail of an event: words first, then ``key=value`` in the order given.

    A field of None is left out. Values with blanks, and all that are not plain words, are quoted, so that input can
    neither end a value nor start another field.
    """
    parts = [*words]
    for key, value in fields.items():
        if value is not None:
            parts.append(f"{key}={_spell(value)}")
    return " ".join(parts)


def bounded(names: Iterable[str]) -> list[str]:
    """Return names that a request may choose freely, as far as a row has room for them: a mark stands for the others."""
    names = list(names)
    ends = accumulate(len(name) + 1 for name in names)
    kept = [name for name, end in zip(names, ends, strict=True) if end <= _MOST_NAMED_CHARACTERS]
    return kept if len(kept) == len(names) else [*kept, "..."]


def subject_name(subject: str) -> str:
    """Return who a token is about as a row or log line may name them: identifiers as they are, and no e-mail address.

    An identity provider may call its users by their addresses. What stands for one is the same each time, so that all
    rows about somebody are still found together.
    """
    return _ADDRESS.sub(_digest, subject) if "@" in subject else subject


def _digest(address: re.Match[str]) -> str:
    return f"sha256-{hashlib.sha256(address[0].encode()).hexdigest()[:_DIGEST_CHARACTERS]}"


def _spell(value: DetailValue) -> str:
    # The most frequent first.
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes):
        return spell_id(value) if len(value) == _ID_BYTES else value.hex()[:8]
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, int):
        return str(value)
    elif isinstance(value, _SETS):
        text = " ".join(sorted(value))
    else:
        text = " ".join(value or ())
    return text if _BARE.fullmatch(text) else json.dumps(text)
