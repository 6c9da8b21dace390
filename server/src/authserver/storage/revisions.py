"""Records that are kept by the revision of their row, which the database changes with every change of it (decision 0035)."""

from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class KeptRecords(Generic[T]):
    """The records of rows that were read, one for each id. Which of them a row still is, its revision tells."""

    __slots__ = ("_kept", "_limit", "_putting")

    def __init__(self, limit: int) -> None:
        """Keep so many records; the one whose row was read first of all goes first, though it was read again since."""
        self._limit = limit
        # A transaction on SQLite runs on the loop or in a thread, and either may read a row.
        self._putting = Lock()
        self._kept: dict[str, tuple[int, T]] = {}

    def get(self, row_id: str, revision: int) -> T | None:
        """Return the record of a row that has this revision now, if it is kept."""
        kept = self._kept.get(row_id)
        return kept[1] if kept is not None and kept[0] == revision else None

    def put(self, row_id: str, revision: int, record: T) -> None:
        """Keep the record of a row, as it was read together with its revision."""
        with self._putting:
            self._kept[row_id] = revision, record
            if len(self._kept) > self._limit:
                del self._kept[next(iter(self._kept))]
