"""How many rows there are: exactly as long as they are few, else as they were counted within the last minute.

Counting reads every row, so that the answer to each page of a list would take longer the longer the list is.
"""

from collections import OrderedDict
from collections.abc import Sequence
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

    async def count(self, *wanted: Counted, now: int) -> int:
        """Return how many rows there are of all that is wanted together.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        known = {counted: self._kept[counted] for counted in wanted if counted in self._kept}
        numbers = {counted: number for counted, (number, at) in known.items() if 0 <= now - at < _KEPT_SECONDS}
        if unknown := [counted for counted in wanted if counted not in numbers]:
            few, many = await self.db.survey(lambda reader: _count(reader, unknown))
            for counted, number in many.items():
                self._keep(counted, number, now)
            numbers |= few | many
        return sum(numbers[counted] for counted in wanted)

    def _keep(self, counted: Counted, number: int, now: int) -> None:
        self._kept[counted] = number, now
        self._kept.move_to_end(counted)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)


async def _count(reader: Reader, wanted: Sequence[Counted]) -> tuple[dict[Counted, int], dict[Counted, int]]:
    """Return the numbers of what there is little of, and of what there is much of."""
    few: dict[Counted, int] = {}
    many: dict[Counted, int] = {}
    for counted in wanted:
        number = await _read(reader, f"(SELECT 1 AS one FROM {counted.rows} LIMIT {_FEW + 1}) few", counted)
        if number <= _FEW:
            few[counted] = number
        else:
            many[counted] = await _read(reader, counted.rows, counted)
    return few, many


async def _read(reader: Reader, rows: str, counted: Counted) -> int:
    row = await reader.fetch_one(f"SELECT count(*) AS number FROM {rows}", *counted.values)
    return int(row["number"]) if row else 0
