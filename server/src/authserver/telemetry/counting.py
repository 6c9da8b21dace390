"""How instruments count: as those of the library that they extend, in a third of the steps.

Every request counts and measures several things. The library checks each time whether the instrument is one that may count,
locks each number by itself, and tries one bucket after the other.
"""

from bisect import bisect_left
from threading import Lock
from typing import Protocol

import prometheus_client
from prometheus_client.samples import Exemplar

counting = Lock()
"""Held while numbers change: storage measures in a thread of its own, and what exports spans counts in one.

Taken and given back by hand, which costs a third of what ``with`` does.
"""


class Number(Protocol):
    """A number that an instrument shows."""

    def add(self, amount: float) -> None:
        """Add to it; to be called with ``counting`` held."""
        ...


class OwnNumber:
    """A number in the memory of this process."""

    __slots__ = ("_value",)

    def __init__(self, *_what: object, **_else: object) -> None:
        """Begin at 0, whatever it is about."""
        self._value = 0.0

    def add(self, amount: float) -> None:
        """Add to it; see ``Number.add``."""
        self._value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002  asked by the library
        """Forget what it was."""
        self._value = value

    def get(self) -> float:
        """Return it."""
        return self._value

    def get_exemplar(self) -> Exemplar | None:
        """Return None: there are none."""
        return None


class Counter(prometheus_client.Counter):
    """Counts events."""

    _value: Number

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002  as above
        """Count so many; of an instrument with labels, a child does."""
        counting.acquire()
        try:
            self._value.add(amount)
        finally:
            counting.release()


class Histogram(prometheus_client.Histogram):
    """Measures durations."""

    _sum: Number
    _buckets: list[Number]

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002  as above
        """Measure one; of an instrument with labels, a child does."""
        bucket = self._buckets[bisect_left(self._upper_bounds, amount)]
        counting.acquire()
        try:
            self._sum.add(amount)
            bucket.add(1)
        finally:
            counting.release()
