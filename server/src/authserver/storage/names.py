"""Texts that many rows repeat: each is kept once, in table ``names``, and the rows hold its number.

Such are the ids of clients, users and Resources, and the names of audit actions. A number never changes its text and no text
goes, so a process may remember both for as long as it sees one and the same database.
"""

_MOST_KNOWN = 50_000
_LONGEST_KNOWN = 128


def number_of(placeholder: str) -> str:
    """Return SQL for the number of a text, NULL when no row ever held it; it is one value for the whole statement."""
    return f"(SELECT number FROM names WHERE name = {placeholder})"


def text_of(column: str) -> str:
    """Return SQL for the text of a number that a column holds, looked up for the rows of the answer alone."""
    return f"(SELECT name FROM names WHERE number = {column})"


def between(column: str, number: str, after: str, before: str) -> str:
    """Return SQL for the rows in which a column holds a number, between two ids: a range of an index on both.

    Spelled as an equality it would leave a planner the choice of reading all ids of that range, in their order, and passing
    over those of other numbers; ``newest_first`` goes with it.
    """
    return f"({column}, id) > ({number}, {after}) AND ({column}, id) < ({number}, {before})"


def newest_first(column: str) -> str:
    """Return SQL for the order in which such a range is read."""
    return f"ORDER BY {column} DESC, id DESC"


class Names:
    """The numbers that the writer of a process knows.

    Those of the transaction that is open count in it alone: only its commit makes a new number one for all.
    """

    __slots__ = ("_committed", "_open")

    def __init__(self) -> None:
        self._committed: dict[str, int] = {}
        self._open: dict[str, int] = {}

    def get(self, name: str) -> int | None:
        """Return the number of a text, if it is known. No number is 0."""
        return self._committed.get(name) or self._open.get(name)

    def put(self, name: str, number: int) -> None:
        """Remember a number that the open transaction has read or made."""
        self._open[name] = number

    def commit(self) -> None:
        """Keep what the transaction saw."""
        if self._open:
            if len(self._committed) + len(self._open) > _MOST_KNOWN:
                self._committed.clear()
            # Whoever may choose an id (a URL of 2 kB) shall not fill the memory with them.
            self._committed.update((name, number) for name, number in self._open.items() if len(name) <= _LONGEST_KNOWN)
            self._open.clear()

    def roll_back(self) -> None:
        """Forget what the transaction saw."""
        self._open.clear()

    def forget(self) -> None:
        """Forget everything: the database behind a new connection may be one that has taken the other's place."""
        self._committed.clear()
        self._open.clear()
