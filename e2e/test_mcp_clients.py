"""MCP clients as they ship, unmodified, each in a process of its own: the first sign-in, tools, refresh, revocation."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from e2e.harness.identity import Identity
from e2e.harness.installation import EVERYWHERE, Demo, Installation
from e2e.harness.person import Person
from e2e.harness.program import MCP_1, Program

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")

CALLBACK = "http://127.0.0.1:38124/callback"


@dataclass(frozen=True, slots=True)
class Kind:
    """A client library and the program that uses it."""

    name: str
    program: str
    options: dict[str, Any] = field(default_factory=dict)
    packages: Path | None = None


KINDS = (
    Kind("TypeScript 1", "node/client.mjs", {"package": "@modelcontextprotocol/sdk"}),
    Kind("TypeScript 2", "node/client.mjs", {"package": "@modelcontextprotocol/client"}),
    Kind("Python 1", "python/mcp1_client.py", packages=MCP_1),
    Kind("FastMCP", "python/fastmcp_client.py"),
)
WITH_A_KEY = Kind(
    "TypeScript 2 with a key", "node/client.mjs", {"package": "@modelcontextprotocol/client", "dpop": True}
)


class McpClient(Program):
    """A client that has never met the server, and its user."""

    def __init__(self, kind: Kind, demo: Demo, person: Person, identity: Identity) -> None:
        options = {
            "mcpUrl": demo.url,
            "redirectUri": CALLBACK,
            "clientMetadataUrl": identity.metadata_url,
            "clientId": identity.client_id,
        }
        super().__init__(kind.program, options | kind.options, packages=kind.packages)
        self._person = person

    def connect(self) -> None:
        """Connect, signing in on the way."""
        asked = self.do("connect")
        assert "authorize" in asked, asked
        assert self.do("callback", url=self._person.allow(asked["authorize"])) == {"connected": True}

    def call(self, tool: str, **arguments: object) -> Any:
        """Call a tool; return the structured result."""
        answer = self.do("call", tool=tool, **{"with": arguments})
        assert "result" in answer, answer
        assert not answer["result"].get("isError"), answer
        return answer["result"]["structuredContent"]["result"]


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def client(request: pytest.FixtureRequest, demo: Demo, person: Person, identity: Identity) -> Iterator[McpClient]:
    with McpClient(request.param, demo, person, identity) as client:
        yield client


def test_a_client_gets_in_at_the_first_try_refreshes_and_obeys_a_revocation(
    client: McpClient, installation: Installation
) -> None:
    client.connect()
    assert set(client.do("list")["tools"]) == {"list_notes", "add_note"}
    client.call("add_note", text="buy milk")
    assert "buy milk" in client.call("list_notes")
    first = client.do("state")["tokens"]
    assert set(first["scope"].split()) == {"notes:read", "notes:write"}

    assert client.do("refresh") == {"refreshed": True}
    state = client.do("state")
    assert state["tokens"]["access_token"] != first["access_token"]
    assert state["tokens"]["refresh_token"] != first["refresh_token"]
    assert "buy milk" in client.call("list_notes")

    form = {"token": state["tokens"]["refresh_token"], "client_id": state["client"]["client_id"]}
    assert httpx2.post(f"{installation.issuer}/oauth/revoke", data=form).status_code == 200
    refused = client.do("call", tool="list_notes", **{"with": {}})
    assert "result" not in refused
    assert refused["authorize"].startswith(f"{installation.issuer}/oauth/authorize?")


def test_a_client_with_a_key_binds_its_tokens_and_proves_each_call(demo: Demo, person: Person) -> None:
    with McpClient(WITH_A_KEY, demo, person, Identity()) as client:
        client.connect()
        client.call("add_note", text="bound to a key")
        first = client.do("state")
        assert client.do("refresh") == {"refreshed": True}
        second = client.do("state")
        assert "bound to a key" in client.call("list_notes")
    for state in (first, second):
        assert state["tokens"]["token_type"] == "DPoP"
        claims = jwt.decode(state["tokens"]["access_token"], options={"verify_signature": False})
        assert claims["cnf"] == {"jkt": state["jkt"]}
    assert first["jkt"] == second["jkt"]
    assert first["tokens"]["access_token"] != second["tokens"]["access_token"]
    stolen = {"authorization": f"Bearer {second['tokens']['access_token']}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert httpx2.post(demo.url, json=body, headers=stolen).status_code == 401
