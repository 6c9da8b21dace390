"""A protected MCP server: two tools, each behind a scope of its own, over streamable HTTP.

It is written against the official MCP SDK and shows what a protected MCP server owes its users:

* it says where its tokens come from (protected-resource metadata, and a pointer to it in every 401);
* it accepts a token only if this authorization server signed it, for this URL, and it has not expired;
* a token that is bound to a key (DPoP) is good only in the hands of who proves, with each request, to hold the key;
* it refuses a tool whose scope the user did not allow with 403, naming the scope that is missing;
* with credentials of its own it asks the authorization server whether a token was revoked, so that a revoked one stops
  at once and not only when it expires.

Proofs of possession are in ``dpop.py`` beside it.

Run it: ``python server.py --issuer http://localhost:9000``
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl, TypeAdapter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpop import PROVED_KEY, ProofOfPossession, answer_json

TOOL_SCOPES = {"list_notes": "notes:read", "add_note": "notes:write"}
ALGORITHMS = ("ES256", "RS256")
REQUIRED_CLAIMS = ("iss", "sub", "aud", "client_id", "jti", "iat", "exp")
CLOCK_LEEWAY = 30  # seconds two machines' clocks may differ
KEYS_LIFETIME = 300  # seconds a key set is believed
KEYS_PAUSE = 5  # seconds between two fetches because of an unknown key id
MAX_BODY_BYTES = 1024 * 1024


class AuthorizationServer:
    """What this server knows of the one that issues its tokens.

    Args:
        issuer: Its identifier, compared byte for byte.
        http: The client to ask it with.
        credentials: Client id and secret for introspection, or None to do without.
    """

    def __init__(self, issuer: str, *, http: httpx2.AsyncClient, credentials: tuple[str, str] | None) -> None:
        self.issuer = issuer
        self._http = http
        self._credentials = credentials
        self._metadata: dict[str, Any] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def find_key(self, kid: str) -> jwt.PyJWK | None:
        """Return a signing key; an unknown one is looked for again, but not more often than every few seconds."""
        async with self._fetching:  # who comes during a fetch waits for its outcome
            age = time.monotonic() - self._keys_fetched_at
            if age > KEYS_LIFETIME or (kid not in self._keys and age > KEYS_PAUSE):
                await self._fetch_keys()
        return self._keys.get(kid)

    async def is_active(self, token: str) -> bool:
        """Ask whether a token is still good (RFC 7662). Without credentials there is nobody to ask: yes."""
        if self._credentials is None:
            return True
        metadata = await self._get_metadata()
        answer = await self._http.post(
            metadata["introspection_endpoint"], data={"token": token}, auth=self._credentials
        )
        answer.raise_for_status()
        return answer.json().get("active") is True

    async def _fetch_keys(self) -> None:
        self._keys_fetched_at = time.monotonic()  # also when it fails: a broken server is not asked in a loop
        answer = await self._http.get((await self._get_metadata())["jwks_uri"])
        answer.raise_for_status()
        usable = (key for key in answer.json()["keys"] if key.get("alg") in ALGORITHMS and "kid" in key)
        self._keys = {key["kid"]: jwt.PyJWK.from_dict(key) for key in usable}

    async def _get_metadata(self) -> dict[str, Any]:
        """Return the server's metadata (RFC 8414), which must name the issuer that was configured."""
        if self._metadata is None:
            parts = urlsplit(self.issuer)
            answer = await self._http.get(
                f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
            )
            answer.raise_for_status()
            metadata: dict[str, Any] = answer.json()
            if metadata["issuer"] != self.issuer:
                raise ValueError(f"the metadata of {self.issuer} is of another issuer")
            self._metadata = metadata
        return self._metadata


class JwtVerifier:
    """Decides whether a bearer token is good here. The MCP SDK asks it once per request.

    Args:
        server: The only issuer believed.
        audience: The URL of this MCP server, as registered with the authorization server.
    """

    def __init__(self, server: AuthorizationServer, *, audience: str) -> None:
        self._server = server
        self._audience = audience

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what the token allows, or None, which becomes a 401.

        Trouble with the authorization server is None as well: what cannot be checked is not let in.
        """
        try:
            claims = await self._verified_claims(token)
            if claims is None or not await self._server.is_active(token):
                return None
        except (httpx2.HTTPError, ValueError, KeyError) as exc:
            print(f"demo: could not check a token: {exc!r}", file=sys.stderr, flush=True)
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=self._audience,
            subject=claims["sub"],
            claims=claims,
        )

    async def _verified_claims(self, token: str) -> dict[str, Any] | None:
        """Check signature, type, issuer, audience and time (RFC 9068 §4)."""
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ", "").lower() != "at+jwt" or header.get("alg") not in ALGORITHMS:
                return None
            key = await self._server.find_key(header.get("kid", ""))
            if key is None or key.algorithm_name != header["alg"]:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._server.issuer,
                leeway=CLOCK_LEEWAY,
                options={"require": list(REQUIRED_CLAIMS)},
            )
        except jwt.InvalidTokenError:
            return None
        proved = PROVED_KEY.get()  # a token bound to a key is no bearer token, and no other token needs a proof
        return claims if claims.get("cnf") == ({"jkt": proved} if proved else None) else None


class ToolScopes:
    """Refuses a tool call whose scope the token lacks, with 403 and the scope in the challenge.

    It stands behind the SDK's authentication, which has put the token into the context.
    """

    def __init__(self, app: ASGIApp, *, metadata_url: str) -> None:
        self._app = app
        self._metadata_url = metadata_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look into the request's body for tool calls, then hand the request on unchanged."""
        token = get_access_token() if scope["type"] == "http" and scope["method"] == "POST" else None
        if token is None:
            await self._app(scope, receive, send)
            return
        body = await read_body(receive)
        if body is None:
            await answer_json(send, 413, {"error": "invalid_request", "error_description": "the body is too large"})
            return
        missing = sorted({TOOL_SCOPES[name] for name in called_tools(body)} - set(token.scopes))
        if missing:
            await self._refuse(send, " ".join(missing))
            return
        await self._app(scope, replay(body, receive), send)

    async def _refuse(self, send: Send, missing: str) -> None:
        challenge = (
            f'Bearer error="insufficient_scope", error_description="This tool needs the scope {missing}", '
            f'scope="{missing}", resource_metadata="{self._metadata_url}"'
        )
        body = {"error": "insufficient_scope", "error_description": f"This tool needs the scope {missing}"}
        await answer_json(send, 403, body, (b"www-authenticate", challenge.encode()))


