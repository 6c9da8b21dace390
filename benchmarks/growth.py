"""``make bench-growth``: how each figure moves as a database grows from a thousand clients, users and families to a million.

The rows are written straight into the tables, with the server stopped; then the same server is started on them and measured
as in ``run.py``. It takes about half an hour and four gigabytes of disk; ``--up-to`` makes it shorter.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contestants import RESOURCE, SCOPE, Installation
from database_server import durable_postgres, find_binaries
from filling import fill_postgres, fill_sqlite
from machine import LOAD_CORE, WORK, describe, on_core, resident_mib
from measures import MEASURES
from report import plot_growth
from run import BASELINES, OUT, write_json

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RECORDED = BASELINES.with_name("growth.json")
_MEASURES = tuple(name for name in MEASURES if "16 connections" in name and not name.startswith(("jwks", "metadata")))


class _Sqlite:
    """A SQLite installation that can be filled."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "authserver.db"
        settings = {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": str(self._path)}
        self.installation = Installation(directory, settings)

    def grow(self, start: int, end: int) -> int:
        """Write the rows; return the bytes of the database."""
        fill_sqlite(str(self._path), start, end, now=int(time.time()), uri=RESOURCE, scope=SCOPE)
        return self._path.stat().st_size


class _Postgres:
    """A PostgreSQL installation that can be filled."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self._dsn = dsn
        settings = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
        self.installation = Installation(directory, settings)

    def grow(self, start: int, end: int) -> int:
        """Write the rows; return the bytes of the database."""
        return fill_postgres(self._dsn, start, end, now=int(time.time()), uri=RESOURCE, scope=SCOPE)


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
