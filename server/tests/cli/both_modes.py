"""Runs commands on two databases, here on the one and through a server on the other, and compares what comes of it."""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from authserver.protocol.identifiers import spell_id
from server.tests.cli.serving import API_KEY, admin_listener
from server.tests.cli.terminal import Command, Done

_HASH = re.compile(r"(?:sha256|\$argon2id)\$[^\s\"]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|(?<=_at=)\d+")
_ADDRESS = re.compile(r'(?<= ip=)127\.0\.0\.1|(?<="ip": ")127\.0\.0\.1|(?<="ip":")127\.0\.0\.1')
_MADE = re.compile(r"(?<![\w-])(?:apo_)?(?:[\w-]{43}|[\w-]{22})(?![\w-])")
# Who makes a link here is called so; through a server it is the operator.
_BY_COMMAND = re.compile(r"(?<=created_by=)cli\b|(?<=\"created_by\": \")cli\b|^cli$")
# What keys are made with is logged where they are made.
_LOG_LINE = re.compile(r"^\{.*\}\n", re.MULTILINE)
_EARLIEST = 1_700_000_000
_ID_BYTES = 16
# Where a request comes from is the one thing that differs, beside the random numbers of a row's changes.
_DIFFERENT = {
    "audit_rows": frozenset({"ip"}),
    "clients": frozenset({"revision"}),
    "users": frozenset({"revision"}),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A command.

    Attributes:
        line: Its words behind ``admin``, separated by blanks; ``{name}`` stands for what an earlier step kept.
        keep: Fields of its output by the names that they are kept under.
        stdin: What it may read.
    """

    line: str
    keep: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""


def in_words_and_json(line: str) -> tuple[Step, Step]:
    """Return a command that changes nothing, once as it is and once with ``--json``."""
    return Step(line), Step(f"{line} --json")


class Names:
    """Gives what is made at random names in the order in which it is met, so that two runs can be compared.

    Attributes:
        are_complete: Whether what was not met before is named alike: the order tells nothing any more.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self.are_complete = False

    def clean(self, value: Any) -> Any:
        """Return a value, or a text with values inside, as it would be in every run."""
        match value:
            case bytes() if len(value) == _ID_BYTES:
                return self._name(spell_id(value))
            case bytes():
                return f"{len(value)} bytes"
            case int() if value >= _EARLIEST:
                return "a time"
            case str():
                text = _BY_COMMAND.sub("admin", _TIME.sub("a time", _HASH.sub("a hash", value)))
                return _MADE.sub(lambda found: self._name(found[0]), text)
        return value

    def _name(self, made: str) -> str:
        if self.are_complete:
            return self._known.get(made, "<another>")
        return self._known.setdefault(made, f"<{len(self._known)}>")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a script.

    Attributes:
        told: Code, output and errors of each command.
        tables: The rows of each table.
        addresses: From where the audit trail says that it was asked for.
    """

    told: Sequence[tuple[str, int, str, str]]
    tables: Mapping[str, Sequence[Sequence[Any]]]
    addresses: frozenset[str]


def run_script(steps: Sequence[Step], command: Command, path: str, settings: Mapping[str, str]) -> Outcome:
    """Run commands one after the other; return what they told, and what is in the database behind them."""
    names, told = Names(), []
    kept: dict[str, str] = {}
    for step in steps:
        line = step.line.format_map(kept)
        done: Done = command("admin", *line.split(), stdin=step.stdin, **settings)
        for name, output in step.keep.items():
            kept[name] = done.fields[output]
        told.append(
            (step.line, done.code, names.clean(_ADDRESS.sub("", done.out)), names.clean(_LOG_LINE.sub("", done.err)))
        )
    names.are_complete = True
    with closing(sqlite3.connect(path)) as db:
        addresses = frozenset(row[0] for row in db.execute("SELECT ip FROM audit_rows"))
        return Outcome(told, _read(db, names), addresses)


@contextmanager
def through_a_server(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Serve a database; yield what has commands go through the server."""
    with admin_listener(environment) as url:
        yield {"AUTHPLANE_ADMIN_URL": url, "AUTHPLANE_ADMIN_API_KEY": API_KEY}


def _read(db: sqlite3.Connection, names: Names) -> dict[str, list[list[Any]]]:
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {table: _read_table(db, table, names) for table in tables if not table.startswith("sqlite_")}


def _read_table(db: sqlite3.Connection, table: str, names: Names) -> list[list[Any]]:
    cursor = db.execute(f"SELECT * FROM {table}")
    columns = [column[0] for column in cursor.description]
    different = _DIFFERENT.get(table, frozenset())
    rows = [
        [names.clean(value) for column, value in zip(columns, row, strict=True) if column not in different]
        for row in cursor
    ]
    return sorted(rows, key=repr)
