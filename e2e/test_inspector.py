"""The MCP Inspector's command line, unmodified: each call is a process, what it was given stays in a directory."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from e2e.harness.command import Ended, run_client
from e2e.harness.identity import Identity
from e2e.harness.installation import EVERYWHERE, Demo, Installation
from e2e.harness.person import Person
from e2e.harness.processes import free_port
from e2e.harness.program import NODE, NODE_PACKAGES

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")

INSPECTOR = NODE_PACKAGES / "@modelcontextprotocol" / "inspector" / "clients" / "cli" / "build" / "index.js"
SIGN_IN_NEEDED = 3


class Inspector:
    """The Inspector of one user, with its own storage."""

    def __init__(self, installation: Installation, demo: Demo, person: Person, directory: Path) -> None:
        self._installation = installation
        self._demo = demo
        self._person = person
        self._directory = directory
        self._callback = f"http://127.0.0.1:{free_port()}/callback"

    def run(self, *arguments: str) -> Ended:
        """Run it once."""
        return run_client(
            [
                *(
                    NODE,
                    INSPECTOR,
                    "--transport",
                    "http",
                    "--server-url",
                    self._demo.url,
                    "--quiet",
                    "--format",
                    "json",
                ),
                *("--callback-url", self._callback, "--connect-timeout", "0", *arguments),
            ],
            issuer=self._installation.issuer,
            person=self._person,
            environment={
                "HOME": str(self._directory),
                "MCP_STORAGE_DIR": str(self._directory),
                "MCP_INSPECTOR_SECRET_STORE": "file",
                "MCP_AUTO_OPEN_ENABLED": "false",
            },
        )

    def call(self, tool: str, *arguments: str) -> Ended:
        """Call a tool."""
        return self.run("--method", "tools/call", "--tool-name", tool, *arguments)

    @property
    def client_id(self) -> str:
        """What it is called at the server."""
        (known,) = json.loads((self._directory / "oauth.json").read_text())["servers"].values()
        (registered,) = known["byIssuer"].values()
        return str(registered["clientInformation"]["client_id"])

    @property
    def tokens(self) -> dict[str, str]:
        """What it was given last."""
        (kept,) = json.loads((self._directory / "secrets.json").read_text())["secrets"].values()
        tokens: dict[str, str] = json.loads(kept)
        return tokens


@pytest.fixture
def inspector(installation: Installation, demo: Demo, person: Person, tmp_path: Path) -> Inspector:
    return Inspector(installation, demo, person, tmp_path)


def result_of(ended: Ended) -> dict[str, Any]:
    """Return the result it printed."""
    assert ended.code == 0, ended.output
    result: dict[str, Any] = json.loads(ended.output.splitlines()[-1])["result"]
    return result


def test_the_inspector_signs_in_once_calls_tools_refreshes_and_obeys_a_revocation(
    inspector: Inspector, identity: Identity, installation: Installation
) -> None:
    known = ["--client-id", identity.client_id] if identity.client_id else []
    known += ["--client-metadata-url", identity.metadata_url] if identity.metadata_url else []
    listed = inspector.run("--method", "tools/list", *known)
    assert {tool["name"] for tool in result_of(listed)["tools"]} == {"list_notes", "add_note"}
    assert len(listed.asked) == 1, listed.output
    assert inspector.client_id == (identity.client_id or identity.metadata_url or inspector.client_id)

    added = inspector.call("add_note", "--tool-arg", "text=buy milk", *known)
    assert result_of(added)["isError"] is False
    assert added.asked == []

    before, who = inspector.tokens, {"client_id": inspector.client_id}
    revoke = f"{installation.issuer}/oauth/revoke"
    assert httpx2.post(revoke, data={"token": before["access_token"], **who}).status_code == 200
    refreshed = inspector.call("list_notes", *known)
    assert "buy milk" in result_of(refreshed)["structuredContent"]["result"]
    assert refreshed.asked == []
    assert inspector.tokens["refresh_token"] != before["refresh_token"]

    assert httpx2.post(revoke, data={"token": inspector.tokens["refresh_token"], **who}).status_code == 200
    refused = inspector.run("--method", "tools/list", "--stored-auth-only", *known)
    assert refused.code == SIGN_IN_NEEDED, refused.output
    again = inspector.run("--method", "tools/list", *known)
    assert len(again.asked) == 1, again.output
    assert len(result_of(again)["tools"]) == 2
