"""Token buckets that the workers of one server draw from together."""

from authserver.web.shared_rows import SharedRows

_WAYS = 8
_WORD_BYTES = 8
_ROWS = 16_384  # 131,072 keys in 2 MiB
# What adding up fractions of a second may be wrong by.
_TOLERANCE_SECONDS = 1e-9


class SharedBuckets:
    """As ``TokenBuckets``, for all processes that were forked after it was made.

    A bucket is one number: the time at which it will be full again (GCRA). One that is full is the same as none, so nothing
    has to be cleaned up. A row holds eight names, then their eight times. When it has no room, the bucket that is nearest to
    being full goes.
    """

    def __init__(self, *, rate: float, burst: int, rows: int = _ROWS) -> None:
        self._seconds_per_token = 1 / rate
        self._slack = (burst - 1) / rate
        self._rows = SharedRows(rows=rows, row_bytes=2 * _WAYS * _WORD_BYTES)
        # Aligned words: each is written at once.
        self._names = memoryview(self._rows.memory).cast("Q")
        self._full_at = memoryview(self._rows.memory).cast("d")

    def take(self, key: str, now: float) -> float:
        """Take one token; see ``TokenBuckets.take``. The clock must be the same in all processes (CLOCK_MONOTONIC)."""
        row, name = self._rows.place(key.encode("utf-8", "surrogatepass"))
        first = 2 * _WAYS * row
        wait = self._wait(self._find(first, name), now)
        if wait > 0:
            # A flood of those who are refused locks nothing and changes nothing.
            return wait
        with self._rows.locked(row):
            position = self._find(first, name)
            wait = self._wait(position, now)
            if wait > 0:
                return wait
            if position is None:
                position = self._make_room(first)
                self._full_at[position + _WAYS] = now
                self._names[position] = name
            self._full_at[position + _WAYS] = max(self._full_at[position + _WAYS], now) + self._seconds_per_token
        return 0.0

    def _find(self, first: int, name: int) -> int | None:
        names = self._names[first : first + _WAYS].tolist()
        return first + names.index(name) if name in names else None

    def _wait(self, position: int | None, now: float) -> float:
        """Return the seconds until a bucket has a token, 0 or less when it has one."""
        if position is None:
            return 0.0
        wait = self._full_at[position + _WAYS] - now - self._slack
        return wait if wait > _TOLERANCE_SECONDS else 0.0

    def _make_room(self, first: int) -> int:
        return min(range(first, first + _WAYS), key=lambda position: self._full_at[position + _WAYS])
