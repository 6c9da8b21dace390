"""A machine with the official Python MCP SDK, of either generation: its extension for client credentials, unmodified.

Driven by lines of JSON as ``e2e/node/client.mjs`` is. It has no user: it never asks anybody to sign in.
"""

import asyncio
import importlib
import json
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

OPTIONS = json.loads(sys.argv[1])
httpx = importlib.import_module(OPTIONS["http"])  # each generation has its own


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class Memory:
    """Where the client keeps what it was given."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("a machine registers nowhere")


def provider(memory: Memory) -> Any:
    """Return the provider that the options name: with a secret, or with a key."""
    known = {"client_id": OPTIONS["clientId"], "issuer": OPTIONS["issuer"], OPTIONS["scopeArgument"]: OPTIONS["scope"]}
    if "clientSecret" in OPTIONS:
        return ClientCredentialsOAuthProvider(
            OPTIONS["mcpUrl"],
            memory,
            client_secret=OPTIONS["clientSecret"],
            token_endpoint_auth_method=OPTIONS["authMethod"],
            **known,
        )
    parameters = SignedJWTParameters(
        issuer=OPTIONS["clientId"],
        subject=OPTIONS["clientId"],
        signing_key=OPTIONS["key"],
        signing_algorithm="ES256",
    )
    return PrivateKeyJWTOAuthProvider(
        OPTIONS["mcpUrl"], memory, assertion_provider=parameters.create_assertion_provider(), **known
    )


async def main() -> None:
    memory = Memory()
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            async with (
                httpx.AsyncClient(auth=provider(memory), timeout=20) as http,
                streamable_http_client(OPTIONS["mcpUrl"], http_client=http) as streams,
                ClientSession(streams[0], streams[1]) as session,
            ):
                await session.initialize()
                result = await session.call_tool(command["tool"], command["with"])
                say(
                    {
                        "result": result.model_dump(mode="json", by_alias=True),
                        "tokens": memory.tokens and memory.tokens.model_dump(),
                    }
                )
        except Exception as error:  # noqa: BLE001  whatever it is, the test decides what it means
            say({"error": repr(error), "causes": [repr(inner) for inner in getattr(error, "exceptions", ())]})


asyncio.run(main())
