import asyncio
import contextlib
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authserver.protocol.operator_errors import Conflict, Invalid
from authserver.storage.copying import Checksum, copy_database, in_order
from authserver.storage.database import StorageUnavailable
from authserver.storage.migrate import embedded_migrations, migrate_sqlite
from server.tests.storage.every_table import ROWS, dump, fill, tables_of

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> str:
    """A database with rows in every table."""
    path = str(shutil.copy(sqlite_template, tmp_path / "authserver.db"))
    fill(path)
    return path


async def copy(path: str, dsn: str) -> Any:
    return await copy_database(path, dsn, wal=True, now=NOW)


async def rows_of(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables of a PostgreSQL database, spelled as SQLite does."""
    connection = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
        return {
            row["name"]: sorted(
                (tuple(found) for found in await connection.fetch(f"SELECT * FROM {row['name']}")), key=repr
            )
            for row in names
        }
    finally:
        await connection.close()


def as_numbers(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(int(v) if isinstance(v, bool) else v for v in row) for row in rows), key=repr)


async def test_every_row_of_every_table_arrives(path: str, postgres_target: str) -> None:
    copied = await copy(path, postgres_target)
    # A table of a new migration is filled, copied and compared here without being named.
    assert {table.name for table in copied} == tables_of(path)
    assert {table.rows for table in copied} == {ROWS}
    assert all(re.fullmatch(r"[0-9a-f]{64}", table.checksum) for table in copied)
    arrived, left = await rows_of(postgres_target), dump(path)
    assert set(arrived) == set(left)
    for name in tables_of(path):
        assert as_numbers(arrived[name]) == as_numbers(left[name]), name


async def test_numbers_that_the_database_gives_go_on_behind_those_that_arrived(path: str, postgres_target: str) -> None:
    await copy(path, postgres_target)
    connection = await asyncpg.connect(postgres_target)
    try:
        identities = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE is_identity = 'YES' AND table_schema = 'public'"
        )
        assert "refusal_traces" in {row["table_name"] for row in identities}
        for table, column in identities:
            highest = await connection.fetchval(f"SELECT max({column}) FROM {table}")
            following = await connection.fetchval(f"SELECT nextval(pg_get_serial_sequence('{table}', '{column}'))")
            assert following == highest + 1
    finally:
        await connection.close()


async def test_triggers_leave_the_copy_alone_and_go_on_after_it(path: str, postgres_target: str) -> None:
    await copy(path, postgres_target)
    connection = await asyncpg.connect(postgres_target)
    try:
        with contextlib.closing(sqlite3.connect(path)) as source:
            for table in ("clients", "users"):
                revisions = f"SELECT id, revision FROM {table} ORDER BY id"
                arrived = [tuple(row) for row in await connection.fetch(revisions)]
                assert sorted(arrived) == sorted(source.execute(revisions))
                await connection.execute(f"UPDATE {table} SET name = 'another'")
                assert not {row["revision"] for row in await connection.fetch(revisions)} & {one for _, one in arrived}
    finally:
        await connection.close()


async def test_a_copied_database_is_not_copied_into_again(path: str, postgres_target: str) -> None:
    await copy(path, postgres_target)
    before = await rows_of(postgres_target)
    with pytest.raises(Conflict, match="not empty"):
        await copy(path, postgres_target)
    assert await rows_of(postgres_target) == before


@pytest.mark.parametrize("table", ["users", "changes", "refusal_traces"])
async def test_one_row_anywhere_is_not_empty(path: str, postgres_target: str, table: str) -> None:
    await copy(path, postgres_target)
    connection = await asyncpg.connect(postgres_target)
    try:
        names = [name for name in await rows_of(postgres_target) if name not in {"schema_migrations", table}]
        await connection.execute("SET session_replication_role = replica")
        for name in names:
            await connection.execute(f"DELETE FROM {name}")
    finally:
        await connection.close()
    with pytest.raises(Conflict, match=f"not empty: {table}"):
        await copy(path, postgres_target)


async def test_an_empty_database_without_a_schema_gets_one(path: str, postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("DROP DATABASE IF EXISTS copied_into")
    await connection.execute("CREATE DATABASE copied_into")
    try:
        copied = await copy(path, postgres_dsn.rpartition("/")[0] + "/copied_into")
        assert {table.rows for table in copied} == {ROWS}
    finally:
        await connection.execute("DROP DATABASE copied_into WITH (FORCE)")
        await connection.close()


async def test_a_server_that_writes_meanwhile_stops_the_copy(path: str, postgres_target: str) -> None:
    blocker = await asyncpg.connect(postgres_target)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            copying = asyncio.create_task(copy(path, postgres_target))
            async with asyncio.timeout(20):
                while not await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    assert not copying.done()
                    await asyncio.sleep(0.01)
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("DELETE FROM refusal_traces")
                connection.commit()
        with pytest.raises(Conflict, match="wrote to the SQLite database meanwhile"):
            await copying
    finally:
        await blocker.close()
    assert [name for name, rows in (await rows_of(postgres_target)).items() if rows] == ["schema_migrations"]


async def test_a_row_that_postgresql_does_not_take_leaves_nothing_behind(path: str, postgres_target: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE users SET name = 'a' || char(0) || 'b' WHERE id = (SELECT min(id) FROM users)")
        connection.commit()
    with pytest.raises(Invalid, match="cannot be stored"):
        await copy(path, postgres_target)
    assert [name for name, rows in (await rows_of(postgres_target)).items() if rows] == ["schema_migrations"]


async def test_a_table_of_one_side_alone_is_not_forgotten(path: str, postgres_target: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE extra (id TEXT)")
    with pytest.raises(Invalid, match="only one of the two databases has extra"):
        await copy(path, postgres_target)


async def test_a_source_that_is_not_ready_is_refused(tmp_path: Path, postgres_target: str) -> None:
    with pytest.raises(Invalid, match="there is no database at"):
        await copy(str(tmp_path / "none.db"), postgres_target)
    old = str(tmp_path / "old.db")
    migrate_sqlite(old, wal=True, now=1, migrations=embedded_migrations()[:-1])
    with pytest.raises(Invalid, match="lacks 1 migrations"):
        await copy(old, postgres_target)
    (tmp_path / "text").write_text("no database, but long enough to be looked into" * 100)
    with pytest.raises((Invalid, StorageUnavailable), match="database"):
        await copy(str(tmp_path / "text"), postgres_target)


async def test_a_server_that_is_not_there_is_said_to_be(path: str) -> None:
    with pytest.raises(StorageUnavailable):
        await copy(path, "postgresql://nobody@127.0.0.1:1/nothing")


def test_a_checksum_tells_rows_apart_and_not_their_order() -> None:
    def of(*rows: tuple[object, ...]) -> tuple[int, str]:
        checksum = Checksum()
        checksum.add_all(rows)
        return checksum.rows, checksum.spelled

    assert of((1, "a"), (2, "b")) == of((2, "b"), (1, "a"))
    different = [
        of((1, "a"), (2, "b")),
        of((1, "b"), (2, "a")),
        of((1, "a"), (1, "a")),
        of(("1", "a"), (2, "b")),
        of((None, "a"), (2, "b")),
        of(("", "a"), (2, "b")),
        of((True, "a"), (2, "b")),
        of((1, b"a"), (2, "b")),
        of((1, "ab"), (2, "")),
    ]
    assert len(set(different)) == len(different)


def test_tables_come_after_those_that_they_refer_to() -> None:
    references = [("c", "b"), ("b", "a"), ("b", "b")]
    assert in_order(["c", "b", "a", "d"], references) == ["a", "d", "b", "c"]
    with pytest.raises(ValueError, match="refer to one another"):
        in_order(["a", "b"], [("a", "b"), ("b", "a")])
