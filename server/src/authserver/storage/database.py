"""What may be asked of a database, whichever of the two it is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, overload

T = TypeVar("T")

Value = str | int | float | bool | bytes | None
"""What a parameter may be. Times are seconds since the epoch; lists are JSON text."""


class Row(Protocol):
    """A row, read by column name, or by position where a request reads many columns.

    SQLite returns 0 and 1 for booleans: records convert. A column that nobody asked for may stand behind the others.
    """

    @overload
    def __getitem__(self, column: str | int, /) -> Any: ...
    @overload
    def __getitem__(self, columns: slice, /) -> tuple[Any, ...]: ...


class StorageUnavailable(Exception):  # noqa: N818  a state of the world, not an error of ours
    """The database does not answer, or its queue is full. Nothing was written; the request becomes a 503.

    Attributes:
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UniqueViolation(Exception):  # noqa: N818  an outcome that callers turn into one of their own
    """A row with this key is there already."""


class ReferenceViolation(Exception):  # noqa: N818  an outcome that callers turn into one of their own
    """A row that others refer to cannot go, or one refers to a row that is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """A table that rows are appended to, never conditionally. A constant of a store.

    The rows of all units of a commit go out together, at its end: a unit cannot read back what it appended.

    Attributes:
        table: Its name.
        columns: Column name to PostgreSQL type, in the order of the values.
        named: Those that hold the number of a text, which is what is given (storage/names.py).
        named_at: Where those stand.
        statement: The insert of one row, which SQLite runs for one after the other.
    """

    table: str
    columns: dict[str, str]
    named: tuple[str, ...] = ()
    named_at: tuple[int, ...] = field(init=False)
    statement: str = field(init=False)

    def __post_init__(self) -> None:
        """Find the places and compose the statement once."""
        places = tuple(place for place, column in enumerate(self.columns) if column in self.named)
        marks = ", ".join("?" * len(self.columns))
        object.__setattr__(self, "named_at", places)
        object.__setattr__(self, "statement", f"INSERT INTO {self.table} ({self.names}) VALUES ({marks})")

    @property
    def names(self) -> str:
        """The column list."""
        return ", ".join(self.columns)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A conditional update of one row, found by a unique key: of all who try, one gets it. A constant of a store.

    On PostgreSQL the claims that units of one commit are waiting for go out together, in one statement for each ``Claim``;
    of several units that want the same row one wins, as it would if they came one after the other.

    Attributes:
        table: Its name.
        assignments: What follows ``SET``, with ``$1`` placeholders.
        condition: What follows ``WHERE``: the key, and what must still hold.
        types: The PostgreSQL types of the placeholders, in their order.
        statement: The update of one row.
    """

    table: str
    assignments: str
    condition: str
    types: tuple[str, ...]
    statement: str = field(init=False)

    def __post_init__(self) -> None:
        """Compose the statement once."""
        statement = f"UPDATE {self.table} SET {self.assignments} WHERE {self.condition}"
        object.__setattr__(self, "statement", statement)


@dataclass(frozen=True, slots=True, eq=False)
class FirstUse:
    """A table of what was used and may be used once: of all who try the same key, one gets it. A constant of a store.

    A row that has expired is as good as gone, whether or not a purge came by. As with a ``Claim``, those that units of one
    commit are waiting for go out together on PostgreSQL.

    Attributes:
        table: Its name; its last column is ``expires_at``.
        columns: The columns of the key, all of type text.
        statement: The insert of one row; its values are those of the key, ``expires_at``, and now.
    """

    table: str
    columns: tuple[str, ...]
    statement: str = field(init=False)

    def __post_init__(self) -> None:
        """Compose the statement once."""
        key, width = ", ".join(self.columns), len(self.columns)
        marks = ", ".join(f"${n}" for n in range(1, width + 2))
        statement = (
            f"INSERT INTO {self.table} ({key}, expires_at) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE"
            f" SET expires_at = excluded.expires_at WHERE {self.table}.expires_at < ${width + 2}"
        )
        object.__setattr__(self, "statement", statement)


class Reader(Protocol):
    """Runs queries. SQL is written once, with ``$1`` placeholders, for both drivers."""

    async def fetch_one(self, sql: str, *args: Value) -> Row | None:
        """Return the first row, or None.

        Reads of many callers that have the same text may go out as one statement, so a placeholder cannot be a LIMIT.
        """
        ...

    async def fetch_all(self, sql: str, *args: Value) -> Sequence[Row]:
        """Return all rows; the statement bounds their number."""
        ...


class Writer(Reader, Protocol):
    """A transaction."""

    async def hold(self, sql: str, *args: Value) -> Row | None:
        """Return the first row of a query, which nobody changes until this transaction ends; others may hold it, too.

        What is being changed at this moment is waited for, and then the condition is asked anew.
        """
        ...

    async def execute(self, sql: str, *args: Value) -> int:
        """Run a statement for its effect; return the number of rows it touched."""
        ...

    async def claim(self, claim: Claim | FirstUse, *values: Value) -> bool:
        """Update a row if its condition holds, or insert one if its key is new.

        Of any number of callers, in any number of processes, one gets True.
        """
        ...

    async def append(self, append: Append, *values: Value) -> None:
        """Append one row. It is in the database when the transaction commits, not before."""
        ...

    async def number_of(self, name: str) -> int:
        """Return the number that stands for a text; a new one when it has none (storage/names.py)."""
        ...

    async def settle(self, append: Append) -> None:
        """Write the rows appended to a table by now, so that the next statement sees those of other callers, too."""
        ...


class Database(Reader, Protocol):
    """The database. Reading needs no transaction; writing is a function of one."""

    dialect: str
    """``sqlite`` or ``postgres``."""

    async def write(self, transaction: Callable[[Writer], Awaitable[T]]) -> T:
        """Run ``transaction`` and commit, or roll back if it raises. Commits before it returns.

        Many callers share one commit; none sees or suffers the failure of another. ``transaction`` may be run again after
        a conflict, so it has no effects but its statements, and it awaits nothing else.

        Raises:
            StorageUnavailable: The database does not answer or its queue is full.
            UniqueViolation: A unique key is taken.
            ReferenceViolation: A foreign key forbids it.
        """
        ...

    async def survey(self, query: Callable[[Reader], Awaitable[T]]) -> T:
        """Run a query that reads much, such as a count of all rows, so that no request waits for it.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        ...

    async def ping(self) -> None:
        """Return when the database answers.

        Raises:
            StorageUnavailable: It does not.
        """
        ...

    async def close(self) -> None:
        """Commit what is queued and close the connections."""
        ...
