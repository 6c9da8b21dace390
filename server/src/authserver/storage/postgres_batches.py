"""Many units in one transaction, on sets of rows: what they want at the same step is one statement.

A unit is a coroutine that waits for nothing but its statements, so it can be held at one of them. First all units run up
to their first claim, those claims go out together, and so on until no unit waits for a claim. Then all take the
rows that they keep others from changing, table by table, as a revocation does: else one unit would keep a token that a
revocation waits for, and the next one wait for the consent that the revocation has. Then the units go to their end one by
one. That is one of the orders in which they could have come one after the other: those that keep a row first, then those
that were held after a claim, then those that have not begun.
"""

import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

import asyncpg

from authserver.storage.database import Append, Claim, FirstUse, Row, Value, Writer
from authserver.storage.names import Names

_PLACEHOLDER = re.compile(r"\$(\d+)")
_FIND_NUMBERS = "SELECT name, number FROM names WHERE name = ANY($1::text[])"
# In the order of the texts, in which other processes insert theirs, too.
_MAKE_NUMBERS = "INSERT INTO names (name) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING"

Transaction = Callable[[Writer], Awaitable[Any]]


def of_batch(sql: str) -> str:
    """Return SQL whose placeholders are the columns of ``batch``."""
    return _PLACEHOLDER.sub(r"batch.p\1", sql)


def _array(number: int, kind: str) -> str:
    """Return a placeholder for a column.

    It stands in a query of its own, so that the planner does not see its length. Else it would find a plan for so many rows
    better than the general one, and plan anew each time, which takes as long as running the statement.
    """
    return f"(SELECT ${number}::{kind}[])"


def batch_of(types: Iterable[str]) -> str:
    """Return the table expression ``batch``: a row for each caller, ``p1`` and so on, and ``nth``, which counts from 1."""
    kinds = list(types)
    arrays = ", ".join(_array(n, kind) for n, kind in enumerate(kinds, start=1))
    names = ", ".join(f"p{n}" for n in range(1, len(kinds) + 1))
    return f"unnest({arrays}) WITH ORDINALITY AS batch ({names}, nth)"


@lru_cache(maxsize=256)
def claims_statement(claim: Claim) -> str:
    """Return the statement for any number of claims. A row is updated once, whoever wants it: that one is returned."""
    return (
        f"UPDATE {claim.table} SET {of_batch(claim.assignments)} FROM {batch_of(claim.types)}"
        f" WHERE {of_batch(claim.condition)} RETURNING batch.nth"
    )


@lru_cache(maxsize=256)
def first_uses_statement(use: FirstUse) -> str:
    """Return the statement for any number of first uses, which returns the keys that were new.

    One row for each key, as the first of all who want it asked, and in the order of the keys, in which other processes
    insert theirs, too.
    """
    key, width = ", ".join(use.columns), len(use.columns)
    names = ", ".join(f"batch.p{n}" for n in range(1, width + 1))
    return (
        f"INSERT INTO {use.table} ({key}, expires_at) SELECT DISTINCT ON ({names}) {names}, batch.p{width + 1}"
        f" FROM {batch_of([*['text'] * width, 'bigint'])} ORDER BY {names}, batch.nth ON CONFLICT ({key}) DO UPDATE"
        f" SET expires_at = excluded.expires_at WHERE {use.table}.expires_at < ${width + 2} RETURNING {key}"
    )


@lru_cache(maxsize=256)
def appends_statement(appends: tuple[Append, ...]) -> str:
    """Return the statement that writes rows of several tables and tells the transaction's id.

    References between the rows are checked at its end.
    """
    if not appends:
        return "SELECT pg_current_xact_id_if_assigned()::text"
    inserts, first = [], 1
    for append in appends:
        arrays = ", ".join(_array(n, kind) for n, kind in enumerate(append.columns.values(), start=first))
        first += len(append.columns)
        inserts.append(
            f"{append.table}_rows AS (INSERT INTO {append.table} ({append.names}) SELECT * FROM unnest({arrays}))"
        )
    return f"WITH {', '.join(inserts)} SELECT pg_current_xact_id()::text"


