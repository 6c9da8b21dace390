"""How many rows there are: exactly as long as they are few, else as they were counted within the last minute.

Counting reads every row, so that the answer to each page of a list would take longer the longer the list is.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from authserver.storage.database import Database, Reader, Value

_FEW = 1000
_KEPT_SECONDS = 60
_MOST_KEPT = 256


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted.

    Attributes:
        rows: A table and a condition, with ``$1`` placeholders: what follows ``FROM``.
    """

    rows: str
    values: tuple[Value, ...] = ()


@dataclass(slots=True)
class Totals:
    """Counts, beside the loop where it takes long."""

    db: Database
    _kept: OrderedDict[Counted, tuple[int, int]] = field(default_factory=OrderedDict, init=False)

    async def count(self, counted: Counted, *, now: int) -> int:
        """Return how many rows there are.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        few = await self._read(f"(SELECT 1 AS one FROM {counted.rows} LIMIT {_FEW + 1}) few", counted)
        if few <= _FEW:
            return few
        number, at = self._kept.get(counted, (0, 0))
        if not 0 <= now - at < _KEPT_SECONDS:
            number = await self._read(counted.rows, counted)
            self._kept[counted] = number, now
            self._kept.move_to_end(counted)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return number

    async def _read(self, rows: str, counted: Counted) -> int:
        async def read(reader: Reader) -> int:
            row = await reader.fetch_one(f"SELECT count(*) AS number FROM {rows}", *counted.values)
            return int(row["number"]) if row else 0

        return await self.db.survey(read)
