"""No table of what expires is forgotten: one of a new migration is found here without being named."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from authserver.maintenance.purge import Target, purge
from authserver.storage.sqlite import SqliteDatabase
from server.tests.storage.every_table import fill, tables_of

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
KEPT = {
    "leases": "one row for each thing that one process does",
    "operators": "a name is never given twice, so that audit rows go on naming their actor",
}


def with_column(connection: sqlite3.Connection, path: str, column: str) -> set[str]:
    return {
        table
        for table in tables_of(path)
        if column in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    }


async def test_whatever_expires_has_a_target(sqlite_template: Path, tmp_path: Path) -> None:
    path = str(shutil.copy(sqlite_template, tmp_path / "full.db"))
    fill(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        expiring = with_column(connection, path, "expires_at") - set(KEPT)
        for table in with_column(connection, path, "kind"):
            connection.execute(f"UPDATE {table} SET kind = 'user'")
        connection.commit()
        expired = {table: f"SELECT count(*) FROM {table} WHERE expires_at < {NOW}" for table in expiring}
        assert all(connection.execute(count).fetchone()[0] for count in expired.values())
    db = SqliteDatabase(path)
    try:
        for target in set(Target) - {Target.AUDIT_EVENTS}:
            await purge(db, target, now=NOW, retention=0)
        left = {table: (await db.fetch_all(count))[0][0:1] for table, count in expired.items()}
    finally:
        await db.close()
    assert {table: number for table, (number,) in left.items() if number} == {}
