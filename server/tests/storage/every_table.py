"""Rows in every table that the migrations make, whichever those are."""

import contextlib
import sqlite3
from typing import Any

ROWS = 3
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


def tables_of(path: str) -> set[str]:
    """Return the tables of a SQLite file, the record of migrations left out."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute(_TABLES)} - {"schema_migrations"}


def fill(path: str) -> set[str]:
    """Insert three rows into every table of a migrated file: ordinary, strange, and as empty as can be; return the tables."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        names = sorted(tables_of(path))
        filled: dict[str, list[dict[str, Any]]] = {}
        while waiting := [name for name in names if name not in filled]:
            for name in waiting:
                references = list(connection.execute(f"PRAGMA foreign_key_list({name})"))
                if all(reference["table"] in filled for reference in references):
                    filled[name] = [_row(connection, name, index, references, filled) for index in range(ROWS)]
        connection.execute("BEGIN")
        for name, rows in filled.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
        connection.execute("COMMIT")
        assert connection.execute("PRAGMA foreign_key_check").fetchone() is None
    return set(filled)


def _row(
    connection: sqlite3.Connection,
    table: str,
    index: int,
    references: list[Any],
    filled: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
    row = {column["name"]: _value(table, column, index) for column in columns}
    for reference in references:
        if row[reference["from"]] is not None:
            parents = filled[reference["table"]]
            found = parents[index][reference["to"]]
            row[reference["from"]] = found if found is not None else parents[0][reference["to"]]
    return row


def _value(table: str, column: Any, index: int) -> Any:
    if index == ROWS - 1 and not column["notnull"] and not column["pk"]:
        return None
    match column["type"]:
        case "TEXT":
            return f"{table}.{column['name']}.{index}" + ("" if index == 0 else " ünï\t'\"\\%$1 \U0001f511")
        case "BIGINT":
            return (0, 2**53 + 1, 1_790_000_000)[index] if column["pk"] == 0 else index + 1
        case "INTEGER":
            return index + 7
        case "BOOLEAN":
            return index == 0
        case "BYTEA":
            return bytes([index, 0, 255]) + f"{table}.{column['name']}".encode()
        case kind:
            raise AssertionError(f"{table}.{column['name']} is of type {kind}: say what its values are")


def dump(path: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = sorted(row[0] for row in connection.execute(_TABLES))
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
