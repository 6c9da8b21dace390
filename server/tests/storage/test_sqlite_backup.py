import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from authserver.protocol.operator_errors import Conflict, Invalid
from authserver.storage.database import StorageUnavailable, Writer
from authserver.storage.migrate import embedded_migrations, migrate_sqlite
from authserver.storage.sqlite import SqliteDatabase
from authserver.storage.sqlite_backup import Contents, back_up, restore
from server.tests.storage.every_table import ROWS, dump, fill, tables_of

HEAD = max(migration.version for migration in embedded_migrations())


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> str:
    """A database with rows in every table."""
    path = str(shutil.copy(sqlite_template, tmp_path / "authserver.db"))
    fill(path)
    return path


@pytest.fixture
def backup(path: str, tmp_path: Path) -> str:
    file = str(tmp_path / "backup.db")
    back_up(path, file, wal=True, force=False)
    return file


def put_back(file: str, path: str, *, force: bool = False) -> Contents:
    return restore(file, path, wal=True, force=force)


def execute(path: str, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def damage(path: str) -> None:
    """Overwrite pages in the middle."""
    execute(path, "PRAGMA journal_mode = DELETE")
    with Path(path).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 16384)


def test_a_backup_and_its_restore_hold_every_row_of_every_table(path: str, tmp_path: Path) -> None:
    file, elsewhere = str(tmp_path / "backup.db"), str(tmp_path / "new" / "authserver.db")
    made = back_up(path, file, wal=True, force=False)
    assert made == Contents(rows=dict.fromkeys(sorted(tables_of(path)), ROWS), schema=HEAD, pending=0)
    assert put_back(file, elsewhere) == made
    assert dump(path) == dump(file) == dump(elsewhere)


def test_a_backup_is_one_private_file(path: str, tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    back_up(path, str(directory / "b.db"), wal=True, force=False)
    assert [entry.name for entry in directory.iterdir()] == ["b.db"]
    assert stat.S_IMODE((directory / "b.db").stat().st_mode) == 0o600
    dump(str(directory / "b.db"))
    assert [entry.name for entry in directory.iterdir()] == ["b.db"]


@pytest.mark.anyio
async def test_a_backup_is_of_one_moment_while_the_server_writes(sqlite_template: Path, tmp_path: Path) -> None:
    path = str(shutil.copy(sqlite_template, tmp_path / "busy.db"))
    db = SqliteDatabase(path)
    progress = asyncio.Event()
    stop = False
    written = 0

    async def both(tx: Writer) -> None:
        key = f"{written}"
        await tx.execute("INSERT INTO dpop_jtis (jkt, jti, expires_at) VALUES ('k', $1, 1)", key)
        await tx.execute("INSERT INTO assertion_jtis (issuer, jti, expires_at) VALUES ('i', $1, 1)", key)

    async def keep_writing() -> None:
        nonlocal written
        while not stop:
            await db.write(both)
            written += 1
            progress.set()

    writing = asyncio.create_task(keep_writing())
    try:
        counts = []
        for number in range(5):
            before = written
            file = str(tmp_path / f"{number}.db")
            contents = await asyncio.to_thread(back_up, path, file, wal=True, force=False)
            assert before <= contents.rows["dpop_jtis"] == contents.rows["assertion_jtis"] <= written + 1
            counts.append(contents.rows["dpop_jtis"])
            async with asyncio.timeout(60):
                for _ in range(20):
                    progress.clear()
                    await progress.wait()
        assert counts == sorted(set(counts))
    finally:
        stop = True
        await writing
        await db.close()


def test_a_backup_replaces_a_file_only_when_it_is_forced_and_never_the_database(path: str, tmp_path: Path) -> None:
    file = tmp_path / "there"
    file.write_text("something else")
    with pytest.raises(Conflict, match="--force replaces it"):
        back_up(path, str(file), wal=True, force=False)
    assert file.read_text() == "something else"
    os.link(path, tmp_path / "same")
    for itself in (path, str(tmp_path / "same")):
        with pytest.raises(Invalid, match="the database itself"):
            back_up(path, itself, wal=True, force=True)
    back_up(path, str(file), wal=True, force=True)
    assert dump(str(file)) == dump(path)


def test_no_database_is_made_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is no database at"):
        back_up(str(tmp_path / "none.db"), str(tmp_path / "b.db"), wal=True, force=False)
    with pytest.raises(Invalid, match="keeps nothing"):
        back_up(":memory:", str(tmp_path / "b.db"), wal=True, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_makes_no_backup(path: str, tmp_path: Path) -> None:
    damage(path)
    with pytest.raises(Invalid, match="damaged"):
        back_up(path, str(tmp_path / "b.db"), wal=True, force=False)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(("b.db", "partial"))] == []


def test_a_backup_into_nowhere_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable):
        back_up(path, str(tmp_path / "file" / "b.db"), wal=True, force=False)


