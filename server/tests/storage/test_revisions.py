"""A row's revision stands for what the row says, whoever writes it and however (decision 0035)."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authserver.storage.migrate import embedded_migrations, migrate_postgres, migrate_sqlite
from authserver.storage.revisions import KeptRecords
from server.tests.storage.every_table import fill

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
BEFORE = [migration for migration in embedded_migrations() if migration.version < 15]
TABLES = ("clients", "users")
VALUES: dict[str, Any] = {"TEXT": "another", "text": "another", "BIGINT": 4711, "bigint": 4711}
BOOLEAN = "(1 = 1)"


class Outsider:
    """Whoever has the database open and knows nothing of this program."""

    def __init__(self, target: str) -> None:
        self.target = target

    async def run(self, sql: str) -> None:
        if "://" in self.target:
            connection = await asyncpg.connect(self.target)
            try:
                await connection.execute(sql)
            finally:
                await connection.close()
            return
        with contextlib.closing(sqlite3.connect(self.target)) as opened, opened:
            opened.executescript(sql)

    async def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        if "://" in self.target:
            connection = await asyncpg.connect(self.target)
            try:
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()
        with contextlib.closing(sqlite3.connect(self.target)) as opened:
            return [tuple(row) for row in opened.execute(sql)]

    async def columns_of(self, table: str) -> list[tuple[str, str]]:
        if "://" in self.target:
            return [
                (name, kind)
                for name, kind in await self.fetch(
                    f"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{table}'"
                )
            ]
        return [(row[1], row[2]) for row in await self.fetch(f"PRAGMA table_info({table})")]

    async def revisions(self, table: str) -> list[int]:
        return [row[0] for row in await self.fetch(f"SELECT revision FROM {table} ORDER BY id")]


CLIENT = """INSERT INTO clients (id, name, redirect_uris, grant_types, response_types, token_endpoint_auth_method, status,
    registration_source, issued_at, updated_at) VALUES ('row', 'x', '[]', '[]', '[]', 'none', 'active', 'admin', 1, 1)"""
USER = "INSERT INTO users (id, created_at, updated_at) VALUES ('row', 1, 1)"
INSERTS = {"clients": CLIENT, "users": USER}


@pytest.fixture
async def outsider(database_target: str) -> Outsider:
    """Somebody at a database with one client and one user."""
    someone = Outsider(database_target)
    await someone.run(f"{CLIENT}; {USER};")
    return someone


@pytest.mark.parametrize("table", TABLES)
async def test_a_change_of_any_column_gives_another_revision(outsider: Outsider, table: str) -> None:
    seen = await outsider.revisions(table)
    columns = await outsider.columns_of(table)
    assert len(columns) > 12
    for name, kind in sorted(columns, key=lambda column: column[0] == "id"):
        if name != "revision":
            value = VALUES.get(kind, BOOLEAN)
            spelled = f"'{value}'" if value == "another" else value
            await outsider.run(f"UPDATE {table} SET {name} = {spelled}")
            seen += await outsider.revisions(table)
    assert len(seen) == len(set(seen)) == len(columns)


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_is_written_as_it_is_gets_another_revision_too(outsider: Outsider, table: str) -> None:
    (before,) = await outsider.revisions(table)
    # As a tool does that writes all columns of a row back.
    await outsider.run(f"UPDATE {table} SET updated_at = updated_at, revision = revision")
    assert await outsider.revisions(table) != [before]


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_is_made_again_has_another_revision_whatever_it_says(outsider: Outsider, table: str) -> None:
    seen = await outsider.revisions(table)
    await outsider.run(f"DELETE FROM {table}; {INSERTS[table]};")
    seen += await outsider.revisions(table)
    # Saved, deleted, and put back with the revision that it had.
    await outsider.run(f"CREATE TABLE saved AS SELECT * FROM {table}; DELETE FROM {table};")
    try:
        names = ", ".join(name for name, _ in await outsider.columns_of(table))
        await outsider.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM saved;")
    finally:
        await outsider.run("DROP TABLE saved;")
    seen += await outsider.revisions(table)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("table", TABLES)
async def test_an_insert_that_becomes_an_update_gives_another_revision(outsider: Outsider, table: str) -> None:
    (before,) = await outsider.revisions(table)
    await outsider.run(f"{INSERTS[table]} ON CONFLICT (id) DO UPDATE SET name = 'another'")
    assert await outsider.revisions(table) != [before]


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
def test_a_row_of_sqlite_is_replaced_and_changed_however_its_triggers_are_set(
    sqlite_target: str, recursive: str
) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_target, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA recursive_triggers = {recursive}")
        assert connection.execute(CLIENT).rowcount == 1
        assert connection.execute(CLIENT.replace("INSERT", "INSERT OR REPLACE")).rowcount == 1
        before = connection.execute("SELECT revision FROM clients").fetchone()
        # What the trigger does counts as nothing: a conditional update is told by the number of its rows.
        assert connection.execute("UPDATE clients SET status = 'suspended' WHERE status = 'active'").rowcount == 1
        assert connection.execute("UPDATE clients SET status = 'suspended' WHERE status = 'active'").rowcount == 0
        assert connection.execute("SELECT revision FROM clients").fetchone() != before


def test_processes_do_not_give_the_same_revisions(sqlite_target: str) -> None:
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "[c.execute(\"UPDATE users SET name = 'x'\") and print(*c.execute('SELECT revision FROM users').fetchone())"
        " for _ in range(20)]"
    )
    with contextlib.closing(sqlite3.connect(sqlite_target)) as connection, connection:
        connection.execute(USER)
    given = [
        subprocess.run([sys.executable, "-c", code, sqlite_target], check=True, capture_output=True, timeout=60).stdout
        for _ in range(2)
    ]
    revisions = b"".join(given).split()
    assert len(revisions) == len(set(revisions)) == 40


async def test_rows_of_an_earlier_version_get_revisions(tmp_path: Path, postgres_dsn: str) -> None:
    path = str(tmp_path / "old.db")
    migrate_sqlite(path, wal=True, now=1, migrations=BEFORE)
    fill(path)
    migrate_sqlite(path, wal=True, now=2)
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute("DROP DATABASE IF EXISTS without_revisions")
    await admin.execute("CREATE DATABASE without_revisions")
    dsn = postgres_dsn.rpartition("/")[0] + "/without_revisions"
    try:
        await migrate_postgres(dsn, now=1, migrations=BEFORE)
        for number in range(3):
            await Outsider(dsn).run("; ".join(INSERTS.values()).replace("'row'", f"'{number}'"))
        await migrate_postgres(dsn, now=2)
        for outsider in (Outsider(path), Outsider(dsn)):
            for table in TABLES:
                revisions = await outsider.revisions(table)
                assert len(set(revisions) - {0}) == 3
    finally:
        await admin.execute("DROP DATABASE without_revisions WITH (FORCE)")
        await admin.close()


def test_a_record_is_found_under_its_revision_alone() -> None:
    kept = KeptRecords[str](2)
    kept.put("a", 1, "one")
    assert (kept.get("a", 1), kept.get("a", 2), kept.get("b", 1)) == ("one", None, None)
    kept.put("a", 2, "two")
    assert (kept.get("a", 1), kept.get("a", 2)) == (None, "two")


def test_no_more_records_are_kept_than_the_limit_says() -> None:
    kept = KeptRecords[int](3)
    for number in range(10):
        kept.put(str(number), 0, number)
        kept.put("again", number, number)
    assert [number for number in range(10) if kept.get(str(number), 0) is not None] == [8, 9]
    assert kept.get("again", 9) == 9


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_two_threads_may_keep_records() -> None:
    """A unit of work on SQLite runs in the committing thread when the loop has no time for it."""
    kept = KeptRecords[int](4)

    def put(thread: int) -> None:
        for number in range(20_000):
            kept.put(f"{thread} {number}", number, number)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(put, range(2))) == [None, None]
