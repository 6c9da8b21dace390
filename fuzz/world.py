"""The whole server in this process: what an input is sent to, and what its answers are held against."""

import asyncio
import io
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import asyncpg

from authserver.app import Server, build_server
from authserver.authorization.device_limits import DeviceLimits
from authserver.clients.administration import NewClient
from authserver.clients.registration import Registered
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.clients import CimdConfig, DcrConfig
from authserver.config.sections.listeners import RateLimitConfig, ServerConfig, SessionConfig
from authserver.config.sections.storage import PostgresConfig, SigningConfig, SqliteConfig, StorageConfig
from authserver.core import Clock, Core, open_core, open_keys
from authserver.login.sessions import Sessions
from authserver.login.site import site_of
from authserver.protocol.grant_types import CLIENT_CREDENTIALS, DEVICE_CODE, JWT_BEARER
from authserver.protocol.identifiers import new_secret
from authserver.protocol.pkce import s256_challenge
from authserver.public_app import Limits, build_limits
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, ResourceScope
from authserver.telemetry import logs
from authserver.web.http import HttpRequest
from authserver.xaa.administration import IdpDraft
from fuzz.documents import DocumentServer
from fuzz.signing import JWKS_URI, PublishedKeys, Signer

ISSUER = "http://localhost:9000"
RESOURCE = "https://mcp.example.com/mcp"
REDIRECT = "https://client.example/cb?kept=1"
NATIVE = "http://127.0.0.1/callback"
VERIFIER = "v" * 43
NOW = 1_790_000_000
PROVIDER = "https://idp.example"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it reaches the application."""

    method: str
    path: str
    query: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: bytes) -> str | None:
        """Return a header that is there once, or None."""
        values = [value.decode("latin-1") for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else None


class World:
    """A server with a user, a Resource and a client, and nobody else; all of it in memory."""

    def __init__(self, *, postgres: str = "") -> None:
        """Begin a world.

        Args:
            postgres: DSN of a server, on which a database is made for it; SQLite in memory without one.
        """
        self._postgres = postgres
        self._numbers = count(1)
        self._stack = AsyncExitStack()
        self.signer = Signer()
        self.log = io.BytesIO()
        self.client_id = ""
        self.cookie = ""
        self._spare: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        directory = self._stack.enter_context(tempfile.TemporaryDirectory())
        logs.configure_logging(level="error", stream=self.log)
        logging.raiseExceptions = True
        config = _config(Path(directory), await self._stack.enter_async_context(_database(self._postgres)))
        self.core: Core = await open_core(
            config, clock=Clock(milliseconds=lambda: NOW * 1000), migrate=True, http=PublishedKeys(self.signer)
        )
        self._stack.push_async_callback(self.core.db.close)
        await self.core.mode.refresh()
        keyring = await open_keys(config, now=NOW)
        self.documents = await self._stack.enter_async_context(DocumentServer())
        user = await self.core.accounts.create_user(email="ada@example.com", password="x" * 12, name="Ada", now=NOW)
        await self.core.resources.create_resource(_notes(), now=NOW)
        self.machine = await self._confidential(CLIENT_CREDENTIALS)
        self.enterprise = await self._confidential(JWT_BEARER)
        jwks = {"keys": [self.signer.jwk | {"kid": "key-1"}]}
        self.prover = await self._confidential(CLIENT_CREDENTIALS, auth_method="private_key_jwt", jwks=jwks)
        idp = await self.core.idps.register(IdpDraft(name="Acme", issuer=PROVIDER, jwks_uri=JWKS_URI), now=NOW)
        await self.core.xaa_policies.create(name="all", idp_id=idp.id, now=NOW)
        self.server: Server = await build_server(self.core, keyring, _limits(config))
        sessions = Sessions(self.core.db, config.session, site=site_of(ISSUER))
        self.cookie = sessions.issue(user, now=NOW)[1].decode().partition(";")[0]
        body = b'{"client_name":"Fuzz","redirect_uris":["%s","%s"]}' % (REDIRECT.encode(), NATIVE.encode())
        registered = await self.send(Sent(method="POST", path="/oauth/register", body=body))
        assert registered.status == 201, registered.body
        self.client_id = registered.body.decode().partition('"client_id":"')[2].partition('"')[0]
        body = b'{"client_name":"Box","grant_types":["%s"],"redirect_uris":[]}' % DEVICE_CODE.encode()
        registered = await self.send(Sent(method="POST", path="/oauth/register", body=body))
        assert registered.status == 201, registered.body
        self.device_client_id = str(json.loads(registered.body)["client_id"])
        return self

    def unique(self) -> str:
        """Return a text that nobody was given before."""
        return f"unique-{next(self._numbers)}"

    async def _confidential(self, grant_type: str, **members: object) -> Registered:
        new: dict[str, Any] = {"auth_method": "client_secret_post"} | members
        return await self.core.clients.create(
            NewClient(name="Fuzz", grant_types=(grant_type,), scope="notes:read", **new), now=NOW
        )

    async def device(self) -> dict[str, str]:
        """Return the device code, the user code and the id of a device that waits, and what forms of its pages prove."""
        form = {"client_id": self.device_client_id, "scope": "notes:read", "resource": RESOURCE}
        sent = Sent(method="POST", path="/oauth/device_authorization", headers=FORM, body=urlencode(form).encode())
        answer = await self.send(sent)
        assert answer.status == 200, answer.body
        started = json.loads(answer.body)
        headers = {"cookie": self.cookie}
        page = await self.send(Sent(method="GET", path="/device", headers=headers))
        own = {"csrf_token": _field(page, "csrf_token"), "user_code": started["user_code"]}
        body = urlencode(own).encode()
        question = await self.send(Sent(method="POST", path="/device", headers=headers | FORM, body=body))
        return {
            "{device}": started["device_code"],
            "{user}": started["user_code"],
            "{entry}": own["csrf_token"],
            "{session}": _field(question, "session_id"),
            "{csrf}": _field(question, "csrf_token"),
        }

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def send(self, sent: Sent) -> Answer:
        """Send a request as a web server would."""
        request = HttpRequest(
            method=sent.method,
            raw_path=sent.path.encode(),
            query=sent.query,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in sent.headers.items()],
            client_address="192.0.2.7",
        )
        request.arrive(sent.body)
        request.end()
        served = self.server.public.serve(request)
        # In a context of its own, as the web server has it.
        answer = served if isinstance(served, tuple) else await asyncio.create_task(served)
        assert answer is not None, "no answer"
        status, *lines = answer[0].removesuffix(b"\r\n").split(b"\r\n")
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        return Answer(status=int(status.split()[1]), headers=headers, body=answer[1])

    def faults(self) -> bytes:
        """Return what was logged as an error since the last call."""
        found = self.log.getvalue()
        self.log.seek(0)
        self.log.truncate()
        return found

    def query(self, **changes: str) -> str:
        """Return the query of an authorization request that is right."""
        right = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "code_challenge": s256_challenge(VERIFIER),
            "code_challenge_method": "S256",
            "scope": "notes:read",
            "state": "a state",
            "resource": RESOURCE,
        }
        return urlencode(right | changes)

    async def code(self) -> str:
        """Return a code that was not used yet."""
        code = self._spare.get("code")
        if code is None:
            code = self._spare["code"] = await self._new_code()
        return code

    async def refresh_token(self) -> str:
        """Return a refresh token that was not used yet."""
        token = self._spare.get("refresh_token")
        if token is None:
            form = {
                "grant_type": "authorization_code",
                "client_id": self.client_id,
                "code": await self._new_code(),
                "code_verifier": VERIFIER,
            }
            sent = Sent(method="POST", path="/oauth/token", headers=FORM, body=urlencode(form).encode())
            answer = await self.send(sent)
            assert answer.status == 200, answer.body
            token = self._spare["refresh_token"] = (
                answer.body.decode().partition('"refresh_token":"')[2].partition('"')[0]
            )
        return token

    def spent(self) -> None:
        """Note that a request may have used code or token up."""
        self._spare.clear()

    async def _new_code(self) -> str:
        """Allow once, and be remembered."""
        headers = {"cookie": self.cookie}
        sent = Sent(method="GET", path="/oauth/authorize", query=self.query().encode(), headers=headers)
        answer = await self.send(sent)
        location = answer.header(b"location") or ""
        if location.startswith("/consent"):
            answer = await self._allow(location)
            location = answer.header(b"location") or ""
        return parse_qs(urlsplit(location).query)["code"][0]

    async def _allow(self, location: str) -> Answer:
        path, _, query = location.partition("?")
        headers = {"cookie": self.cookie}
        page = await self.send(Sent(method="GET", path=path, query=query.encode(), headers=headers))
        form = {
            "session_id": query.partition("=")[2],
            "csrf_token": _field(page, "csrf_token"),
            "scopes": "notes:read",
            "action": "allow",
        }
        body = urlencode(form).encode()
        return await self.send(Sent(method="POST", path="/consent", headers=headers | FORM, body=body))


@asynccontextmanager
async def _database(server: str) -> AsyncIterator[str]:
    """Yield the DSN of an empty database on a server; nothing without a server."""
    if not server:
        yield ""
        return
    name = f"fuzz_{uuid4().hex}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield f"{server.rpartition('/')[0]}/{name}"
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def _field(page: Answer, name: str) -> str:
    """Return the value of a hidden field."""
    return page.body.decode().partition(f'name="{name}" value="')[2].partition('"')[0]


def _limits(config: Config) -> Limits:
    """Return limits that let everything through, but count: an hour passes from one look at the clock to the next."""
    hours = count(1)
    return replace(build_limits(config, are_shared=False), devices=DeviceLimits(monotonic=lambda: next(hours) * 3600.0))


def _config(directory: Path, postgres: str) -> Config:
    return replace(
        Config(),
        server=ServerConfig(issuer=ISSUER),
        storage=StorageConfig(
            driver="postgres" if postgres else "sqlite",
            sqlite=SqliteConfig(path=":memory:"),
            postgres=PostgresConfig(dsn=Secret(postgres), min_conns=0, max_conns=5),
        ),
        signing=SigningConfig(key_path=str(directory / "keys")),
        session=SessionConfig(secret=Secret(new_secret())),
        rate_limit=RateLimitConfig(enabled=False),
        dcr=DcrConfig(rate_limit=0),
        cimd=CimdConfig(require_https=False, allow_private_addresses=True, fetch_timeout=2),
    )


def _notes() -> ResourceDraft:
    scopes = (ResourceScope(name="notes:read", description="Read"), ResourceScope(name="notes:write", description=""))
    return ResourceDraft(
        slug="notes", backend_kind=BackendKind.MINT, uri=RESOURCE, display_name="Notes <b>&", scopes=scopes
    )
