import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from authserver.cli.main import run
from authserver.cli.tree import cli
from server.tests.cli.terminal import Command


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False)


def every_command(group: click.Group, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Return all commands and groups by the words that call them."""
    found: dict[tuple[str, ...], click.Command] = {words: group}
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        found |= (
            every_command(command, (*words, name)) if isinstance(command, click.Group) else {(*words, name): command}
        )
    return found


EVERY_COMMAND = every_command(cli)
GROUPS = [(), ("admin",), ("config",), ("admin", "resource", "runtime-client")]


def test_version_is_one_line() -> None:
    done = python("-m", "authserver", "version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"authserver {version('authplane-server')}\n", "")


def test_version_is_the_same_with_flags(terminal: Command) -> None:
    assert terminal("--config", "nowhere.yaml", "version").out == terminal("version").out


def test_version_waits_for_no_library() -> None:
    program = (
        "import sys; from authserver.cli.main import run; run(['version']); print(sorted(set(sys.modules)"
        " & {'click', 'uvicorn', 'asyncpg', 'cryptography', 'authserver.core', 'authserver.app', 'asyncio', 'yaml'}))"
    )
    assert python("-c", program).stdout.splitlines()[-1] == "[]"


def test_the_entry_does_not_import_the_server() -> None:
    program = "import sys, authserver.cli.tree; print('authserver.app' in sys.modules)"
    assert python("-c", program).stdout == "False\n"


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_a_bare_group_prints_its_help(terminal: Command, words: tuple[str, ...]) -> None:
    done = terminal(*words)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {' '.join(('authserver', *words))} ")
    assert "Commands:" in done.out


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_every_command_has_help_and_takes_the_configuration(
    terminal: Command, words: tuple[str, ...], flag: str
) -> None:
    done = terminal(*words, flag)
    assert (done.code, done.err) == (0, "")
    assert "--config PATH" in done.out
    assert done.out.count("--config PATH") == 1


def test_every_flag_is_explained() -> None:
    options = [
        option
        for command in EVERY_COMMAND.values()
        for option in command.params
        if not isinstance(option, click.Argument)
    ]
    assert [
        option.opts for option in options if not (isinstance(option, click.Option) and (option.help or option.hidden))
    ] == []


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("admin", "nothing"),
        ("admin", "client", "nothing"),
        ("serve", "nothing"),
        ("migrate", "--nothing"),
        ("admin", "user", "list", "--nothing"),
        ("admin", "client", "list", "--limit"),
        ("admin", "client", "list", "--limit", "few"),
        ("--nothing",),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_and_1(terminal: Command, words: tuple[str, ...]) -> None:
    done = terminal(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "Usage" not in done.err


BOOLEAN = [
    (words, option.opts[0])
    for words, command in EVERY_COMMAND.items()
    for option in command.params
    if isinstance(option, click.Option) and option.is_flag
]


def test_every_boolean_flag_is_written_bare_or_with_its_value(terminal: Command) -> None:
    assert len(BOOLEAN) > 30
    for words, flag in BOOLEAN:
        for written in (flag, f"{flag}=true", f"{flag}=false"):
            done = terminal(*words, written, "--help")
            assert (done.code, done.err) == (0, ""), (words, written)
        done = terminal(*words, f"{flag}=maybe", "--help")
        assert (done.code, done.err) == (1, f"error: {flag} is true or false, not 'maybe'\n")


def test_a_boolean_flag_takes_no_word_behind_it(terminal: Command, tmp_path: Path) -> None:
    terminal("migrate")
    assert terminal("backup", "--force", "copy.db").code == 0
    refused = terminal("backup", "--force=true", "--force=false", "copy.db")
    assert (refused.code, refused.out) == (1, "")
    assert terminal("backup", "copy.db", "--force=true").code == 0
    assert terminal("backup", "--", "--force=true").code == 0
    assert (tmp_path / "--force=true").exists()


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_the_configuration_may_be_named_anywhere(terminal: Command, tmp_path: Path, place: int) -> None:
    path = tmp_path / "authserver.yaml"
    path.write_text(f"dcr: {{mode: admin_only}}\nstorage: {{sqlite: {{path: '{tmp_path}/named.db'}}}}\n")
    words = ["admin", "dcr", "get"]
    words[place:place] = ["--config", str(path)]
    done = terminal(*words)
    assert (done.code, done.out) == (0, "DCR mode: admin_only\n")


def test_a_configuration_that_is_not_there_is_none(terminal: Command, tmp_path: Path) -> None:
    assert terminal("admin", "dcr", "get", "--config", str(tmp_path / "none.yaml")).out == "DCR mode: open\n"


def test_a_refused_configuration_is_explained_without_a_traceback(terminal: Command) -> None:
    done = terminal("admin", "user", "list", AUTHPLANE_SERVER_ISSUER="https://auth.example.com")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: invalid configuration: configuration validation failed:\n  1. ")
    assert "session.secret is required" in done.err


def test_a_database_that_cannot_be_opened_is_explained(terminal: Command, tmp_path: Path) -> None:
    done = terminal("admin", "user", "list", AUTHPLANE_STORAGE_SQLITE_PATH=str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: cannot open the SQLite database: ")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **settings: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(ZeroDivisionError):
        run(["admin"])
