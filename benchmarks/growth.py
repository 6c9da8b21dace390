"""``make bench-growth``: how each figure moves as a database grows from a thousand clients, users and families to a million.

The rows are written straight into the tables, with the server stopped; then the same server is started on them and measured
as in ``run.py``. It takes about half an hour and four gigabytes of disk; ``--up-to`` makes it shorter.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from contestants import REDIRECT_URI, RESOURCE, SCOPE, Installation
from database_server import durable_postgres, find_binaries
from machine import LOAD_CORE, WORK, describe, on_core, resident_mib
from measures import MEASURES
from report import plot_growth
from run import BASELINES, OUT, write_json

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RECORDED = BASELINES.with_name("growth.json")
_MEASURES = tuple(name for name in MEASURES if "16 connections" in name and not name.startswith(("jwks", "metadata")))
_CHUNK = 50_000
_ACTION_NUMBER = -1
"""Of the numbers that stand for texts: below 0, since the server's own go up from 1."""

Row = tuple[Any, ...]
Write = Callable[[str, tuple[str, ...], list[Row]], None]


def _identifier(milliseconds: int) -> bytes:
    return milliseconds.to_bytes(6, "big") + os.urandom(10)


def _rows(numbers: range, resource_id: str, resource_number: int) -> dict[str, tuple[tuple[str, ...], list[Row]]]:
    """Return the rows of some clients: each has a user who allowed it, a family, a token and an audit row."""
    now = int(time.time())
    uris, scopes = json.dumps([REDIRECT_URI]), json.dumps([SCOPE])
    tables: dict[str, tuple[tuple[str, ...], list[Row]]] = {
        "names": (("number", "name"), []),
        "clients": (
            ("id", "name", "redirect_uris", "grant_types", "response_types", "token_endpoint_auth_method", "status",
             "registration_source", "issued_at", "updated_at"), []),
        "users": (("id", "email", "email_folded", "created_at", "updated_at"), []),
        "authorizations": (
            ("id", "client_id", "user_id", "redirect_uri", "scope", "resource_id", "resource", "code_challenge",
             "consented", "created_at", "consumed_at"), []),
        "refresh_tokens": (("token_hash", "authorization_id", "created_at", "expires_at"), []),
        "consent_grants": (
            ("id", "user_id", "client_id", "resource_id", "scopes", "redirect_uris", "created_at", "updated_at"), []),
        "issuance_rows": (
            ("id", "token_digest", "kind", "subject_number", "client_number", "resource_number", "scopes",
             "authorization_id", "issued_at", "expires_at", "consent_client_number"), []),
        "audit_rows": (
            ("id", "action_number", "actor_number", "client_number", "ip", "detail", "created_at"), []),
    }  # fmt: skip
    if 0 in numbers:
        tables["names"][1].append((_ACTION_NUMBER, "token.issued"))
    for number in numbers:
        at = now - 40 * 86_400 + number % (30 * 86_400)
        client, user, address = f"grown-client-{number}", f"grown-user-{number}", f"user{number}@example.com"
        family = _identifier(at * 1000)
        client_number = -2 - 2 * number
        user_number = client_number - 1
        row: dict[str, Row] = {
            "clients": (client, "Grown", uris, '["authorization_code","refresh_token"]', '["code"]', "none", "active",
                        "dcr", at, at),
            "users": (user, address, address, at, at),
            "authorizations": (family, client, user, REDIRECT_URI, SCOPE, resource_id, RESOURCE, "x" * 43, True, at, at),
            "refresh_tokens": (os.urandom(32), family, at, now + 86_400),
            "consent_grants": (_identifier(at * 1000), user, client, resource_id, scopes, uris, at, at),
            "issuance_rows": (_identifier(at * 1000), os.urandom(16), "user", user_number, client_number,
                              resource_number, SCOPE, family, at, at + 900, client_number),
            "audit_rows": (_identifier(at * 1000), _ACTION_NUMBER, user_number, client_number, "127.0.0.1",
                           "family=grown", at),
        }  # fmt: skip
        tables["names"][1].extend([(client_number, client), (user_number, user)])
        for name, values in row.items():
            tables[name][1].append(values)
    return tables


def _fill(write: Write, resource: tuple[str, int], start: int, end: int) -> None:
    for first in range(start, end, _CHUNK):
        numbers = range(first, min(end, first + _CHUNK))
        for table, (columns, rows) in _rows(numbers, *resource).items():
            write(table, columns, rows)


