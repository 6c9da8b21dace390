"""Migrations: once each, by whoever comes first, and never another file than the one that was applied."""

import dataclasses
import multiprocessing
from pathlib import Path

import asyncpg
import pytest

from authserver.storage.migrate import (
    Migration,
    MigrationError,
    embedded_migrations,
    migrate_postgres,
    migrate_sqlite,
    pending,
)
from authserver.storage.sqlite_connections import connect

pytestmark = pytest.mark.anyio


def _migration(version: int, text: str) -> Migration:
    return Migration(version=version, file=f"{version:04}_x.sql", text=text, checksum=f"sum{version}")


def _migrate_sqlite(path: str) -> None:
    migrate_sqlite(path, wal=True, now=1)


def test_no_two_files_have_the_same_number() -> None:
    versions = [migration.version for migration in embedded_migrations()]
    assert versions == sorted(set(versions))


def test_applying_twice_applies_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    assert migrate_sqlite(path, wal=True, now=1) == embedded_migrations()
    assert migrate_sqlite(path, wal=True, now=2) == []


def test_a_gap_below_the_highest_version_is_filled(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    one, two, three = (_migration(n, f"CREATE TABLE t{n} (x BIGINT)") for n in (1, 2, 3))
    migrate_sqlite(path, wal=True, now=1, migrations=[one, three])
    assert migrate_sqlite(path, wal=True, now=1, migrations=[one, two, three]) == [two]


def test_another_file_under_an_applied_number_is_refused() -> None:
    one = _migration(1, "SELECT 1")
    with pytest.raises(MigrationError, match="0001_x"):
        pending([one], {1: "other"})


def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    bad = _migration(1, "CREATE TABLE kept (x BIGINT); CREATE TABLE kept (x BIGINT)")
    with pytest.raises(MigrationError):
        migrate_sqlite(path, wal=True, now=1, migrations=[bad])
    tables = connect(path, wal=True).execute("SELECT name FROM sqlite_master").fetchall()
    assert list(tables) == []


def test_two_processes_at_once_migrate_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_migrate_sqlite, args=(path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    rows = connect(path, wal=True).execute("SELECT version FROM schema_migrations").fetchall()
    assert len(rows) == len(embedded_migrations())


async def test_two_callers_at_once_migrate_postgres_once(postgres_dsn: str) -> None:
    import asyncio  # noqa: PLC0415

    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute("CREATE DATABASE migrated_twice")
    dsn = postgres_dsn.rpartition("/")[0] + "/migrated_twice"
    try:
        applied = await asyncio.gather(*(migrate_postgres(dsn, now=1) for _ in range(3)))
        assert sorted(len(each) for each in applied) == [0, 0, len(embedded_migrations())]
        changed = [dataclasses.replace(migration, checksum="other") for migration in embedded_migrations()]
        with pytest.raises(MigrationError):
            await migrate_postgres(dsn, now=1, migrations=changed)
        bad = [*embedded_migrations(), _migration(9999, "CREATE TABLE kept (x BIGINT); SELECT nonsense")]
        with pytest.raises(MigrationError):
            await migrate_postgres(dsn, now=1, migrations=bad)
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT to_regclass('kept')") is None
        await connection.close()
    finally:
        await admin.execute("DROP DATABASE migrated_twice WITH (FORCE)")
        await admin.close()
