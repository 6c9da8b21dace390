"""What docs/backup.md says about PostgreSQL works as it stands there, with PostgreSQL's own tools."""

import os
import shutil
import subprocess
from pathlib import Path

import asyncpg
import pytest

from authserver.storage.copying import Checksum, copy_database
from server.tests.conftest import ROOT
from server.tests.storage.every_table import ROWS, fill, tables_of
from throwaway_postgres import binaries

pytestmark = pytest.mark.anyio


def documented(tool: str) -> str:
    """Return the line of the page that calls a tool, of the procedure of PostgreSQL."""
    page = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8").partition("## PostgreSQL")[2]
    return next(line.removeprefix("$ ") for line in page.splitlines() if line.startswith(f"$ {tool} "))


def run(line: str, directory: Path, environment: dict[str, str]) -> None:
    subprocess.run(["sh", "-ec", line], check=True, cwd=directory, env=environment, timeout=60)


async def contents_of(dsn: str) -> dict[str, tuple[int, str]]:
    connection = await asyncpg.connect(dsn)
    try:
        found = {}
        for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            checksum = Checksum()
            checksum.add_all(tuple(values) for values in await connection.fetch(f"SELECT * FROM {row['tablename']}"))
            found[row["tablename"]] = (checksum.rows, checksum.spelled)
        return found
    finally:
        await connection.close()


async def test_a_dump_restores_every_row_of_every_table(
    sqlite_template: Path, tmp_path: Path, postgres_target: str, postgres_dsn: str
) -> None:
    path = str(shutil.copy(sqlite_template, tmp_path / "authserver.db"))
    fill(path)
    await copy_database(path, postgres_target, wal=True, now=1)
    restored = postgres_dsn.rpartition("/")[0] + "/authserver_restored"
    environment = os.environ | {
        "PATH": f"{binaries()}{os.pathsep}{os.environ['PATH']}",
        "DSN": postgres_target,
        "ADMIN_DSN": postgres_dsn,
        "RESTORED_DSN": restored,
    }
    administering = await asyncpg.connect(postgres_dsn)
    await administering.execute("DROP DATABASE IF EXISTS authserver_restored")
    try:
        for tool in ("pg_dump", "createdb", "pg_restore", "psql"):
            run(documented(tool), tmp_path, environment)
        before, after = await contents_of(postgres_target), await contents_of(restored)
    finally:
        await administering.execute("DROP DATABASE IF EXISTS authserver_restored WITH (FORCE)")
        await administering.close()
    assert after == before
    assert {name: rows for name, (rows, _) in after.items() if name != "schema_migrations"} == dict.fromkeys(
        tables_of(path), ROWS
    )
