"""Fixtures that every package's tests share: the backend, the databases, the clock."""

import asyncio
import gc
import importlib.util
import io
import json
import shutil
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from authserver.storage.database import Database
from authserver.storage.migrate import migrate_postgres, migrate_sqlite
from authserver.storage.postgres import PoolLimits, PostgresDatabase
from authserver.storage.sqlite import SqliteDatabase
from authserver.telemetry import logs
from authserver.telemetry.logs import configure_logging
from generate_threats import load as load_threats
from generate_threats import place as threat_place

NOW = 1_790_000_000
ROOT = Path(__file__).parents[2]

# Tests run beside one another: how long an example takes says nothing about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_collection_finish() -> None:
    """Have the collector of cyclic garbage pass over what stays until the end: thousands of tests and their libraries."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests that the catalogue of threats names; once they are shuffled, have workers begin with what takes long."""
    named: dict[str, list[str]] = {}
    for threat, entry in load_threats().items():
        for tests in entry["proofs"].values():
            for test in tests:
                path, name = threat_place(test)
                named.setdefault(f"{path.relative_to(ROOT).as_posix()}::{name}", []).append(threat)
    for item in items:
        for threat in named.get(item.nodeid.partition("[")[0], ()):
            item.add_marker(pytest.mark.threat(threat))
    yield
    if hasattr(config, "workerinput"):
        _long_files_first(items)


def _long_files_first(items: list[pytest.Item]) -> None:
    """Sort for workers who take a file each: those that start processes, then those of many tests.

    At the end no worker is left with minutes of work while the others have none. Inside a file the order stays random.
    """
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.parent != ROOT / "e2e", -tests[item.path], item.path))


def _load_tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def now() -> int:
    """The time of the tests: a fixed second."""
    return NOW


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A PostgreSQL server for this run; the DSN names a superuser and the database ``postgres``."""
    with _load_tool("throwaway_postgres").throwaway_postgres() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def openbao() -> Iterator[Any]:
    """An OpenBao server for this test process (``tools/throwaway_openbao.py``); tests take mounts or keys of their own."""
    with _load_tool("throwaway_openbao").throwaway_openbao() as server:
        yield server


def _run_apart(work: Coroutine[object, object, None]) -> None:
    """Run a coroutine on a loop of its own, in a thread, since the tests' loop belongs to the tests."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def postgres_template(postgres_dsn: str) -> Iterator[str]:
    """The DSN of a migrated database that belongs to this test process alone."""
    name = f"authplane_{uuid.uuid4().hex[:12]}"
    dsn = postgres_dsn.rpartition("/")[0] + f"/{name}"

    async def administer(statement: str) -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute(statement)
        await connection.close()

    async def create() -> None:
        await administer(f"CREATE DATABASE {name}")
        await migrate_postgres(dsn, now=NOW)

    _run_apart(create())
    yield dsn
    _run_apart(administer(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate_sqlite(str(path), wal=True, now=NOW)
    return path


async def _empty(dsn: str) -> None:
    """Delete the rows of the tables that have any: a tenth of the work of truncating them all."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT relname, pg_relation_size(oid) > 262144 AS is_large FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'schema_migrations'"
        )
        is_large = {row["relname"]: row["is_large"] for row in rows}
        ask = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in is_large)
        filled = {name for (name,) in await connection.fetch(ask)}
        # Deleted rows stay in the file, where many would be read over. What refers to a table is emptied as well.
        empty = [f"TRUNCATE {name} CASCADE" for name in is_large if is_large[name]]
        empty += [f"DELETE FROM {name}" for name in filled if not is_large[name]]
        # A replica checks no reference to another table, so that the order does not matter.
        await connection.execute("; ".join(["SET session_replication_role = replica", *empty]))
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_target(request: pytest.FixtureRequest) -> str:
    """An empty, migrated database: the path of a SQLite file, or the DSN of a PostgreSQL database.

    A test that asks for it, or for ``db``, runs on both.
    """
    return str(request.getfixturevalue(f"{request.param}_target"))


@pytest.fixture
def sqlite_target(sqlite_template: Path, tmp_path: Path) -> str:
    """The path of an empty, migrated SQLite file."""
    return str(shutil.copy(sqlite_template, tmp_path / "authserver.db"))


@pytest.fixture
def postgres_target(postgres_template: str) -> str:
    """The DSN of an empty, migrated PostgreSQL database."""
    _run_apart(_empty(postgres_template))
    return postgres_template


async def open_target(target: str) -> Database:
    """Open what ``database_target`` names."""
    if "://" in target:
        return await PostgresDatabase.open(target, PoolLimits(min_conns=0, max_conns=10))
    return SqliteDatabase(target)


@pytest.fixture
async def db(database_target: str) -> AsyncIterator[Database]:
    """An empty, migrated database, on SQLite and on PostgreSQL."""
    database = await open_target(database_target)
    yield database
    await database.close()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Have the log go where it went before: commands that run in this process send it elsewhere."""
    before = vars(logs._output).copy()
    yield
    vars(logs._output).clear()
    # What a server in this process gathered, and did not write, is not for the next test.
    vars(logs._output).update(before | {"gathered": [], "gathered_bytes": 0})


@pytest.fixture
def log_lines() -> Callable[[], list[dict[str, Any]]]:
    """What was logged so far."""
    stream = io.BytesIO()
    configure_logging(stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
