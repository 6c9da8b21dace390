"""Two instances of one installation, spoken to over HTTP alone: what every mutation of the admin API is tried on.

The same world stands in process, in the tests of the wire, and as two processes end to end.
"""

import asyncio
import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.harness.oauth_client import REDIRECT_URI
from e2e.harness.person import forms_of

CODE, REFRESH, MACHINE = "authorization_code", "refresh_token", "client_credentials"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
PASSWORD = "correct horse battery staple"
VERIFIER = "v" * 43
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"
MAX_STEPS = 12
BROKER_PROVIDERS = "/admin/broker-providers"

Answer = httpx2.Response


def unique(prefix: str) -> str:
    """Return a name that nobody else has."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@dataclass(frozen=True, slots=True)
class Party:
    """A client with a secret, which may use every grant."""

    id: str
    secret: str

    @property
    def named(self) -> dict[str, str]:
        return {"client_id": self.id, "client_secret": self.secret}


@dataclass(frozen=True, slots=True)
class Resource:
    """A registered resource with the scopes ``read`` and ``write``."""

    id: str
    slug: str
    uri: str


@dataclass(frozen=True, slots=True)
class Account:
    """A user who can sign in."""

    id: str
    email: str


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of an identity provider."""

    kid: str = field(default_factory=lambda: uuid.uuid4().hex)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)

    def document(self) -> dict[str, Any]:
        """Return the key set with this key alone."""
        own = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(self.key.public_key()))
        return {"keys": [own | {"kid": self.kid}]}


