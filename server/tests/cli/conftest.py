"""An operator at a terminal: commands in this process, on both databases."""

import io
import os
import sys
from pathlib import Path

import pytest

from authserver.cli.main import run
from server.tests.cli.terminal import Command, Done


@pytest.fixture
def environment(database_target: str, tmp_path: Path) -> dict[str, str]:
    """What configures the product: a migrated database and a place for keys."""
    database = (
        {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": database_target}
        if "://" in database_target
        else {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": database_target}
    )
    return {**database, "AUTHPLANE_SIGNING_KEY_PATH": str(tmp_path / "keys")}


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, in an empty directory, with nothing that configures it."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("AUTHPLANE_", "AUTHSERVER_")):
            monkeypatch.delenv(name)

    def command(*arguments: str, stdin: str = "", **environment: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in environment.items():
                patch.setenv(name, value)
            code = run(list(arguments))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return command


@pytest.fixture
def command(terminal: Command, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, on both databases."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return terminal
