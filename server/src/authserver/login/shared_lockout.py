"""The lockout of several workers: one account guessed at through any of them is locked in all (public API, 21.2)."""

import math
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from authserver.config.sections.listeners import RateLimitConfig
from authserver.login.lockout import Identity
from authserver.web.shared_rows import SharedRows

_WAYS = 16
_FREE = 0


@dataclass(slots=True)
class _Entry:
    """What is known of one identity.

    Attributes:
        name: Its name in the table, or ``_FREE``.
        locked_until: 0 when it is not.
        times: Of its failures within the window; of guesses whose outcome is open, negative.
    """

    name: int
    locked_until: float
    times: list[float]


class SharedLockout:
    """As ``Lockout``, for all processes that were forked after it was made.

    A row holds sixteen identities. When it has no room, the one that failed longest ago and is not locked is forgotten; when
    all are locked, a newcomer waits. A guess that dies with its process counts as a failure until the window has passed.
    """

    def __init__(self, config: RateLimitConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_failures = config.auth_fail_max
        self._window = config.auth_fail_window
        self._lockout = config.auth_lockout
        self._clock = clock
        self._entry = struct.Struct(f"Qd{max(1, self._most_failures)}d")
        rows = math.ceil(config.max_tracked_identities / _WAYS) if self._most_failures > 0 else 1
        self._rows = SharedRows(rows=rows, row_bytes=_WAYS * self._entry.size)
        # This process's guesses: those whose outcome is open, and those that were rejected and have not ended yet.
        self._open: Counter[Identity] = Counter()
        self._rejected: Counter[Identity] = Counter()

    @property
    def lockout(self) -> int:
        """How long a lockout lasts, in seconds."""
        return self._lockout

    def seconds_to_wait(self, identity: Identity) -> int:
        """Return the seconds for which no password is looked at, at least 1; 0 when one may be tried now."""
        if self._most_failures <= 0:
            return 0
        with self._row(identity) as (name, entries):
            return self._wait(name, entries, self._clock())

    @contextmanager
    def checking(self, identity: Identity) -> Iterator[int]:
        """Yield ``seconds_to_wait``. When it is 0, the guess within counts as a failure while its outcome is open."""
        wait = self._begin(identity)
        if wait or self._most_failures <= 0:
            yield wait
            return
        try:
            yield 0
        finally:
            self._end(identity)

    def record_failure(self, identity: Identity) -> bool:
        """Count rejected credentials; True when the identity is locked from now on."""
        if self._most_failures <= 0:
            return False
        now, is_open = self._clock(), _take_one(self._open, identity)
        if is_open:
            self._rejected[identity] += 1
        with self._row(identity) as (name, entries):
            entry = self._claim(name, entries, now)
            if entry is None or entry.locked_until > now:
                return False
            if is_open:
                _drop_open(entry)
            entry.times.append(now)
            if sum(moment > 0 for moment in entry.times) < self._most_failures:
                return False
            entry.locked_until, entry.times = now + self._lockout, []
            return True

    def clear(self, identity: Identity) -> None:
        """Forget the failures of somebody who has signed in; other guesses whose outcome is open stay."""
        if self._most_failures <= 0:
            return
        with self._row(identity) as (name, entries):
            for entry in entries:
                if entry.name == name:
                    entry.times = [moment for moment in entry.times if moment < 0]

    def _begin(self, identity: Identity) -> int:
        if self._most_failures <= 0:
            return 0
        now = self._clock()
        with self._row(identity) as (name, entries):
            wait = self._wait(name, entries, now)
            entry = None if wait else self._claim(name, entries, now)
            if entry is not None:
                entry.times.append(-now)
        if not wait:
            self._open[identity] += 1
        return wait

    def _end(self, identity: Identity) -> None:
        if _take_one(self._rejected, identity):
            # The failure has taken the place of the open guess.
            return
        _take_one(self._open, identity)
        with self._row(identity) as (name, entries):
            for entry in entries:
                if entry.name == name:
                    _drop_open(entry)

    @contextmanager
    def _row(self, identity: Identity) -> Iterator[tuple[int, list[_Entry]]]:
        """Yield an identity's name and the entries of its row, which are written back."""
        row, name = self._rows.place(identity)
        begin, end = self._rows.offset(row), self._rows.offset(row + 1)
        memory, now = self._rows.memory, self._clock()
        with self._rows.locked(row):
            before = memory[begin:end]
            entries = [
                _Entry(name=found, locked_until=until, times=[moment for moment in times if self._counts(moment, now)])
                for found, until, *times in self._entry.iter_unpack(before)
            ]
            yield name, entries
            after = b"".join(self._packed(entry) for entry in entries)
            if after != before:
                memory[begin:end] = after

    def _packed(self, entry: _Entry) -> bytes:
        most = max(1, self._most_failures)
        times = entry.times[-most:]
        return self._entry.pack(entry.name, entry.locked_until, *times, *(0.0 for _ in range(most - len(times))))

    def _counts(self, moment: float, now: float) -> bool:
        return abs(moment) > now - self._window and moment != 0

    def _wait(self, name: int, entries: list[_Entry], now: float) -> int:
        entry = next((entry for entry in entries if entry.name == name), None)
        if entry is not None and entry.locked_until > now:
            return max(1, math.ceil(entry.locked_until - now))
        if entry is None and all(each.locked_until > now for each in entries):
            # No room to count a newcomer's failures, so no guesses either.
            return max(1, math.ceil(min(each.locked_until for each in entries) - now))
        return int(entry is not None and len(entry.times) >= self._most_failures)

    def _claim(self, name: int, entries: list[_Entry], now: float) -> _Entry | None:
        """Return the entry of an identity, that of another who is forgotten for it, or None when all are locked."""
        entry = next((entry for entry in entries if entry.name == name), None)
        if entry is None:
            unlocked = [each for each in entries if each.locked_until <= now]
            if not unlocked:
                return None
            entry = min(unlocked, key=lambda each: max((abs(moment) for moment in each.times), default=0.0))
            entry.name, entry.locked_until, entry.times = name, 0.0, []
        return entry


def _drop_open(entry: _Entry) -> None:
    """Take away one guess whose outcome was open."""
    for position, moment in enumerate(entry.times):
        if moment < 0:
            del entry.times[position]
            return


def _take_one(guesses: Counter[Identity], identity: Identity) -> bool:
    """Take one of an identity's guesses away; False when there is none."""
    if identity not in guesses:
        return False
    guesses[identity] -= 1
    if not guesses[identity]:
        del guesses[identity]
    return True