@dataclass(kw_only=True)
class World(ABC):
    """Both instances.

    Attributes:
        admin: The admin listener of the first, as the built-in owner.
        here: The public listener of the first.
        there: The public listener of the second.
        admin_there: The admin listener of the second, as nobody.
    """

    issuer: str
    admin: httpx2.AsyncClient
    here: httpx2.AsyncClient
    there: httpx2.AsyncClient
    admin_there: httpx2.AsyncClient
    resource: Resource = field(init=False)
    reader: Party = field(init=False)
    _person: Account | None = field(default=None, init=False)
    _browser: httpx2.AsyncClient = field(init=False)
    _signing_in: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @abstractmethod
    async def settle(self) -> None:
        """Return when both instances know what was changed so far."""

    @abstractmethod
    async def pass_time(self) -> None:
        """Let a second or less go by."""

    @abstractmethod
    def new_browser(self, *, there: bool = False) -> httpx2.AsyncClient:
        """Return a client with cookies of its own that follows no redirect."""

    @abstractmethod
    def publish(self, path: str, document: Mapping[str, Any]) -> str:
        """Have the web server of identity providers answer with a document; return its URL."""

    def now(self) -> int:
        """Return the time of the server."""
        return int(time.time())

    async def set_up(self) -> None:
        """Make what mutations share: a resource, and who acts as it."""
        self.reader = await self.party()
        self.resource = await self.new_resource(runtime=self.reader)
        self._browser = self.new_browser()
        await self.settle()

    async def close(self) -> None:
        """Close the browser of the person who is shared."""
        await self._browser.aclose()

    async def person(self) -> Account:
        """Return somebody who signed in."""
        async with self._signing_in:
            if self._person is None:
                self._person = await self.account()
                await self._user_token(self._browser, self._person, self.reader, self.resource, "read")
        return self._person

    async def do(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """Have something done at the first instance; return what is answered."""
        answer = await self.admin.request(method, path, json=body, params=query)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def party(self) -> Party:
        """Create a client that may do everything."""
        body = {
            "client_name": unique("party"),
            "grant_types": [CODE, REFRESH, MACHINE, EXCHANGE, JWT_BEARER],
            "redirect_uris": [REDIRECT_URI],
            "token_endpoint_auth_method": "client_secret_post",
            "scope": "read write",
        }
        created = await self.do("POST", "/admin/clients", body)
        return Party(created["client_id"], created["client_secret"])

    async def account(self) -> Account:
        """Create a user."""
        email = f"{unique('user')}@example.com"
        created = await self.do("POST", "/admin/users", {"email": email, "password": PASSWORD})
        return Account(created["id"], email)

    async def broker_provider(self) -> dict[str, Any]:
        """Register a provider of the token vault."""
        body = {"slug": unique("provider"), "display_name": "Search", "protocol": "api_key"}
        return dict(await self.do("POST", BROKER_PROVIDERS, body))

    async def broker_resource(self) -> str:
        """Register a broker resource; return its slug."""
        slug, provider = unique("broker"), await self.broker_provider()
        body = {"slug": slug, "backend_kind": "broker", "broker_provider_id": provider["id"]}
        await self.do("POST", "/admin/resources", body)
        return slug

    async def new_resource(self, *, runtime: Party | None = None, may_exchange: Party | None = None) -> Resource:
        """Register a resource, which the instances may not know yet."""
        slug = unique("res")
        body = {
            "slug": slug,
            "backend_kind": "mint",
            "uri": f"https://{slug}.example.com",
            "scopes": [{"name": "read"}, {"name": "write"}],
            "policy": {
                "runtime": {"client_ids": [runtime.id] if runtime else []},
                "exchange": {"allowed_client_ids": [may_exchange.id] if may_exchange else []},
            },
        }
        created = await self.do("POST", "/admin/resources", body)
        return Resource(created["id"], slug, created["uri"])

    async def machine_token(self, party: Party) -> str:
        """Have a client get a token for itself at the shared resource."""
        form = {"grant_type": MACHINE, "resource": self.resource.uri, "scope": "read"}
        answer = await self.here.post("/oauth/token", data=form | party.named)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def outcome(self, party: Party, **form: str) -> str:
        """Ask the second instance for a machine token; return the error, empty for none."""
        return await self._outcome({"grant_type": MACHINE, **form}, party)

    async def exchange(self, party: Party, subject_token: str, resource: Resource, scope: str = "read") -> str:
        """Ask the second instance for an exchange; return the error, empty for none."""
        form = {"subject_token": subject_token, "subject_token_type": ACCESS_TOKEN, "resource": resource.slug}
        return await self._outcome({"grant_type": EXCHANGE, "scope": scope, **form}, party)

    async def trade(self, party: Party, assertion: str) -> Answer:
        """Present an assertion to the second instance."""
        form = {"grant_type": JWT_BEARER, "assertion": assertion, "resource": self.resource.uri, "scope": "read"}
        return await self.there.post("/oauth/token", data=form | party.named)

    async def is_active(self, token: str, party: Party | None = None) -> bool:
        """Ask the second instance about a token, as who acts as the shared resource or another client."""
        asker = party or self.reader
        answer = await self.there.post("/oauth/introspect", data={"token": token, **asker.named})
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    async def published(self, slug: str) -> dict[str, Any]:
        """Return what the second instance publishes about a resource; empty when it knows none."""
        answer = await self.there.get(f"/.well-known/oauth-protected-resource/{slug}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    async def kids(self, *, here: bool = False) -> list[str]:
        """Return the names of the keys that the second instance, or the first, publishes."""
        answer = await (self.here if here else self.there).get("/.well-known/jwks.json")
        return [key["kid"] for key in answer.json()["keys"]]

    async def signs_in(self, email: str, password: str) -> bool:
        """Tell whether somebody can sign in at the second instance."""
        async with self.new_browser(there=True) as browser:
            (form,) = forms_of((await browser.get("/login")).text)
            fields = dict(form.fields) | {"email": email, "password": password}
            answer = await browser.post("/login", data=fields)
        assert answer.status_code in {303, 422}, answer.text
        return answer.status_code == 303

    async def user_token(
        self, party: Party, resource: Resource | None = None, *, account: Account | None = None, scope: str = "read"
    ) -> str:
        """Have somebody allow a client, and redeem the code; the shared person at the shared resource unless said."""
        if account is not None:
            async with self.new_browser() as browser:
                return await self._user_token(browser, account, party, resource or self.resource, scope)
        return await self._user_token(self._browser, await self.person(), party, resource or self.resource, scope)

    async def _user_token(
        self, browser: httpx2.AsyncClient, account: Account, party: Party, resource: Resource, scope: str
    ) -> str:
        query = {
            "response_type": "code",
            "client_id": party.id,
            "redirect_uri": REDIRECT_URI,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "scope": scope,
            "resource": resource.uri,
        }
        answer = await browser.get("/oauth/authorize", params=query)
        code = await self._walk(browser, answer, account)
        form = {"grant_type": CODE, "code": code, "code_verifier": VERIFIER, "redirect_uri": REDIRECT_URI}
        answer = await self.here.post("/oauth/token", data=form | party.named)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def _outcome(self, form: dict[str, str], party: Party) -> str:
        answer = await self.there.post("/oauth/token", data=form | party.named)
        assert answer.status_code < 500, answer.text
        return "" if answer.status_code == 200 else str(answer.json()["error"])

    async def _walk(self, browser: httpx2.AsyncClient, answer: Answer, account: Account) -> str:
        """Sign in if asked, and allow; return the code."""
        for _ in range(MAX_STEPS):
            if answer.is_redirect:
                location = urljoin(str(answer.url), answer.headers["location"])
                if location.startswith(REDIRECT_URI):
                    return httpx2.URL(location).params["code"]
                answer = await browser.get(location)
                continue
            assert answer.status_code == 200, answer.text
            form = next(each for each in forms_of(answer.text) if each.names() & {"password", "session_id"})
            fields: dict[str, str | list[str]] = {}
            for name, value in form.fields:
                fields[name] = [*fields[name], value] if name in fields else value
            fields |= {"email": account.email, "password": PASSWORD} if "password" in fields else {"action": "allow"}
            answer = await browser.post(urljoin(str(answer.url), form.action), data=fields)
        raise AssertionError("the client was not reached")
