"""The lockout: who guesses the password of an account too often waits, from where they guessed (public API, 21.2).

Counts in one process, on a clock that nobody can set (several: ``shared_lockout``). Tracks a bounded number of identities;
what is locked is never forgotten to make room.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NewType

from authserver.config.sections.listeners import RateLimitConfig
from authserver.users.store import fold_email
from authserver.web.limits import address_key

Identity = NewType("Identity", bytes)
"""An address somebody tries to sign in as, with where they try from; hashed, so that neither is kept in memory."""


class Lockout:
    """Counts rejected credentials. A guess that is being checked counts as one, so guessing in parallel gains nothing."""

    def __init__(self, config: RateLimitConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_failures = config.auth_fail_max
        self._window = config.auth_fail_window
        self._lockout = config.auth_lockout
        self._most_identities = config.max_tracked_identities
        self._clock = clock
        # Both are in the order of time, so what is over stands in front.
        self._failures: dict[Identity, tuple[float, ...]] = {}
        self._locked_until: dict[Identity, float] = {}
        self._being_checked: dict[Identity, int] = {}

    @property
    def lockout(self) -> int:
        """How long a lockout lasts, in seconds."""
        return self._lockout

    def seconds_to_wait(self, identity: Identity) -> int:
        """Return the seconds for which no password is looked at, at least 1; 0 when one may be tried now."""
        if self._most_failures <= 0:
            return 0
        now = self._clock()
        self._forget(now)
        until = self._locked_until.get(identity)
        if until is None and self._is_full_of_locked() and identity not in self._failures:
            # No room to count a newcomer's failures, so no guesses either.
            until = next(iter(self._locked_until.values()))
        if until is not None:
            return max(1, math.ceil(until - now))
        recent = self._recent(identity, now)
        return int(len(recent) + self._being_checked.get(identity, 0) >= self._most_failures)

    @contextmanager
    def checking(self, identity: Identity) -> Iterator[int]:
        """Yield ``seconds_to_wait``. When it is 0, the guess within counts as a failure while its outcome is open."""
        wait = self.seconds_to_wait(identity)
        if wait:
            yield wait
            return
        self._being_checked[identity] = self._being_checked.get(identity, 0) + 1
        try:
            yield 0
        finally:
            self._being_checked[identity] -= 1
            if not self._being_checked[identity]:
                del self._being_checked[identity]

    def record_failure(self, identity: Identity) -> bool:
        """Count rejected credentials; True when the identity is locked from now on."""
        now = self._clock()
        self._forget(now)
        if self._most_failures <= 0 or identity in self._locked_until:
            return False
        failures = (*self._recent(identity, now), now)
        self._failures.pop(identity, None)
        self._make_room()
        if len(failures) < self._most_failures:
            self._failures[identity] = failures
            return False
        self._locked_until[identity] = now + self._lockout
        return True

    def clear(self, identity: Identity) -> None:
        """Forget the failures of somebody who has signed in."""
        self._failures.pop(identity, None)

    def _recent(self, identity: Identity, now: float) -> tuple[float, ...]:
        return tuple(moment for moment in self._failures.get(identity, ()) if moment > now - self._window)

    def _forget(self, now: float) -> None:
        """Drop what is over; each entry is dropped once, so the cost per call is a constant on average."""
        while self._locked_until:
            identity, until = next(iter(self._locked_until.items()))
            if until > now:
                break
            del self._locked_until[identity]
        while self._failures:
            identity, moments = next(iter(self._failures.items()))
            if moments[-1] > now - self._window:
                break
            del self._failures[identity]

    def _make_room(self) -> None:
        if self._failures and len(self._failures) + len(self._locked_until) >= self._most_identities:
            del self._failures[next(iter(self._failures))]

    def _is_full_of_locked(self) -> bool:
        return len(self._locked_until) >= self._most_identities


def identity_of(email: str, client_address: str) -> Identity:
    """Return whose failures are counted together.

    Args:
        email: As submitted; case and blanks around it do not count.
        client_address: Of IPv6 the network counts, as one person holds all its addresses.
    """
    text = f"{fold_email(email.strip())}\n{address_key(client_address)}"
    return Identity(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())
