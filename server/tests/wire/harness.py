"""What the tests of the wire do over and over: register, sign in, agree, redeem."""

import base64
import html
import re
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx2
import orjson

from authserver.app import Server
from authserver.clients.registration import Registered
from authserver.core import Core, administer_keys
from authserver.keys.administration import KeyAdministration
from authserver.keys.keyring import Keyring
from authserver.protocol.grant_types import DEVICE_CODE
from authserver.protocol.pkce import s256_challenge
from authserver.resources.records import Resource
from authserver.users.records import User
from server.tests.web.direct import DirectTransport

ISSUER = "http://localhost:9000"
EMAIL, PASSWORD = "ada@example.com", "correct horse battery staple"
VERIFIER = "v" * 43
REDIRECT = "https://client.example/cb"
RESOURCE = "https://mcp.example.com/mcp"
HIDDEN = re.compile(r'<input[^>]*name="(csrf_token|session_id|redirect)"[^>]*value="([^"]*)"')

Answer = httpx2.Response


def hidden_fields(page: Answer) -> dict[str, str]:
    """Return the hidden fields of the first form that has each."""
    found: dict[str, str] = {}
    for name, value in HIDDEN.findall(page.text):
        found.setdefault(name, html.unescape(value))
    return found


def query_of(answer: Answer) -> dict[str, str]:
    """Return the parameters of a redirect."""
    query = urlsplit(answer.headers["location"]).query
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a JWT."""
    payload = token.split(".")[1]
    return dict(orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


@dataclass(kw_only=True)
class Wire:
    """A running server and one browser."""

    server: Server
    core: Core
    keyring: Keyring
    clock: Any
    user: User
    resource: Resource
    runtime: Registered
    http: httpx2.AsyncClient = field(init=False)

    async def __aenter__(self) -> Self:
        self.http = self.new_browser()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    @property
    def keys(self) -> KeyAdministration:
        """What operators may do with the signing keys."""
        return administer_keys(self.core, self.keyring)

    def new_browser(self) -> httpx2.AsyncClient:
        """Return a client with cookies of its own that follows no redirect."""
        transport = DirectTransport(self.server.public, peer="192.0.2.7")
        return httpx2.AsyncClient(transport=transport, base_url=ISSUER, follow_redirects=False)

    async def register(self, **members: object) -> dict[str, Any]:
        """Register a client dynamically."""
        document = {"client_name": "Tests", "redirect_uris": [REDIRECT]} | members
        answer = await self.http.post("/oauth/register", json=document)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def request(self, client_id: str, **parameters: str | None) -> dict[str, str]:
        """Return the parameters of an authorization request; None leaves one out."""
        query: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": REDIRECT,
            "code_challenge": s256_challenge(VERIFIER),
            "code_challenge_method": "S256",
            "scope": "notes:read",
            "state": "a state",
            "resource": RESOURCE,
        }
        query.update(parameters)
        return {name: value for name, value in query.items() if value is not None}

    async def authorize(self, client_id: str, **parameters: str | None) -> Answer:
        """Send an authorization request."""
        return await self.http.get("/oauth/authorize", params=self.request(client_id, **parameters))

    async def sign_in(self, browser: httpx2.AsyncClient | None = None, *, email: str = EMAIL) -> Answer:
        """Sign the user in."""
        http = browser or self.http
        form = hidden_fields(await http.get("/login"))
        return await http.post("/login", data={**form, "email": email, "password": PASSWORD})

    async def allow(self, asked: Answer, *, scopes: list[str] | None = None, action: str = "allow") -> Answer:
        """Follow a redirect to the consent page and answer it; all scopes shown are ticked unless said otherwise."""
        assert asked.status_code == 303, asked.text
        page = await self.http.get(asked.headers["location"])
        assert page.status_code == 200, page.text
        shown = [html.unescape(value) for value in re.findall(r'name="scopes" value="([^"]*)"', page.text)]
        form = {**hidden_fields(page), "scopes": shown if scopes is None else scopes, "action": action}
        return await self.http.post("/consent", data=form)

    async def code(self, client_id: str, **parameters: str | None) -> str:
        """Get a code: sign in and agree as far as needed."""
        answer = await self.authorize(client_id, **parameters)
        if answer.headers["location"].startswith("/login"):
            await self.sign_in()
            answer = await self.authorize(client_id, **parameters)
        if answer.headers["location"].startswith("/consent"):
            answer = await self.allow(answer)
        assert "code" in query_of(answer), answer.headers["location"]
        return query_of(answer)["code"]

    async def token(self, *, proof: str | None = None, **form: str | list[str] | None) -> Answer:
        """Post to the token endpoint, with a proof of possession if one is given."""
        headers = {} if proof is None else {"DPoP": proof}
        return await self.http.post(
            "/oauth/token", data={k: v for k, v in form.items() if v is not None}, headers=headers
        )

    async def redeem(self, client_id: str, code: str, *, proof: str | None = None, **form: str | None) -> Answer:
        """Redeem a code."""
        base: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "code": code,
            "code_verifier": VERIFIER,
        }
        return await self.token(proof=proof, **(base | form))

    async def tokens(self, client_id: str, **parameters: str | None) -> dict[str, Any]:
        """Go the whole way to tokens."""
        answer = await self.redeem(client_id, await self.code(client_id, **parameters))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def start_device(self, client_id: str | None, **form: str | None) -> Answer:
        """Start a device."""
        base: dict[str, str | None] = {"client_id": client_id, "scope": "notes:read notes:write", "resource": RESOURCE}
        data = {name: value for name, value in (base | form).items() if value is not None}
        return await self.http.post("/oauth/device_authorization", data=data)

    async def enter_code(self, user_code: str, browser: httpx2.AsyncClient | None = None) -> Answer:
        """Enter a user code on the page for it, signing in first if need be."""
        http = browser or self.http
        page = await http.get("/device")
        if page.status_code == 303:
            await self.sign_in(http)
            page = await http.get("/device")
        return await http.post("/device", data={**hidden_fields(page), "user_code": user_code})

    async def answer_device(
        self,
        question: Answer,
        *,
        action: str = "allow",
        scopes: list[str] | None = None,
        browser: httpx2.AsyncClient | None = None,
    ) -> Answer:
        """Answer what a device asks for; all scopes shown are ticked unless said otherwise."""
        assert question.status_code == 200, question.text
        shown = re.findall(r'name="scopes" value="([^"]*)"', question.text)
        form = {**hidden_fields(question), "scopes": shown if scopes is None else scopes, "action": action}
        return await (browser or self.http).post("/device", data=form)

    async def poll(self, client_id: str, device_code: str, *, proof: str | None = None, **form: str | None) -> Answer:
        """Ask for the tokens of a device."""
        base: dict[str, str | None] = {"grant_type": DEVICE_CODE, "client_id": client_id, "device_code": device_code}
        return await self.token(proof=proof, **(base | form))

    async def refresh(
        self, client_id: str, refresh_token: str, *, proof: str | None = None, **form: str | None
    ) -> Answer:
        """Refresh."""
        base: dict[str, str | None] = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "refresh_token": refresh_token,
        }
        return await self.token(proof=proof, **(base | form))

    async def introspect(self, token: str) -> dict[str, Any]:
        """Ask about a token as the Resource's runtime client."""
        answer = await self.http.post(
            "/oauth/introspect",
            data={"token": token},
            auth=(self.runtime.client.id, self.runtime.client_secret or ""),
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def audit(self) -> list[tuple[str, str]]:
        """Return the audit trail as pairs of action and detail, oldest first."""
        await self.core.trail.flush()
        rows = await self.core.db.fetch_all("SELECT action, detail FROM audit_events ORDER BY id")
        return [(row["action"], row["detail"]) for row in rows]