def test_an_empty_database_is_replaced_and_another_only_when_forced(
    path: str, backup: str, sqlite_template: Path, tmp_path: Path
) -> None:
    empty = str(shutil.copy(sqlite_template, tmp_path / "empty.db"))
    put_back(backup, empty)
    assert dump(empty) == dump(backup)
    execute(path, "DELETE FROM refusal_traces")
    changed = dump(path)
    with pytest.raises(Conflict, match="not empty; --force replaces it"):
        put_back(backup, path)
    assert dump(path) == changed
    put_back(backup, path, force=True)
    assert dump(path) == dump(backup) != changed


@pytest.mark.anyio
async def test_a_database_in_use_is_not_replaced_even_when_forced(path: str, backup: str) -> None:
    db = SqliteDatabase(path)
    try:
        with pytest.raises(Conflict, match="in use: stop the server first"):
            put_back(backup, path, force=True)
        await db.ping()
        assert await db.fetch_one("SELECT 1 FROM users") is not None
    finally:
        await db.close()
    put_back(backup, path, force=True)


def test_a_damaged_database_is_replaced_only_when_forced(path: str, backup: str) -> None:
    Path(path).write_bytes(b"no database at all" * 1000)
    with pytest.raises(Conflict, match="a damaged database; --force replaces it"):
        put_back(backup, path)
    put_back(backup, path, force=True)
    assert dump(path) == dump(backup)


def test_a_damaged_backup_is_refused_and_the_database_stays(path: str, backup: str) -> None:
    before = dump(path)
    damage(backup)
    with pytest.raises(Invalid, match="damaged"):
        put_back(backup, path, force=True)
    assert dump(path) == before


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DROP TABLE schema_migrations", "is no database of authserver"),
        ("INSERT INTO schema_migrations VALUES (9999, '9999_x.sql', 'c', 1)", "does not know migration 9999"),
        ("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1", "belongs to another build"),
        ("INSERT INTO subject_mappings VALUES ('m', 'nobody', 's', NULL, 1)", "refers to nothing"),
    ],
)
def test_what_is_no_backup_of_this_program_is_refused(
    path: str, backup: str, tmp_path: Path, statement: str, sentence: str
) -> None:
    execute(backup, statement)
    kept = Path(backup).read_bytes()
    with pytest.raises(Exception, match=sentence):
        put_back(backup, str(tmp_path / "new.db"))
    assert not (tmp_path / "new.db").exists()
    assert Path(backup).read_bytes() == kept


def test_other_files_are_no_backups(path: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be looked into" * 100)
    with pytest.raises(Invalid, match="no SQLite database"):
        put_back(str(tmp_path / "text"), path, force=True)
    with pytest.raises(Invalid, match="there is no file"):
        put_back(str(tmp_path / "none"), path, force=True)
    with pytest.raises(Invalid, match="the database itself"):
        put_back(path, path, force=True)
    with pytest.raises(Invalid, match="keeps nothing"):
        put_back(str(tmp_path / "text"), ":memory:", force=True)


def test_a_backup_of_an_older_version_is_restored_and_says_what_it_lacks(tmp_path: Path) -> None:
    old, file, path = (str(tmp_path / name) for name in ("old.db", "b.db", "new.db"))
    migrate_sqlite(old, wal=True, now=1, migrations=embedded_migrations()[:2])
    back_up(old, file, wal=True, force=False)
    restored = put_back(file, path)
    assert (restored.schema, restored.pending) == (2, len(embedded_migrations()) - 2)
    assert len(migrate_sqlite(path, wal=True, now=2)) == restored.pending


def test_without_a_write_ahead_log_it_works_alike(path: str, tmp_path: Path) -> None:
    execute(path, "PRAGMA journal_mode = DELETE")
    file, elsewhere = str(tmp_path / "b.db"), str(tmp_path / "new.db")
    back_up(path, file, wal=False, force=False)
    restore(file, elsewhere, wal=False, force=False)
    assert dump(elsewhere) == dump(path)


def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one(
    path: str, backup: str, tmp_path: Path
) -> None:
    # Large enough that the file is written in many steps.
    execute(
        path,
        "PRAGMA journal_mode = DELETE",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " INSERT INTO dpop_jtis SELECT 'k', hex(randomblob(64)) || i, 1 FROM n",
    )
    large = str(tmp_path / "large.db")
    back_up(path, large, wal=True, force=False)
    outcomes = {len(dump(file)["dpop_jtis"]): dump(file) for file in (backup, large)}
    program = (
        "import sys; from authserver.storage.sqlite_backup import restore;"
        " restore(sys.argv[1], sys.argv[2], wal=True, force=True)"
    )
    journal = Path(f"{path}-journal")
    for file in (large, backup) * 2:
        with subprocess.Popen([sys.executable, "-c", program, file, path]) as process:
            while process.poll() is None and not journal.exists():
                time.sleep(0.001)
            process.kill()
            process.wait(20)
        found = dump(path)
        assert found == outcomes[len(found["dpop_jtis"])]
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