class _Claiming:
    """Waits for the outcome of a claim."""

    __slots__ = ("claim", "values")

    def __init__(self, claim: Claim | FirstUse, values: tuple[Value, ...]) -> None:
        self.claim = claim
        self.values = values

    def __await__(self) -> Generator["_Claiming", bool, bool]:
        return (yield self)


class _Asking:
    """Waits for the answer to any other statement."""

    __slots__ = ("args", "method")

    def __init__(self, method: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self.method = method
        self.args = args

    def __await__(self) -> Generator["_Asking", Any, Any]:
        return (yield self)


class _Keeping(_Asking):
    """Waits for a row that others shall not change.

    Attributes:
        table: Where the row is, which the query names last. By name, consents come before issuances, as in a revocation.
    """

    __slots__ = ("table",)

    def __init__(self, method: Callable[..., Awaitable[Any]], sql: str, *args: Any) -> None:
        super().__init__(method, sql, *args)
        self.table = sql.rpartition(" FROM ")[2].partition(" ")[0]


_Step = _Claiming | _Asking


class _Writer:
    """What units see of the transaction."""

    __slots__ = ("_appended", "_connection", "_names")

    def __init__(self, connection: "asyncpg.Connection[Any]", names: Names) -> None:
        self._connection = connection
        self._names = names
        self._appended: dict[Append, list[tuple[Value, ...]]] = {}

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        row: Row | None = await _Asking(self._connection.fetchrow, sql, *args)
        return row

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        rows: Sequence[Row] = await _Asking(self._connection.fetch, sql, *args)
        return rows

    async def hold(self, sql: str, *args: Value) -> Row | None:
        row: Row | None = await _Keeping(self._connection.fetchrow, f"{sql} FOR SHARE", *args)
        return row

    async def execute(self, sql: str, *args: Value) -> int:
        status: str = await _Asking(self._connection.execute, sql, *args)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def claim(self, claim: Claim | FirstUse, *values: Value) -> bool:
        return await _Claiming(claim, values)

    async def append(self, append: Append, *values: Value) -> None:
        self._appended.setdefault(append, []).append(values)

    async def number_of(self, name: str) -> int:
        if self._names.get(name) is None:
            await _Asking(self._learn, [name])
        return cast("int", self._names.get(name))

    async def settle(self, append: Append) -> None:
        if append in self._appended:
            # All tables: rows may refer to one another.
            await _Asking(self.flush)

    async def flush(self) -> str | None:
        """Write what was appended, all tables in one statement; return the id of the transaction, if it has one."""
        appends = tuple(sorted(self._appended, key=lambda append: append.table))
        columns = [column for append in appends for column in await self._columns(append)]
        self._appended.clear()
        transaction_id: str | None = await self._connection.fetchval(appends_statement(appends), *columns)
        return transaction_id

    async def _columns(self, append: Append) -> list[list[Value]]:
        """Return the columns of what was appended to a table, with numbers for texts."""
        columns = [list(column) for column in zip(*self._appended[append], strict=True)]
        named = [columns[place] for place in append.named_at]
        await self._learn({cast("str", name) for column in named for name in column if name is not None})
        for column in named:
            column[:] = [None if name is None else self._names.get(cast("str", name)) for name in column]
        return columns

    async def _learn(self, names: Iterable[str]) -> None:
        """Look up the numbers of texts that are not known, and make those that are missing."""
        unknown = sorted(name for name in names if self._names.get(name) is None)
        if not unknown:
            return
        if missing := await self._find(unknown):
            await self._connection.execute(_MAKE_NUMBERS, missing)
            await self._find(missing)

    async def _find(self, names: list[str]) -> list[str]:
        """Look numbers up; return the texts that have none."""
        found = {row[0]: row[1] for row in await self._connection.fetch(_FIND_NUMBERS, names)}
        for name, number in found.items():
            self._names.put(name, number)
        return [name for name in names if name not in found]

    async def claim_together(self, claim: Claim | FirstUse, wanted: Sequence[tuple[Value, ...]]) -> set[int]:
        """Return which of these claims won, counted from 1."""
        if isinstance(claim, FirstUse):
            return await self._use_together(claim, wanted)
        columns = [list(column) for column in zip(*wanted, strict=True)]
        return {row[0] for row in await self._connection.fetch(claims_statement(claim), *columns)}

    async def _use_together(self, use: FirstUse, wanted: Sequence[tuple[Value, ...]]) -> set[int]:
        *columns, nows = ([*column] for column in zip(*wanted, strict=True))
        # The earliest of all: a row counts as expired when it has for everybody.
        rows = await self._connection.fetch(first_uses_statement(use), *columns, min(nows))
        width = len(use.columns)
        new = {tuple(row) for row in rows}
        first = {values[:width]: nth for nth, values in reversed([*enumerate(wanted, start=1)])}
        return {nth for key, nth in first.items() if key in new}


class _Running:
    """A unit on its way."""

    __slots__ = ("has_claimed", "has_kept", "result", "step", "steps")

    def __init__(self, tx: Writer, transaction: Transaction) -> None:
        self.steps: Generator[Any, Any, Any] = transaction(tx).__await__()
        self.step: _Step | None = None
        self.has_claimed = False
        self.has_kept = False
        self.result: Any = None

    def go_on(self, answer: Any) -> None:
        """Run until the next statement, or to the end."""
        try:
            step = self.steps.send(answer)
        except StopIteration as done:
            self.step, self.result = None, done.value
            return
        if not isinstance(step, _Step):
            raise AssertionError(  # noqa: TRY004  a fault of the caller's code, as in the other driver
                "a transaction awaited something other than its statements"
            )
        self.step = step


async def run_together(
    connection: "asyncpg.Connection[Any]", transactions: Sequence[Transaction], names: Names
) -> tuple[list[Any], str | None]:
    """Run units in the open transaction of a connection.

    Args:
        connection: Whose.
        transactions: The units.
        names: What is known of the database behind the connection.

    Returns:
        What each returned, and the id of the transaction, if it has one.

    Raises:
        Exception: Whatever a unit or a statement raises; the transaction must then be undone.
    """
    tx = _Writer(connection, names)
    running = [_Running(tx, transaction) for transaction in transactions]
    try:
        for unit in running:
            unit.go_on(None)
        while await _claim(tx, running):
            pass
        while await _keep(running):
            pass
        for unit in sorted(running, key=lambda unit: (not unit.has_kept, not unit.has_claimed)):
            await _finish(tx, unit)
        return [unit.result for unit in running], await tx.flush()
    finally:
        for unit in running:
            unit.steps.close()


async def _claim(tx: _Writer, running: list[_Running]) -> bool:
    """Send out the claims that units wait for; return whether there were any."""
    waiting: dict[Claim | FirstUse, list[tuple[_Running, tuple[Value, ...]]]] = {}
    for unit in running:
        if isinstance(unit.step, _Claiming):
            waiting.setdefault(unit.step.claim, []).append((unit, unit.step.values))
    for claim, wanted in waiting.items():
        won = await tx.claim_together(claim, [values for _, values in wanted])
        for nth, (unit, _) in enumerate(wanted, start=1):
            unit.has_claimed = True
            unit.go_on(nth in won)
    return bool(waiting)


async def _keep(running: list[_Running]) -> bool:
    """Have units take their rows of the table that comes first; return whether there were any."""
    waiting = [(step, unit) for unit in running if isinstance(step := unit.step, _Keeping)]
    first = min((step.table for step, _ in waiting), default="")
    for step, unit in waiting:
        if step.table == first:
            unit.has_kept = True
            unit.go_on(await step.method(*step.args))
    return bool(waiting)


async def _finish(tx: _Writer, unit: _Running) -> None:
    """Run one unit to its end."""
    while unit.step is not None:
        step = unit.step
        if isinstance(step, _Claiming):
            unit.go_on(bool(await tx.claim_together(step.claim, [step.values])))
        else:
            unit.go_on(await step.method(*step.args))
