"""The official Python MCP SDK, unmodified, against the server and the demo MCP server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from e2e.harness.identity import Identity
from e2e.harness.installation import Demo, Installation
from e2e.harness.person import Person, answer_of

pytestmark = pytest.mark.anyio

CALLBACK = "http://127.0.0.1:38123/callback"


class SignInAsked(Exception):  # noqa: N818  it is what the test waits for
    """The client wants its user to sign in again."""


class Memory:
    """Where the client keeps what it was given."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class McpClient:
    """An MCP client and its user."""

    def __init__(self, demo: Demo, person: Person, *, identity: Identity) -> None:
        self.memory = Memory()
        if identity.client_id is not None:
            self.memory.client = OAuthClientInformationFull(
                client_id=identity.client_id, token_endpoint_auth_method="none", redirect_uris=[AnyUrl(CALLBACK)]
            )
        self.asked: list[str] = []
        self.only: set[str] | None = None
        self.may_sign_in = True
        self._demo = demo
        self._person = person
        self._callback = ""
        self.provider = OAuthClientProvider(
            demo.url,
            OAuthClientMetadata(
                client_name="Python SDK", redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none"
            ),
            self.memory,
            redirect_handler=self._send_user,
            callback_handler=self._called_back,
            client_metadata_url=identity.metadata_url,
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """Connect, signing in on the way."""
        async with (
            httpx2.AsyncClient(auth=self.provider, timeout=20) as http,
            Client(streamable_http_client(self._demo.url, http_client=http)) as client,
        ):
            yield client

    async def _send_user(self, url: str) -> None:
        self.asked.append(url)
        if not self.may_sign_in:
            raise SignInAsked
        self._callback = await anyio.to_thread.run_sync(lambda: self._person.allow(url, only=self.only))

    async def _called_back(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(answer_of(self._callback))


@pytest.fixture
def client(demo: Demo, person: Person) -> McpClient:
    """A client that has never met the server, and registers itself."""
    return McpClient(demo, person, identity=Identity())


def post_with(token: str, url: str) -> httpx2.Response:
    """Ask the MCP server something with a token."""
    return httpx2.post(
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}},
        headers={"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"},
    )


async def test_a_client_that_never_met_the_server_lists_and_calls_its_tools(
    demo: Demo, person: Person, identity: Identity
) -> None:
    client = McpClient(demo, person, identity=identity)
    async with client.connected() as mcp:
        tools = await mcp.list_tools()
        assert {tool.name for tool in tools.tools} == {"list_notes", "add_note"}
        added = await mcp.call_tool("add_note", {"text": "buy milk"})
        assert not added.is_error
        listed = await mcp.call_tool("list_notes", {})
        assert "buy milk" in (listed.structured_content or {})["result"]
    assert len(client.asked) == 1
    assert client.memory.tokens is not None
    assert set((client.memory.tokens.scope or "").split()) == {"notes:read", "notes:write"}


async def test_an_expired_token_is_refreshed_without_asking_the_user(client: McpClient) -> None:
    async with client.connected() as mcp:
        await mcp.list_tools()
        before = client.memory.tokens
        client.provider.context.token_expiry_time = 1  # the client believes that its token has expired
        await mcp.call_tool("list_notes", {})
        after = client.memory.tokens
    assert before is not None
    assert after is not None
    assert after.access_token != before.access_token
    assert after.refresh_token != before.refresh_token
    assert len(client.asked) == 1


async def test_a_revoked_token_is_refused_and_cannot_be_refreshed(
    client: McpClient, installation: Installation, demo: Demo
) -> None:
    async with client.connected() as mcp:
        await mcp.list_tools()
    tokens, registered = client.memory.tokens, client.memory.client
    assert tokens is not None
    assert tokens.refresh_token is not None
    assert registered is not None
    assert post_with(tokens.access_token, demo.url).status_code == 200
    who = {"client_id": registered.client_id}
    revoked = httpx2.post(f"{installation.issuer}/oauth/revoke", data={"token": tokens.refresh_token, **who})
    assert revoked.status_code == 200
    refused = post_with(tokens.access_token, demo.url)
    assert refused.status_code == 401
    assert "resource_metadata=" in refused.headers["www-authenticate"]
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token, **who}
    answer = httpx2.post(f"{installation.issuer}/oauth/token", data=refresh)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    client.may_sign_in = False
    with pytest.raises((SignInAsked, ExceptionGroup)) as caught:
        async with client.connected() as mcp:
            await mcp.list_tools()
    assert is_or_holds(caught.value, SignInAsked)


async def test_revoking_only_the_access_token_stops_it_at_once(
    client: McpClient, installation: Installation, demo: Demo
) -> None:
    async with client.connected() as mcp:
        await mcp.list_tools()
    tokens, registered = client.memory.tokens, client.memory.client
    assert tokens is not None
    assert registered is not None
    form = {"token": tokens.access_token, "client_id": registered.client_id}
    assert httpx2.post(f"{installation.issuer}/oauth/revoke", data=form).status_code == 200
    assert post_with(tokens.access_token, demo.url).status_code == 401


async def test_a_scope_the_user_left_out_is_asked_for_when_a_tool_needs_it(client: McpClient) -> None:
    client.only = {"notes:read"}
    async with client.connected() as mcp:
        await mcp.call_tool("list_notes", {})
        assert client.memory.tokens is not None
        assert client.memory.tokens.scope == "notes:read"
        client.only = None
        added = await mcp.call_tool("add_note", {"text": "buy milk"})
        assert not added.is_error
    assert len(client.asked) == 2
    assert set((client.memory.tokens.scope or "").split()) == {"notes:read", "notes:write"}


def is_or_holds(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an exception is of a kind, or a group that holds one."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_or_holds(inner, kind) for inner in error.exceptions)
    causes: list[Any] = [error, error.__cause__, error.__context__]
    return any(isinstance(cause, kind) for cause in causes)
