import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.tests.cli.terminal import Command

SECONDS = 40
SQLITE = pytest.mark.parametrize("database_target", ["sqlite"], indirect=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """``authserver serve`` in a process of its own, its log read line by line."""

    def __init__(
        self, *words: str, environment: dict[str, str], log: Path, program: Sequence[str] = ("-m", "authserver")
    ) -> None:
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        self._log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTHPLANE_")}
        listener = {
            "AUTHPLANE_SERVER_ADDRESS": f"127.0.0.1:{self.port}",
            "AUTHPLANE_SERVER_ISSUER": self.issuer,
            "AUTHPLANE_ADMIN_ENABLED": "false",
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program, "serve", *words],
                env=inherited | listener | environment,
                cwd=log.parent,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def says(self, message: str) -> bool:
        return any(line["msg"].startswith(message) for line in self.lines)

    def line(self, fragment: str) -> dict[str, Any]:
        """Return the one line that holds a fragment."""
        (found,) = [line for line in self.lines if fragment in line["msg"]]
        return found

    def wait_until_it_says(self, message: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.says(message):
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and stderr."""
        _, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, err

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.end()


Start = Callable[..., Server]


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts servers on one database, and leaves none behind."""
    with contextlib.ExitStack() as stack:

        def start(*words: str, program: Sequence[str] = ("-m", "authserver"), **more: str) -> Server:
            log = tmp_path / f"serve-{free_port()}.log"
            server = Server(*words, environment=environment | more, log=log, program=program)
            stack.callback(server.end)
            stack.callback(server.process.kill)
            return server

        yield start


def test_it_starts_in_order_serves_reloads_and_drains(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    is_new = environment["AUTHPLANE_STORAGE_DRIVER"] == "sqlite"
    path = tmp_path / "authserver.yaml"
    path.write_text(
        "oidc: {client_secret_env: NOTHING}\n"
        "resources: [{slug: notes, backend_kind: mint, uri: 'https://notes.example.com'}]\n"
    )
    server = start("--config", str(path), AUTHPLANE_STORAGE_SQLITE_PATH=str(tmp_path / "new.db"))
    server.wait_until_it_says("http server listening")
    assert httpx2.get(f"http://127.0.0.1:{server.port}/ready").status_code == 200
    server.process.send_signal(signal.SIGHUP)
    server.wait_until_it_says("signing keys reloaded")
    assert server.stop() == (0, "")
    order = [
        "starting authserver",
        "server.allowed_origins is empty",
        "=== authserver feature self-check ===",
        "feature enabled",
        "deprecated config key in use",
        *(["applied migration"] if is_new else []),
        "no signing key found, a new one was made",
        "resource seeded",
        "dynamic client registration is open to unauthenticated callers",
        "DEPRECATION: oauth.default_client_scope is empty",
        "http server listening",
        "SIGHUP received, reloading signing keys",
        "signing keys reloaded",
        "shutting down",
        "stopped gracefully",
    ]
    said = [line["msg"] for line in server.lines]
    positions = [next(i for i, message in enumerate(said) if message.startswith(each)) for each in order]
    assert positions == sorted(positions)
    first = server.lines[0]
    assert (first["msg"], first["issuer"]) == ("starting authserver", server.issuer)
    assert first["address"] == f"127.0.0.1:{server.port}"
    assert first["version"]
    assert server.line("http server listening")["address"] == f"127.0.0.1:{server.port}"
    table = server.line("feature self-check")
    assert (table["level"], table["msg"].count("\n")) == ("INFO", 9)
    enabled = {line["feature"]: line["detail"] for line in server.lines if line["msg"] == "feature enabled"}
    assert enabled["dcr"] == "mode=open"
    assert all(f"{name} " in table["msg"] for name in enabled)
    assert len(enabled) == table["msg"].count(" enabled ")


@SQLITE
def test_an_interrupt_ends_it_too(start: Start) -> None:
    server = start()
    server.wait_until_it_says("http server listening")
    assert server.stop(signal.SIGINT) == (0, "")
    assert server.says("stopped gracefully")


@SQLITE
def test_a_taken_port_is_named(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, err = start(AUTHPLANE_SERVER_ADDRESS=f"127.0.0.1:{port}").end()
    assert code == 1
    assert err.startswith(f"error: public listener cannot use 127.0.0.1:{port}: ")
    assert err.count("\n") == 1


@SQLITE
def test_the_admin_listener_serves_when_it_is_on(start: Start) -> None:
    port = free_port()
    admin = {"AUTHPLANE_ADMIN_ENABLED": "true", "AUTHPLANE_ADMIN_ADDRESS": f"127.0.0.1:{port}"}
    server = start(**admin)
    server.wait_until_it_says("http server listening")
    assert httpx2.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    paths = ("/oauth/authorize", "/livez")
    assert [httpx2.get(f"http://127.0.0.1:{port}{path}").status_code for path in paths] == [404, 404]
    addresses = [line["address"] for line in server.lines if line["msg"] == "http server listening"]
    assert addresses == [f"127.0.0.1:{server.port}", f"127.0.0.1:{port}"]


@SQLITE
def test_a_mode_that_was_set_is_restored_and_obeyed_at_once(start: Start, command: Command) -> None:
    command("admin", "dcr", "set", "--mode", "admin_only")
    server = start()
    server.wait_until_it_says("http server listening")
    assert not server.says("dynamic client registration is open")
    document = {"client_name": "Ada", "redirect_uris": ["http://127.0.0.1/callback"]}

    def register() -> int:
        return httpx2.post(f"http://127.0.0.1:{server.port}/oauth/register", json=document).status_code

    assert register() == 403
    command("admin", "dcr", "set", "--mode", "open")
    deadline = time.monotonic() + 5
    while register() != 201:
        assert time.monotonic() < deadline
        time.sleep(0.2)  # asked without a pause, it would say 429 soon


@SQLITE
def test_a_rotation_beside_it_is_published(start: Start, command: Command) -> None:
    server = start()
    server.wait_until_it_says("http server listening")
    kid = command("admin", "key", "rotate").fields["kid"]
    deadline = time.monotonic() + 5
    while kid not in httpx2.get(f"http://127.0.0.1:{server.port}/.well-known/jwks.json").text:
        assert time.monotonic() < deadline


@SQLITE
def test_resources_of_the_configuration_are_created_once(start: Start, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "authserver.yaml"
    path.write_text("resources: [{slug: notes, backend_kind: mint, uri: 'https://mcp.example.com/mcp'}]\n")
    for uri in ("https://mcp.example.com/mcp", "https://changed.example.com/mcp"):
        server = start("--config", str(path), AUTHPLANE_OAUTH_DEFAULT_RESOURCE="notes")
        server.wait_until_it_says("http server listening")
        assert not any("oauth.default_resource" in line["msg"] for line in server.lines)
        server.stop()
        listed = command("admin", "resource", "list").out
        assert f"uri={uri} " in listed
        command(
            "admin", "resource", "update", "--id", listed.split()[0][3:], "--uri", "https://changed.example.com/mcp"
        )


@SQLITE
def test_a_default_resource_that_names_none_is_warned_of(start: Start) -> None:
    server = start(AUTHPLANE_OAUTH_DEFAULT_RESOURCE="nothing")
    server.wait_until_it_says("http server listening")
    line = server.line("oauth.default_resource")
    assert (line["level"], line["slug"]) == ("WARN", "nothing")


@SQLITE
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE", "a,b", "error: authserver boot aborted: 1 feature(s) misconfigured"),
        ("AUTHPLANE_SERVER_ISSUER", "https://auth.example.com", "error: invalid configuration: "),
        ("AUTHPLANE_STORAGE_SQLITE_PATH", ".", "error: cannot open the SQLite database"),
    ],
)
def test_what_cannot_start_says_why(start: Start, name: str, value: str, sentence: str) -> None:
    code, err = start(**{name: value}).end()
    assert code == 1
    assert err.startswith(sentence)
    assert "Traceback" not in err


@SQLITE
def test_more_workers_than_sqlite_can_have_are_refused_at_the_command_line_too(start: Start) -> None:
    code, err = start("--workers", "2").end()
    assert code == 1
    assert "server.workers=2 needs storage.driver=postgres" in err


def test_keys_that_were_lost_are_told_at_the_next_start(
    start: Start, command: Command, environment: dict[str, str]
) -> None:
    machine = command(
        *("admin", "client", "create", "--name", "M", "--grant-types", "client_credentials"),
        *("--auth-method", "client_secret_basic", "--scope", "notes:read"),
    ).fields
    server = start()
    server.wait_until_it_says("http server listening")
    form = {"grant_type": "client_credentials"}
    url = f"http://127.0.0.1:{server.port}/oauth/token"
    assert httpx2.post(url, data=form, auth=(machine["id"], machine["client_secret"])).status_code == 200
    server.stop()
    assert not server.says("the signing keys are gone")
    shutil.rmtree(environment["AUTHPLANE_SIGNING_KEY_PATH"])
    again = start()
    again.wait_until_it_says("http server listening")
    assert again.line("the signing keys are gone")["level"] == "ERROR"
    again.stop()


# As the command, but a loop that does not turn is noticed after seconds, not after a minute.
IMPATIENT = """
from authserver.cli import worker_group
worker_group.BEAT_SECONDS, worker_group.HUNG_SECONDS = 1, 8
from authserver.cli.main import main
main()
"""


@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
def test_a_worker_that_hangs_is_replaced_and_one_that_works_is_not(start: Start) -> None:
    server = start("--workers", "2", program=["-c", IMPATIENT])
    server.wait_until_it_says("http server listening")
    first = {line["worker"]: line["pid"] for line in server.lines if line["msg"] == "worker serves"}
    os.kill(first[1], signal.SIGSTOP)
    server.wait_until_it_says("worker hangs")

    def serving() -> dict[int, int]:
        return {line["worker"]: line["pid"] for line in server.lines if line["msg"] == "worker serves"}

    deadline = time.monotonic() + SECONDS
    while serving() == first:
        assert time.monotonic() < deadline, server.lines
        time.sleep(0.02)
    assert serving()[0] == first[0]
    for _ in range(10):
        assert httpx2.get(f"http://127.0.0.1:{server.port}/ready", timeout=SECONDS).status_code == 200
    assert server.stop() == (0, "")
    # The neighbour turned all the while, and was heard to.
    assert [line["pid"] for line in server.lines if line["msg"] in {"worker hangs", "worker died"}] == [first[1]] * 2
