"""What shipping clients send, played to the server: from discovery to a call and a refresh (mcp-authorization.md §11).

The fixtures say what each client was seen to send, and where that is written. Names in braces are filled in here.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from authserver.clients.store import find_client
from authserver.protocol.pkce import s256_challenge
from authserver.resources.administration import ResourceDraft
from authserver.resources.policy_lists import PolicyList
from authserver.resources.records import BackendKind, ResourceScope
from server.tests.fakes.document_server import DocumentServer, document_server
from server.tests.fakes.signing_client import RSA_KEY, SigningClient
from server.tests.wire.harness import EMAIL, ISSUER, PASSWORD, RESOURCE, VERIFIER, Wire, hidden_fields, query_of

pytestmark = pytest.mark.anyio

ROOT_RESOURCE = "https://root.example"
FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "clients").glob("*.json"))
FLOWS = [
    pytest.param(flow, id=f"{path.stem}-{number}-{flow['way']}")
    for path in FIXTURES
    for number, flow in enumerate(json.loads(path.read_text(encoding="utf-8"))["flows"])
]


@dataclass(kw_only=True)
class Replay:
    """One flow of one client, with what its placeholders stand for."""

    wire: Wire
    documents: DocumentServer
    flow: dict[str, Any]
    values: dict[str, str] = field(default_factory=dict)
    signer: SigningClient = field(
        default_factory=lambda: SigningClient(audience=f"{ISSUER}/oauth/token", alg="RS256", key=RSA_KEY)
    )

    def fill(self, template: Any) -> Any:
        """Return a template with its placeholders filled in."""
        if isinstance(template, dict):
            return {name: self.fill(value) for name, value in template.items()}
        if isinstance(template, list):
            return [self.fill(value) for value in template]
        if template == "{assertion}":
            return self.signer.assertion(now=self.wire.clock.seconds)
        for name, value in self.values.items():
            template = template.replace("{" + name + "}", value)
        return template

    async def discover(self) -> None:
        for asked in self.flow.get("preflights", ()):
            answer = await self.wire.http.options(
                asked["path"],
                headers={
                    "origin": asked["origin"],
                    "access-control-request-method": asked["method"],
                    "access-control-request-headers": asked["headers"],
                },
            )
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == "*"
            assert asked["method"] in answer.headers["access-control-allow-methods"]
            assert asked["headers"] in answer.headers["access-control-allow-headers"].lower()
        for asked in self.flow["discovery"]:
            answer = await self.wire.http.get(asked["path"], headers=asked["headers"])
            assert answer.status_code == asked["status"]
            assert answer.json()["issuer"] == ISSUER
            assert answer.headers["access-control-allow-origin"] == "*"

    async def identify(self) -> None:
        """Register, or publish the document; either way the client has an id after that."""
        if self.flow["way"] == "document":
            members = dict(self.flow["document"])
            if members.pop("jwks_uri", None):
                members["jwks"] = self.signer.jwks
            self.values["client_id"] = self.signer.client_id = self.documents.document("/client.json", **members)
            return
        answer = await self.wire.http.post(
            "/oauth/register",
            json=self.fill(self.flow["registration"]),
            headers=self.flow.get("registration_headers", {}),
        )
        assert answer.status_code == 201, answer.text
        registered = answer.json()
        assert registered["redirect_uris"] == self.flow["registration"]["redirect_uris"]
        self.values["client_id"] = registered["client_id"]

    async def authorize(self) -> None:
        """Go through login and consent, as the browser that the client opened."""
        http = self.wire.http
        asked = await http.get("/oauth/authorize", params=self.fill(self.flow["authorize"]))
        assert asked.status_code == 303, asked.text
        assert asked.headers["location"].startswith("/login?"), asked.headers["location"]
        form = hidden_fields(await http.get(asked.headers["location"]))
        signed_in = await http.post("/login", data={**form, "email": EMAIL, "password": PASSWORD})
        answer = await self.wire.allow(await http.get(signed_in.headers["location"]))
        assert answer.headers["location"].startswith(self.flow["redirect_uri"] + "?")
        query = query_of(answer)
        assert (query["state"], query["iss"]) == (self.values["state"], ISSUER)
        self.values["code"] = query["code"]

    async def ask_for_tokens(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a token request, and what clients take as a failure when it is missing."""
        answer = await self.wire.http.post("/oauth/token", data=self.fill(request["form"]), headers=request["headers"])
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        tokens: dict[str, Any] = answer.json()
        assert (tokens["token_type"], tokens["scope"]) == ("Bearer", self.values["scope"])
        assert isinstance(tokens["expires_in"], int)
        self.wire.clock.seconds += 1
        return tokens

    async def call(self, tokens: dict[str, Any], audience: str) -> None:
        """Do what the MCP server does with a call."""
        told = await self.wire.introspect(tokens["access_token"])
        assert (told["active"], told["aud"], told["client_id"]) == (True, audience, self.values["client_id"])


@pytest.fixture
async def documents() -> AsyncIterator[DocumentServer]:
    async with document_server() as server:
        yield server


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_shipping_client_gets_in_at_the_first_try(
    wire: Wire, documents: DocumentServer, flow: dict[str, Any], now: int
) -> None:
    scopes = (ResourceScope(name="notes:read"), ResourceScope(name="notes:write"))
    draft = ResourceDraft(slug="root", backend_kind=BackendKind.MINT, uri=ROOT_RESOURCE, scopes=scopes)
    await wire.core.resources.create_resource(draft, now=now)
    await wire.core.policy_lists.add(PolicyList.RUNTIME_CLIENTS, "root", wire.runtime.client.id, now=now)
    await wire.server.watcher.poll()

    replay = Replay(wire=wire, documents=documents, flow=flow)
    replay.values = {
        "root_resource": ROOT_RESOURCE,
        "scope": "notes:read notes:write",
        "state": "a state of the client",
        "verifier": VERIFIER,
        "challenge": s256_challenge(VERIFIER),
        "redirect_uri": flow["redirect_uri"],
    }
    replay.values["resource"] = replay.fill(flow.get("resource", RESOURCE))
    audience = ROOT_RESOURCE if "resource" in flow else RESOURCE

    await replay.discover()
    await replay.identify()
    await replay.authorize()
    client = await find_client(wire.core.db, replay.values["client_id"])
    assert client is not None
    assert client.application_type == flow["application_type"]

    tokens = await replay.ask_for_tokens(flow["token"])
    await replay.call(tokens, audience)
    replay.values["refresh_token"] = tokens["refresh_token"]
    at_once = flow["refresh"]["at_once"]
    answers = await asyncio.gather(*(replay.ask_for_tokens(flow["refresh"]) for _ in range(at_once)))
    assert all(answer == answers[0] for answer in answers)
    await replay.call(answers[0], audience)


def test_every_client_says_where_it_was_seen_and_how_it_is_proven() -> None:
    assert len(FIXTURES) >= 10
    for path in FIXTURES:
        fixture = json.loads(path.read_text(encoding="utf-8"))
        assert fixture.keys() == {"client", "seen", "proof", "source", "setup", "quirks", "flows"}, path.name
        assert fixture["source"], path.name
        assert all(quirk.keys() == {"does", "we"} for quirk in fixture["quirks"]), path.name
