import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from server.tests.cli.terminal import Command, Done
from server.tests.cli.test_serve import SECONDS, free_port

SECRETS = ("AUTHPLANE_SESSION_SECRET", "AUTHPLANE_ADMIN_API_KEY", "AUTHPLANE_CLIENT_SECRET_PEPPER")


def variables(directory: Path) -> dict[str, str]:
    """Return the secrets as a shell reads them."""
    script = f"set -a; . {directory}/authserver.env; exec {sys.executable} -c 'import json, os; print(json.dumps({{**os.environ}}))'"
    done = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, timeout=SECONDS, check=True)
    return {name: value for name, value in json.loads(done.stdout).items() if name.startswith("AUTHPLANE_")}


def initialize(terminal: Command, directory: Path, *options: str, stdin: str = "", **environment: str) -> Done:
    """Run the command with ports that are free."""
    done = terminal(
        "init",
        str(directory),
        "--address",
        f"127.0.0.1:{free_port()}",
        "--admin-address",
        f"127.0.0.1:{free_port()}",
        *options,
        stdin=stdin,
        **environment,
    )
    assert (done.code, done.err) == (0, "")
    return done


def assert_it_checks_and_serves(terminal: Command, directory: Path) -> None:
    """Run what the command said to run next."""
    config, environment = str(directory / "authserver.yaml"), variables(directory)
    checked = terminal("check", "--config", config, **environment)
    assert (checked.code, checked.err) == (0, ""), checked.out
    migrated = terminal("migrate", "--config", config, **environment)
    assert (migrated.code, migrated.err) == (0, "")
    (address,) = re.findall(r"ok +listeners: public: (\S+)", checked.out)
    with subprocess.Popen(
        [sys.executable, "-m", "authserver", "serve", "--config", config],
        env={name: value for name, value in os.environ.items() if not name.startswith("AUTHPLANE_")} | environment,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + SECONDS
            while True:
                assert process.poll() is None, process.communicate()
                try:
                    answer = httpx2.get(f"http://{address}/ready")
                except httpx2.TransportError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                else:
                    break
            assert answer.status_code == 200
            running = terminal("check", "--config", config, **environment)
            assert (running.code, running.err) == (0, "")
            assert f"listeners: public: {address} is in use, the server runs" in running.out
            assert running.out.count("is in use, the server runs") == 2
            other = terminal("check", "--config", config, **environment, AUTHPLANE_SERVER_ISSUER="http://localhost:1")
            assert other.out.count("fail  listeners: ") == 2
            assert "there is no signing key yet" not in running.out
        finally:
            process.terminate()
            _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")


def test_an_installation_on_this_computer_is_ready(terminal: Command, tmp_path: Path) -> None:
    done = initialize(terminal, tmp_path / "new")
    assert done.out.splitlines()[-3:] == [
        f"  authserver {name} --config {tmp_path}/new/authserver.yaml" for name in ("check", "migrate", "serve")
    ]
    assert_it_checks_and_serves(terminal, tmp_path / "new")
    assert (tmp_path / "new" / "data" / "authserver.db").exists()


def test_an_installation_for_others_is_ready(terminal: Command, tmp_path: Path) -> None:
    initialize(terminal, tmp_path / "new", "--issuer=https://auth.example.com")
    assert "secure: true" in (tmp_path / "new" / "authserver.yaml").read_text()
    assert_it_checks_and_serves(terminal, tmp_path / "new")


@pytest.mark.parametrize("from_stdin", [True, False])
def test_an_installation_on_postgresql_is_ready(
    terminal: Command, tmp_path: Path, postgres_target: str, *, from_stdin: bool
) -> None:
    dsn = f"{postgres_target}?application_name=a&search_path=public"
    where = {"stdin": f"{dsn}\n"} if from_stdin else {"AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
    options = ["--dsn-stdin"] if from_stdin else []
    done = initialize(terminal, tmp_path / "new", "--database=postgres", *options, **where)
    assert dsn not in done.out
    assert dsn not in (tmp_path / "new" / "authserver.yaml").read_text()
    assert variables(tmp_path / "new")["AUTHPLANE_STORAGE_POSTGRES_DSN"] == dsn
    if from_stdin:
        assert_it_checks_and_serves(terminal, tmp_path / "new")
        assert not (tmp_path / "new" / "data").exists()


def test_secrets_are_random_their_owners_and_not_printed(terminal: Command, tmp_path: Path) -> None:
    out = "".join(initialize(terminal, tmp_path / name).out for name in ("one", "two"))
    found = [variables(tmp_path / name)[secret] for name in ("one", "two") for secret in SECRETS]
    assert len(set(found)) == 6
    assert all(len(secret) >= 43 for secret in found)
    assert not any(secret in out for secret in found)
    assert not any(secret in (tmp_path / "one" / "authserver.yaml").read_text() for secret in found)
    assert stat.S_IMODE((tmp_path / "one" / "authserver.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "one" / "authserver.yaml").stat().st_mode) & 0o027 == 0


@pytest.mark.parametrize("name", ["authserver.yaml", "authserver.env"])
def test_nothing_is_overwritten(terminal: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = terminal("init", str(tmp_path))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {tmp_path / name} exists, and nothing is overwritten: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--issuer", "https://auth.example.com/"], "--issuer must not end with a slash"),
        (["--issuer", "http://auth.example.com"], "server.issuer must be https off localhost"),
        (["--address", "nowhere"], "server.address must be host:port or :port, not 'nowhere'"),
        (["--database", "postgres"], "--database postgres needs a DSN: in AUTHPLANE_STORAGE_POSTGRES_DSN, or on stdin"),
        (["--database", "oracle"], "'oracle' is not one of 'sqlite', 'postgres'"),
        (["and", "another"], "Got unexpected extra argument (another)"),
    ],
)
def test_what_would_not_start_is_not_written(
    terminal: Command, tmp_path: Path, options: list[str], sentence: str
) -> None:
    done = terminal("init", *options)
    assert (done.code, done.out) == (1, "")
    assert sentence in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_no_text_is_refused(terminal: Command, tmp_path: Path) -> None:
    done = terminal("init", str(tmp_path / "\udcff"))
    assert (done.code, done.out, done.err) == (1, "", "error: DIR is not UTF-8\n")
    assert list(tmp_path.glob("*/authserver.*")) == []


def test_it_writes_here_when_no_directory_is_named(terminal: Command, tmp_path: Path) -> None:
    found = json.loads(terminal("init", "--json").out)
    assert found["config"] == str(tmp_path / "authserver.yaml")
    assert found["secrets"] == str(tmp_path / "authserver.env")
    assert [each.split()[1] for each in found["next"][1:]] == ["check", "migrate", "serve"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authserver.env", "authserver.yaml"]


def test_the_port_of_a_local_issuer_is_listened_at(terminal: Command, tmp_path: Path) -> None:
    terminal("init", "--issuer", "http://localhost:9123/auth")
    assert '  address: "127.0.0.1:9123"\n' in (tmp_path / "authserver.yaml").read_text()


def test_a_place_that_cannot_be_written_is_named(terminal: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = terminal("init", str(tmp_path / "file" / "new"))
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: cannot write {tmp_path}/file/new: Not a directory\n"
