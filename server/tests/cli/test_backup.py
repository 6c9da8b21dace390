"""``authserver backup``, ``restore`` and ``db copy``."""

import json
import re
import shutil
from pathlib import Path

import pytest

from authserver.storage.migrate import embedded_migrations
from server.tests.cli.terminal import Command
from server.tests.storage.every_table import ROWS, dump, fill, tables_of

SCHEMA = f"{max(migration.version for migration in embedded_migrations()):04}"


@pytest.fixture
def path(sqlite_template: Path, tmp_path: Path) -> str:
    path = str(shutil.copy(sqlite_template, tmp_path / "a.db"))
    fill(path)
    return path


@pytest.fixture
def sqlite(terminal: Command, path: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on a SQLite database with rows in every table."""
    monkeypatch.setenv("AUTHPLANE_STORAGE_SQLITE_PATH", path)
    return terminal


def test_a_backup_is_written_and_restored(sqlite: Command, path: str, tmp_path: Path) -> None:
    file, tables = tmp_path / "b.db", len(tables_of(path))
    done = sqlite("backup", str(file))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"backup written: file={file} bytes={file.stat().st_size} tables={tables} rows={tables * ROWS} schema={SCHEMA}",
        "signing keys are not in it: key_path=data/keys",
    ]
    elsewhere = str(tmp_path / "new.db")
    done = sqlite("restore", str(file), AUTHPLANE_STORAGE_SQLITE_PATH=elsewhere)
    assert (done.code, done.out, done.err) == (
        0,
        f"backup restored: path={elsewhere} tables={tables} rows={tables * ROWS} schema={SCHEMA} pending=0\n",
        "",
    )
    assert dump(elsewhere) == dump(path)


def test_all_of_it_is_told_as_json_too(sqlite: Command, path: str, tmp_path: Path, postgres_target: str) -> None:
    file, elsewhere = str(tmp_path / "b.db"), str(tmp_path / "new.db")
    contents = {"rows": dict.fromkeys(sorted(tables_of(path)), ROWS), "schema": int(SCHEMA), "pending": 0}
    told = json.loads(sqlite("backup", "--json", file).out)
    assert told == {"file": file, "bytes": Path(file).stat().st_size, "contents": contents, "key_path": "data/keys"}
    restored = sqlite("restore", "--json", file, AUTHPLANE_STORAGE_SQLITE_PATH=elsewhere)
    assert json.loads(restored.out) == {"path": elsewhere, "contents": contents}
    copied = json.loads(sqlite("db", "copy", "--json", AUTHPLANE_STORAGE_POSTGRES_DSN=postgres_target).out)
    assert {table["name"]: table["rows"] for table in copied["tables"]} == contents["rows"]


def test_what_would_be_lost_is_refused_unless_forced(sqlite: Command, path: str, tmp_path: Path) -> None:
    file = str(tmp_path / "b.db")
    assert sqlite("backup", file).code == 0
    again = sqlite("backup", file)
    assert (again.code, again.out, again.err) == (1, "", f"error: {file} exists; --force replaces it\n")
    over = sqlite("restore", file)
    assert (over.code, over.out) == (1, "")
    assert over.err == f"error: {path} is a database that is not empty; --force replaces it\n"
    assert sqlite("backup", "--force", file).code == 0
    assert sqlite("restore", "--force", file).code == 0


@pytest.mark.parametrize(("command", "tool"), [("backup", "pg_dump"), ("restore", "pg_restore")])
def test_postgresql_is_left_to_its_own_tools(terminal: Command, tmp_path: Path, command: str, tool: str) -> None:
    done = terminal(
        command,
        str(tmp_path / "b.db"),
        AUTHPLANE_STORAGE_DRIVER="postgres",
        AUTHPLANE_STORAGE_POSTGRES_DSN="postgresql://127.0.0.1:1/x",
    )
    assert (done.code, done.out) == (1, "")
    assert tool in done.err
    assert "docs/backup.md" in done.err


def test_a_sqlite_database_is_copied_and_each_table_is_told(sqlite: Command, path: str, postgres_target: str) -> None:
    done = sqlite("db", "copy", AUTHPLANE_STORAGE_POSTGRES_DSN=postgres_target)
    assert (done.code, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    told = [re.fullmatch(r"table=(\w+) rows=3 checksum=[0-9a-f]{64}", line) for line in lines]
    assert {match[1] for match in told if match} == tables_of(path)
    assert last == f"copied: tables={len(lines)} rows={len(lines) * ROWS}"
    again = sqlite("db", "copy", AUTHPLANE_STORAGE_POSTGRES_DSN=postgres_target)
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("error: the PostgreSQL database is not empty: ")


def test_the_source_can_be_named_where_the_configuration_is_the_new_one(
    terminal: Command, path: str, postgres_target: str
) -> None:
    done = terminal(
        "db",
        "copy",
        "--from",
        path,
        AUTHPLANE_STORAGE_DRIVER="postgres",
        AUTHPLANE_STORAGE_POSTGRES_DSN=postgres_target,
    )
    assert (done.code, done.err) == (0, "")


def test_a_copy_needs_both_sides(sqlite: Command, tmp_path: Path) -> None:
    done = sqlite("db", "copy")
    assert (done.code, done.err) == (1, "error: storage.postgres.dsn names no database to copy to\n")
    none = str(tmp_path / "none.db")
    done = sqlite("db", "copy", "--from", none, AUTHPLANE_STORAGE_POSTGRES_DSN="postgresql://127.0.0.1:1/x")
    assert (done.code, done.err) == (1, f"error: there is no database at {none}\n")
