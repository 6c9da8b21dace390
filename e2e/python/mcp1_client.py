"""The official Python MCP SDK of the first generation, driven by lines of JSON as ``e2e/node/client.mjs`` is."""

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

OPTIONS = json.loads(sys.argv[1])


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def hear() -> dict[str, Any] | None:
    """Return the next command, or None at the end."""
    line = await asyncio.to_thread(sys.stdin.readline)
    return json.loads(line) if line else None


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


async def send_user(url: str) -> None:
    say({"authorize": url})


async def called_back() -> tuple[str, str | None]:
    command = await hear()
    if command is None:
        raise EOFError("the user never came back")
    answer = parse_qs(urlsplit(command["url"]).query)
    return answer["code"][0], answer["state"][0]


async def main() -> None:
    metadata = OAuthClientMetadata(
        client_name="Python SDK 1", redirect_uris=[OPTIONS["redirectUri"]], token_endpoint_auth_method="none"
    )
    memory = Memory()
    if "clientId" in OPTIONS:
        memory.client = OAuthClientInformationFull(client_id=OPTIONS["clientId"], **metadata.model_dump())
    provider = OAuthClientProvider(
        OPTIONS["mcpUrl"],
        metadata,
        memory,
        redirect_handler=send_user,
        callback_handler=called_back,
        client_metadata_url=OPTIONS.get("clientMetadataUrl"),
    )
    await hear()
    async with (
        httpx.AsyncClient(auth=provider, timeout=20) as http,
        streamable_http_client(OPTIONS["mcpUrl"], http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        say({"connected": True})
        while command := await hear():
            if command["do"] == "call":
                result = await session.call_tool(command["tool"], command["with"])
                say({"result": result.model_dump(mode="json")})
            elif command["do"] == "list":
                say({"tools": [tool.name for tool in (await session.list_tools()).tools]})
            elif command["do"] == "refresh":
                provider.context.token_expiry_time = 1  # the client believes that its token has expired
                await session.list_tools()
                say({"refreshed": True})
            else:
                say(
                    {
                        "tokens": memory.tokens.model_dump(mode="json"),
                        "client": memory.client.model_dump(mode="json"),
                    }
                )


asyncio.run(main())
