"""Token buckets: how often one source may do a thing."""

from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Protocol

_MAX_KEYS = 100_000
_IDLE_SECONDS = 300.0
_REMEMBERED = 4096
_NETWORK_CHARACTERS, _NETWORK_COLONS = len("2001:0db8:0000:0000"), 3
_SITE_CHARACTERS = len("2001:0db8:0000")


class Buckets(Protocol):
    """A bucket per key, each refilled at one rate up to one burst; the number of keys is bounded."""

    def take(self, key: str, now: float) -> float:
        """Take one token; return 0 when there was one, else the seconds until there is.

        Args:
            key: The source, as ``address_key`` gives it, or whoever else is counted.
            now: Monotonic seconds.
        """
        ...


class MakeBuckets(Protocol):
    """Makes buckets of one kind."""

    def __call__(self, *, rate: float, burst: int) -> Buckets:
        """Return new ones.

        Args:
            rate: Tokens a second.
            burst: What a full bucket holds.
        """
        ...


class Unlimited:
    """Buckets that are never empty."""

    def take(self, _key: str, _now: float) -> float:
        """Return 0."""
        return 0.0


class TokenBuckets:
    """The buckets of one process.

    The key used longest ago goes first, which at the bound is a source that has long been quiet.
    """

    def __init__(self, *, rate: float, burst: int, max_keys: int = _MAX_KEYS) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._max_keys = max_keys
        # A bucket that is forgotten before it is full again would give its source more than the rate.
        self._idle_seconds = max(_IDLE_SECONDS, burst / rate)
        # Ordered by the last use: key -> (tokens left, when). A plain dict slows down as its front empties.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Take one token; see ``Buckets.take``."""
        held = self._buckets.pop(key, None)
        if held is None:
            self._make_room(now)
            tokens = self._burst
        else:
            tokens = min(self._burst, held[0] + (now - held[1]) * self._rate)
        granted = tokens >= 1
        self._buckets[key] = (tokens - 1 if granted else tokens, now)
        return 0.0 if granted else (1 - tokens) / self._rate

    def __len__(self) -> int:
        """Return the number of keys held."""
        return len(self._buckets)

    def _make_room(self, now: float) -> None:
        """Drop up to two idle keys, or the oldest at the bound: the work of each call stays the same."""
        for _ in range(2):
            oldest = next(iter(self._buckets), None)
            if oldest is None:
                return
            if len(self._buckets) < self._max_keys and now - self._buckets[oldest][1] < self._idle_seconds:
                return
            del self._buckets[oldest]


@lru_cache(maxsize=_REMEMBERED)
def site_key(address: str) -> str | None:
    """Return what stands for all networks of one IPv6 site, the 48 bits that one is given; None of an IPv4 address."""
    key = address_key(address)
    return key[:_SITE_CHARACTERS] if len(key) == _NETWORK_CHARACTERS and key.count(":") == _NETWORK_COLONS else None


@lru_cache(maxsize=_REMEMBERED)
def address_key(address: str) -> str:
    """Return what stands for a client address in limits: an IPv6 network of 64 bits is one source."""
    if ":" not in address:
        return address
    try:
        # A link-local peer names its interface after a percent sign.
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return parsed.exploded[:_NETWORK_CHARACTERS]
    return address
