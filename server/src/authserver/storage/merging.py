"""One list of several: each is read along an index of its own, in the order of all.

A ``UNION ALL`` says the same, but PostgreSQL reads and sorts all of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from authserver.storage.database import Reader, Row, Value


async def read_merged(
    db: Reader, lists: Sequence[str], values: Sequence[Value], *, limit: int, order: Callable[[Row], Any]
) -> list[Row]:
    """Return the first rows of all.

    Args:
        db: Where to read.
        lists: Queries of the same columns, parameters and order, the highest first.
        values: Of the parameters.
        limit: How many rows.
        order: What rows are ordered by.
    """
    rows = [row for each in lists for row in await db.fetch_all(f"{each} LIMIT ${len(values) + 1}", *values, limit)]
    return rows if len(lists) == 1 else sorted(rows, key=order, reverse=True)[:limit]


async def find_nth(
    db: Reader, lists: Sequence[str], values: Sequence[Value], *, nth: int, order: Callable[[Row], Any]
) -> Row | None:
    """Return the row of a place, counted from 1, or None. Reads all before it: to be surveyed.

    For interfaces that promise an offset; to go on from the last row of a page costs less.
    """
    if len(lists) == 1:
        sql = f"{lists[0]} LIMIT 1 OFFSET ${len(values) + 1}"
        return next(iter(await db.fetch_all(sql, *values, nth - 1)), None)
    rows = await read_merged(db, lists, values, limit=nth, order=order)
    return rows[-1] if len(rows) == nth else None
