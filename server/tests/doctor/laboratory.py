"""An MCP server and its authorization server on loopback, healthy until something is broken."""

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import jwt

from authserver.protocol.identifiers import base64url
from authserver.protocol.jose import PublicKey, SigningKey, generate_signing_key
from server.tests.fakes.listening import listening

PAGE = "http://localhost:6274"
SCOPES = ("notes:read", "notes:write")
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """What is answered; ``never`` keeps the connection open and says nothing."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    never: bool = False


Handler = Callable[[Request], Awaitable[Answer]]


def json_answer(document: object, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, json.dumps(document).encode(), {"content-type": _JSON} | named)


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None, *, port: int = 0) -> AsyncIterator[int]:
    """Serve on a loopback port; yield it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":  # a TLS handshake
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            answer = await handler(Request(method, path, headers, body))
            if answer.never:
                await asyncio.Event().wait()
            fields = {"Content-Length": str(len(answer.body)), "Connection": "close"} | answer.headers
            lines = [f"HTTP/1.1 {answer.status} Answer", *(f"{name}: {value}" for name, value in fields.items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + answer.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass

    async with listening(serve, port, tls=tls) as own_port:
        yield own_port


@dataclass(slots=True, kw_only=True)
class Setup:
    """Both servers as they are configured. What breaks one changes a field; both look at every request.

    Attributes:
        mcp_url: Of the MCP server, as clients use it.
        overrides: Answers by method and URL, before everything else.
        accepts: Which tokens the MCP server lets in; None is no token.
        named_keys: The keys it verifies with.
        silent_cors: Paths that know nothing of CORS.
    """

    mcp_url: str
    issuer: str
    key: SigningKey
    now: int = field(default_factory=lambda: int(time.time()))
    challenge: str | None = None
    challenge_status: int = 401
    prm: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_urls: list[str] = field(default_factory=list)
    jwks: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    overrides: dict[tuple[str, str], Answer] = field(default_factory=dict)
    accepts: Callable[[str | None], bool] | None = None
    named_keys: Mapping[str, PublicKey] = field(default_factory=dict)
    silent_cors: set[str] = field(default_factory=set)
    exposed: str = "WWW-Authenticate"
    skew: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[tuple[str, str]] = field(default_factory=list)

    @property
    def prm_url(self) -> str:
        parts = urlsplit(self.mcp_url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path}{query}"

    @property
    def jwks_url(self) -> str:
        return f"{self.issuer}/jwks"

    def build(self) -> None:
        """Fill everything in as it should be."""
        self.challenge = f'Bearer resource_metadata="{self.prm_url}", scope="notes:read"'
        self.prm = {
            "resource": self.mcp_url,
            "authorization_servers": [self.issuer],
            "scopes_supported": list(SCOPES),
            "bearer_methods_supported": ["header"],
        }
        self.metadata = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "jwks_uri": self.jwks_url,
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        }
        parts = urlsplit(self.issuer)
        origin = f"{parts.scheme}://{parts.netloc}"
        self.metadata_urls = [
            f"{origin}/.well-known/oauth-authorization-server{parts.path}",
            f"{self.issuer}/.well-known/openid-configuration",
        ]
        self.jwks = {"keys": [dict(self.key.public.jwk)]}
        self.named_keys = {self.key.kid: self.key.public}
        self.header = {"typ": "at+jwt", "alg": self.key.alg, "kid": self.key.kid}
        self.claims = {
            "iss": self.issuer,
            "sub": "ada",
            "aud": [self.mcp_url],
            "client_id": "c",
            "scope": "notes:read notes:write",
            "jti": "j",
            "iat": self.now - 5,
            "nbf": self.now - 5,
            "exp": self.now + 600,
        }

    def issue(self) -> str:
        """Return a token as the server would issue it now."""
        if self.token is not None:
            return self.token
        header, claims = (base64url(json.dumps(part).encode()) for part in (self.header, self.claims))
        signature = base64url(self.key._sign(hashlib.sha256(f"{header}.{claims}".encode()).digest()))
        return f"{header}.{claims}.{signature}"

    def is_good(self, token: str | None) -> bool:
        """Verify as an MCP server must."""
        if self.accepts is not None:
            return self.accepts(token)
        try:
            header = jwt.get_unverified_header(token or "")
            key = self.named_keys[header["kid"]]
            claims = jwt.decode(
                token or "",
                jwt.PyJWK.from_dict(dict(key.jwk)),
                algorithms=[key.alg],
                audience=self.mcp_url,
                issuer=self.issuer,
                options={"require": ["sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, KeyError):
            return False
        now = self.now + self.skew
        return bool(header["typ"] == "at+jwt" and claims["nbf"] - 30 <= now < claims["exp"] + 30)

    def site(self, base: str) -> Handler:
        """Return the server whose URLs begin with ``base``."""

        async def handle(request: Request) -> Answer:
            self.shown.append((base, json.dumps([request.path, dict(request.headers), request.body.decode()])))
            if "authorization" in request.headers:
                self.authorizations.append((base, request.headers["authorization"]))
            answer = self.overrides.get((request.method, f"{base}{request.path}")) or self._answer(base, request)
            dated = {"Date": formatdate(self.now + self.skew, usegmt=True)}
            return Answer(answer.status, answer.body, dated | answer.headers, answer.never)

        return handle

    def _answer(self, base: str, request: Request) -> Answer:
        url = f"{base}{request.path}"
        if request.method == "OPTIONS":
            return self._with_cors(url, Answer(204))
        if url.removesuffix("/") == self.mcp_url.removesuffix("/") and request.method == "POST":
            return self._with_cors(url, self._serve_mcp(request))
        documents = {self.prm_url: self.prm, self.jwks_url: self.jwks}
        documents |= dict.fromkeys(self.metadata_urls, self.metadata)
        if request.method == "GET" and url in documents:
            return self._with_cors(url, json_answer(documents[url]))
        return Answer(404, b"not found")

    def _serve_mcp(self, request: Request) -> Answer:
        token = request.headers.get("authorization", "").removeprefix("Bearer ") or None
        if self.is_good(token):
            return json_answer({"jsonrpc": "2.0", "id": 1, "result": {}})
        headers = {} if self.challenge is None else {"WWW-Authenticate": self.challenge}
        if token and self.challenge:
            headers["WWW-Authenticate"] += ', error="invalid_token"'
        return Answer(self.challenge_status, b"{}", headers)

    def _with_cors(self, url: str, answer: Answer) -> Answer:
        if url not in self.silent_cors:
            answer.headers |= {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, MCP-Protocol-Version",
                "Access-Control-Expose-Headers": self.exposed,
            }
        return answer


@asynccontextmanager
async def laboratory(
    *, host: str = "127.0.0.1", path: str = "/mcp", issuer_path: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Setup]:
    """Serve a healthy pair."""
    handlers: dict[str, Handler] = {}

    async def mcp(request: Request) -> Answer:
        return await handlers["mcp"](request)

    async def server(request: Request) -> Answer:
        return await handlers["server"](request)

    async with serving(mcp, tls) as mcp_port, serving(server) as issuer_port:
        base, issuer_base = f"{'https' if tls else 'http'}://{host}:{mcp_port}", f"http://127.0.0.1:{issuer_port}"
        key = generate_signing_key("ES256", kid="k1")
        setup = Setup(mcp_url=f"{base}{path}", issuer=f"{issuer_base}{issuer_path}", key=key)
        setup.build()
        handlers |= {"mcp": setup.site(base), "server": setup.site(issuer_base)}
        yield setup
