import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command

SECONDS = 60


def completed(place: Path, *words: str) -> list[str]:
    """Return what a real bash offers for the last word."""
    program = place / "bin" / "authserver"
    if not program.exists():
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m authserver "$@"\n')
        program.chmod(0o755)
    line = " ".join(("authserver", *words))
    script = f"""
    PATH={program.parent}:$PATH
    eval "$(authserver completion bash)"
    function=$(complete -p authserver | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
    COMP_LINE='{line}'
    COMP_POINT=${{#COMP_LINE}}
    COMP_WORDS=(authserver {" ".join(f"'{word}'" for word in words)})
    COMP_CWORD={len(words)}
    COMPREPLY=()
    $function authserver '{words[-1]}' '{(("authserver", *words))[-2]}' 2>/dev/null
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=place, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout.split()


def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    assert completed(tmp_path, "se") == ["serve"]
    assert completed(tmp_path, "admin", "resou") == ["resource"]
    assert {"create", "update", "delete", "rotate-secret", "list"} <= set(completed(tmp_path, "admin", "client", ""))
    assert completed(tmp_path, "purge", "--ret") == ["--retention"]
    assert completed(tmp_path, "init", "--database", "") == ["sqlite", "postgres"]
    assert completed(tmp_path, "completion", "f") == ["fish"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(terminal: Command, shell: str) -> None:
    done = terminal("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_AUTHSERVER_COMPLETE={shell}_complete" in done.out
    program = shutil.which(shell)
    if program is not None:
        checked = subprocess.run(
            [program, "-n"], input=done.out, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_refused_in_one_line(terminal: Command) -> None:
    done = terminal("completion", "tcsh")
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1


def test_a_shell_must_be_named(terminal: Command) -> None:
    done = terminal("completion")
    assert (done.code, done.out) == (1, "")