def called_tools(body: bytes) -> Iterable[str]:
    """Yield the names of our tools that a JSON-RPC message, or a batch of them, calls."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return  # the SDK answers what is not JSON
    for message in parsed if isinstance(parsed, list) else [parsed]:
        if isinstance(message, dict) and message.get("method") == "tools/call":
            params = message.get("params")
            name = params.get("name") if isinstance(params, dict) else None
            if isinstance(name, str) and name in TOOL_SCOPES:
                yield name


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None when it is too large."""
    chunks, size = [], 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body once more, then what really comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def build_app(server: AuthorizationServer, *, url: str, host: str) -> Starlette:
    """Put the MCP server together.

    Args:
        server: Where tokens come from.
        url: This server's own URL, which is also the audience of its tokens.
        host: The address it listens on; on loopback the SDK refuses requests that name another host.
    """
    # Keeps `http://host` apart from `http://host/`: both strings are compared byte for byte elsewhere.
    auth = AuthSettings.model_validate(
        {"issuer_url": server.issuer, "resource_server_url": url, "validate_token_resource": True}
    )
    assert auth.resource_server_url is not None  # noqa: S101  it is given two lines above
    notes = MCPServer("Demo notes", token_verifier=JwtVerifier(server, audience=url), auth=auth, log_level="WARNING")
    add_tools(notes)
    app = notes.streamable_http_app(streamable_http_path=urlsplit(url).path or "/", stateless_http=True, host=host)
    metadata_url = str(build_resource_metadata_url(auth.resource_server_url))
    app.user_middleware.insert(0, Middleware(ProofOfPossession, url=url))
    app.user_middleware.append(Middleware(ToolScopes, metadata_url=metadata_url))
    # The SDK's own document would list only scopes that every request needs; the first route that matches answers.
    app.router.routes[:0] = create_protected_resource_routes(
        auth.resource_server_url,
        [auth.issuer_url],
        scopes_supported=list(TOOL_SCOPES.values()),
        resource_name="Demo notes",
    )
    return app


def add_tools(notes: MCPServer) -> None:
    """Give the server its two tools. Notes are kept in memory, apart for each user."""
    kept: dict[str, list[str]] = defaultdict(list)

    def user(tool: str) -> str:
        token = get_access_token()
        if token is None or token.subject is None:
            raise PermissionError("no token in the context")
        print(f"demo: {tool} called by client {token.client_id} for user {token.subject}", flush=True)
        return token.subject

    @notes.tool()
    def list_notes() -> list[str]:
        """List your notes."""
        return list(kept[user("list_notes")])

    @notes.tool()
    def add_note(text: str) -> str:
        """Add a note."""
        mine = kept[user("add_note")]
        mine.append(text)
        return f"You have {len(mine)} note{'' if len(mine) == 1 else 's'}."


def credentials_of_environment() -> tuple[str, str] | None:
    """Return the client credentials for introspection, which are never given on the command line."""
    client_id, secret = os.environ.get("AUTHPLANE_CLIENT_ID"), os.environ.get("AUTHPLANE_CLIENT_SECRET")
    return (client_id, secret) if client_id and secret else None


def main() -> None:
    """Read the options and serve until a signal ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--issuer", default=os.environ.get("AUTHPLANE_ISSUER", "http://localhost:9000"))
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--url", help="URL that clients use, when it is not http://HOST:PORT/mcp")
    options = parser.parse_args()
    url = options.url or f"http://{options.host}:{options.port}/mcp"
    TypeAdapter(AnyHttpUrl).validate_python(url)
    server = AuthorizationServer(
        options.issuer, http=httpx2.AsyncClient(timeout=5), credentials=credentials_of_environment()
    )
    print(f"demo: serving {url}, tokens of {options.issuer}", flush=True)
    uvicorn.run(
        build_app(server, url=url, host=options.host),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
