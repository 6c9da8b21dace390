"""``authserver quickstart``, from the repository and from a built wheel, in an empty directory."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from e2e.harness.installation import AUTHSERVER, ROOT, Account, found
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port, wait_until

BUILD_SECONDS = 60
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_notes", "arguments": {}}}


@dataclass(frozen=True, slots=True)
class Command:
    """How the command is started."""

    words: Sequence[str | Path]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Quickstart:
    """A directory in which it is run, and the ports it is told to use."""

    command: Command
    directory: Path
    port: int
    mcp_port: int

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def mcp_url(self) -> str:
        return f"http://localhost:{self.mcp_port}/mcp"

    def launch(self, log: str) -> Process:
        ports = ["--port", str(self.port), "--mcp-port", str(self.mcp_port)]
        return Process(
            [*self.command.words, "quickstart", *ports],
            log=self.directory / log,
            environment=self.command.environment,
            directory=self.directory,
        )

    def start(self, log: str) -> Process:
        """Start it and wait until both servers answer."""
        process = self.launch(log)
        try:
            process.wait_for(f"{self.issuer}/ready")
            process.wait_for(self.mcp_url)
            process.wait_for_output("What happens from now on")
        except BaseException:
            process.end()
            raise
        return process


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's wheel, installed into a directory of its own."""
    directory = tmp_path_factory.mktemp("wheel")
    quiet = ["--quiet", "--no-deps", "--disable-pip-version-check", "--no-input"]

    def pip(*arguments: str | Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "pip", *map(str, arguments)], check=True, timeout=BUILD_SECONDS, cwd=directory
        )

    pip("wheel", *quiet, "--no-build-isolation", "--wheel-dir", directory, ROOT / "server")
    built = next(directory.glob("authplane_server-*.whl"))
    pip("install", *quiet, "--target", directory / "installed", built)
    return directory / "installed"


@pytest.fixture(params=["repository", "wheel"])
def quickstart(request: pytest.FixtureRequest, tmp_path: Path) -> Quickstart:
    if request.param == "repository":
        command = Command([AUTHSERVER], {})
    else:
        command = Command([sys.executable, "-m", "authserver"], {"PYTHONPATH": str(request.getfixturevalue("wheel"))})
    directory = tmp_path / "empty"
    directory.mkdir()
    return Quickstart(command, directory, free_port(), free_port())


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


def call_tool(quickstart: Quickstart, token: str) -> int:
    headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    return httpx2.post(quickstart.mcp_url, json=CALL, headers=headers).status_code


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_a_killed_run_leaves_nothing_that_keeps_the_next_one_from_starting(quickstart: Quickstart) -> None:
    with quickstart.start("killed.log") as process:
        process.kill()
        wait_until(lambda: is_free(quickstart.mcp_port), seconds=10, what="the demo server ended with its parent")
    with quickstart.start("next.log"):
        assert call_tool(quickstart, "nothing") == 401


def test_the_first_run_serves_and_the_second_finds_everything_as_it_was(quickstart: Quickstart) -> None:
    with quickstart.start("first.log") as process:
        assert found(r"(?m)^Issuer:\s+(\S+)$", process.output) == quickstart.issuer
        assert found(r"(?m)^MCP URL:\s+(\S+)$", process.output) == quickstart.mcp_url
        account = Account(
            found(r"(?m)^User:\s+(\S+)$", process.output), found(r"(?m)^Password:\s+(\S+)$", process.output)
        )
        for name in ("Claude Code", "Cursor", "VS Code", "Inspector", "curl"):
            assert name in process.output
        client = OAuthClient(quickstart.issuer, resource=quickstart.mcp_url)
        person = Person(account, issuer=quickstart.issuer)
        first = client.request_token(client.redemption(client.get_code(person))).json()
        person.close()
        assert call_tool(quickstart, first["access_token"]) == 200
        for happened in ("registered", "signed in", "consent granted", "token issued", "list_notes called"):
            process.wait_for_output(happened)
        secret = (first["access_token"], first["refresh_token"])
        assert process.interrupt() == 0
        assert not any(value in process.output for value in secret)
        assert "Traceback" not in process.output
    assert is_free(quickstart.port)
    assert is_free(quickstart.mcp_port)

    with quickstart.start("second.log") as process:
        assert account.password not in process.output
        assert call_tool(quickstart, first["access_token"]) == 200
        again = client.request_token(client.refresh(first["refresh_token"]))
        assert again.status_code == 200
        client.revoke(again.json()["refresh_token"])
        assert call_tool(quickstart, again.json()["access_token"]) == 401
        person = Person(account, issuer=quickstart.issuer)
        anew = client.request_token(client.redemption(client.get_code(person))).json()
        person.close()
        assert call_tool(quickstart, anew["access_token"]) == 200
        assert process.stop() == 0
    assert is_free(quickstart.mcp_port)


def test_what_it_keeps_is_its_owners_alone(quickstart: Quickstart) -> None:
    with quickstart.start("run.log"):
        data = quickstart.directory / "data"
        assert stat.S_IMODE(data.stat().st_mode) & 0o007 == 0
        files = [path for path in data.rglob("*") if path.is_file()]
        secret = [path for path in files if path.parent.name == "keys" or "quickstart" in path.name]
        assert len(secret) >= 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


@pytest.mark.parametrize("which", ["port", "mcp_port"])
def test_a_taken_port_is_named_with_what_to_do(quickstart: Quickstart, taken_port: int, which: str) -> None:
    ports = {"port": free_port(), "mcp_port": free_port(), which: taken_port}
    process = Quickstart(quickstart.command, quickstart.directory, **ports).launch("run.log")
    with process:
        assert process.wait() == 1
    assert process.output.startswith("error: ")
    assert str(taken_port) in process.output
    assert f"--{which.replace('_', '-')}" in process.output
    assert len(process.output.splitlines()) == 1
    assert not (quickstart.directory / "data").exists()


def test_the_demo_server_that_dies_ends_the_run(quickstart: Quickstart) -> None:
    with quickstart.start("run.log") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        assert process.wait() == 1
    assert "demo MCP server" in process.output
    assert is_free(quickstart.port)