class _Sqlite:
    """A SQLite installation that can be filled."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "authserver.db"
        settings = {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": str(self._path)}
        self.installation = Installation(directory, settings)

    def grow(self, start: int, end: int) -> int:
        """Write the rows; return the bytes of the database."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            resource = connection.execute("SELECT id, number FROM resources").fetchone()

            def write(table: str, columns: tuple[str, ...], rows: list[Row]) -> None:
                marks = ", ".join("?" * len(columns))
                connection.execute("BEGIN")
                connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
                connection.execute("COMMIT")

            _fill(write, resource, start, end)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._path.stat().st_size


class _Postgres:
    """A PostgreSQL installation that can be filled."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self._dsn = dsn
        settings = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
        self.installation = Installation(directory, settings)

    def grow(self, start: int, end: int) -> int:
        """Write the rows; return the bytes of the database."""
        with asyncio.Runner() as runner:
            connection = runner.run(asyncpg.connect(self._dsn))
            resource = runner.run(connection.fetchrow("SELECT id, number FROM resources"))

            def write(table: str, columns: tuple[str, ...], rows: list[Row]) -> None:
                runner.run(connection.copy_records_to_table(table, columns=columns, records=rows))

            _fill(write, resource, start, end)
            runner.run(connection.execute("VACUUM ANALYZE"))
            size: int = runner.run(connection.fetchval("SELECT pg_database_size(current_database())"))
            runner.run(connection.close())
        return size


@contextlib.contextmanager
def _databases(only: str) -> Iterator[dict[str, _Sqlite | _Postgres]]:
    with tempfile.TemporaryDirectory(prefix="authplane-growth-", dir=WORK) as name, contextlib.ExitStack() as stack:
        found: dict[str, _Sqlite | _Postgres] = {}
        if only in "sqlite":
            found["sqlite"] = _Sqlite(Path(name) / "sqlite")
        binaries = find_binaries()
        if binaries and only in "postgres":
            found["postgres"] = _Postgres(Path(name) / "postgres", stack.enter_context(durable_postgres(binaries)))
        yield found


def measure_growth(
    database: _Sqlite | _Postgres, *, sizes: Iterable[int], rounds: int, seconds: float
) -> dict[int, Any]:
    """Return the figures of each size: requests per second, and what start-up, memory and disk come to."""
    grown: dict[int, Any] = {}
    before = 0
    for size in sizes:
        stored = database.grow(before, size)
        before = size
        with database.installation.serve("growth") as contestant, on_core(LOAD_CORE):
            rates: dict[str, list[float]] = {name: [] for name in _MEASURES}
            for _ in range(rounds):
                for name, rate in rates.items():
                    measure = MEASURES[name]
                    sample = measure.take(contestant.target, connections=measure.connections, seconds=seconds)
                    rate.append(sample.requests_per_second)
            resident = resident_mib(contestant.pid)
        grown[size] = {
            "requests/s": {name: statistics.median(rate) for name, rate in rates.items()},
            "start to first 200, s": contestant.seconds_to_start,
            "resident under load, MiB": resident,
            "database, bytes a client with its user, family and token": stored / size,
        }
        print(f"{size} rows: {json.dumps(grown[size])}", file=sys.stderr)
    return grown


def _print(grown: dict[str, dict[int, Any]]) -> None:
    for database, by_size in grown.items():
        smallest = next(iter(by_size.values()))["requests/s"]
        print(f"\n{database:34}" + "".join(f"{size:>20,}" for size in by_size))
        for name in smallest:
            cells = [(by["requests/s"][name], by["requests/s"][name] / smallest[name]) for by in by_size.values()]
            print(f"{name:34}" + "".join(f"{rate:12.0f} ({ratio:4.2f})" for rate, ratio in cells))
        for name in ("start to first 200, s", "resident under load, MiB"):
            print(f"{name:34}" + "".join(f"{by[name]:20.2f}" for by in by_size.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure AuthPlane on databases of growing size.")
    parser.add_argument("--up-to", type=int, default=SIZES[-1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one sample")
    parser.add_argument("--only", default="", help="sqlite or postgres")
    parser.add_argument("--record", action="store_true", help="keep the result in growth.json")
    options = parser.parse_args()
    sizes = [size for size in SIZES if size <= options.up_to]
    grown: dict[str, dict[int, Any]] = {}
    with _databases(options.only) as databases:
        for name, database in databases.items():
            print(name, file=sys.stderr)
            grown[name] = measure_growth(database, sizes=sizes, rounds=options.rounds, seconds=options.seconds)
    _print(grown)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    rates = {name: {size: by["requests/s"] for size, by in by_size.items()} for name, by_size in grown.items()}
    result = {"at": at, "machine": describe(), "growth": grown}
    for path in (OUT / f"{at}-growth.json", *([RECORDED] if options.record else [])):
        write_json(result, path)
        plot_growth(rates, path.with_suffix(".svg"))


if __name__ == "__main__":
    main()
