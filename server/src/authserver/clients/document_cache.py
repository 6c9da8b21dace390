"""For how long a metadata document is believed, and a cache that forgets in time (public API, 12.4)."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

_MOST_DIGITS = 10
LEAST_LIFETIME = 60

T = TypeVar("T")


class ExpiringCache(Generic[T]):
    """Values that are forgotten at a second of their own, and sooner when there are too many.

    Args:
        max_entries: Beyond it the expired go first, then what is closest to it.
    """

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: dict[str, tuple[int, T]] = {}

    def find(self, key: str, *, now: int) -> T | None:
        """Look a value up that has not expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > now else None

    def find_stale(self, key: str) -> T | None:
        """Look a value up, also one that has expired and was not put out for want of room."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None else None

    def drop(self, key: str) -> None:
        """Forget a value."""
        self._entries.pop(key, None)

    def put(self, key: str, value: T, *, expires_at: int, now: int) -> None:
        """Keep a value until a second; one that has passed removes what was kept."""
        self._entries.pop(key, None)
        if expires_at <= now:
            return
        if len(self._entries) >= self._max_entries:
            self._evict(now)
        self._entries[key] = (expires_at, value)

    def __len__(self) -> int:
        return len(self._entries)

    def _evict(self, now: int) -> None:
        for key in [key for key, (expires_at, _) in self._entries.items() if expires_at <= now]:
            del self._entries[key]
        if len(self._entries) >= self._max_entries:
            del self._entries[min(self._entries, key=lambda key: self._entries[key][0])]


def find_lifetime(headers: Mapping[str, str], *, most: int, now: int) -> int:
    """Return for how many seconds an answer may be kept; 0 when it may not.

    Args:
        headers: Of the answer, by lower-case name.
        most: ``cimd.cache_ttl``; goes before everything the answer says.
        now: When it was fetched.
    """
    directives = [part.strip().lower().partition("=") for part in headers.get("cache-control", "").split(",")]
    names = {name for name, _, _ in directives}
    if not names.isdisjoint({"no-store", "no-cache"}):
        return 0
    stated = _find_stated(headers, [value.strip('"') for name, _, value in directives if name == "max-age"], now=now)
    if stated is None:
        stated = most
    return max(min(max(stated, LEAST_LIFETIME), most), 0) if stated > 0 else 0


def _find_stated(headers: Mapping[str, str], max_ages: list[str], *, now: int) -> int | None:
    if max_ages:
        # What cannot be read counts as stale (RFC 9111 §4.2.1).
        return min(_seconds(age) for age in max_ages)
    if "expires" not in headers:
        return None
    try:
        return int(parsedate_to_datetime(headers["expires"]).timestamp()) - now
    except (ValueError, OverflowError):
        return 0


def _seconds(age: str) -> int:
    """Return a number of seconds; one with more digits than a lifetime has is as long as can be."""
    if not (age.isascii() and age.isdecimal()):
        return 0
    return int(age[:_MOST_DIGITS]) if len(age) <= _MOST_DIGITS else 10**_MOST_DIGITS
