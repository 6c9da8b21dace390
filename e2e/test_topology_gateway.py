"""A gateway in front of hidden servers, and an agent with several, against running servers: T07 and T02's exchange.

The identifiers of checks stand beside them; the setting up is done by the command line. Check C1 ends each: nothing that was
handed out in secret, and no address of a person, is in the log or in the audit trail.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
import pytest

from e2e.harness.inspection import Inspection
from e2e.harness.installation import Account, Installation, found
from e2e.harness.oauth_client import REDIRECT_URI, OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, wait_until

pytestmark = pytest.mark.anyio

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@dataclass(frozen=True)
class Confidential:
    """A client with a secret."""

    id: str
    secret: str


@dataclass(slots=True)
class Scene:
    """A running installation, a person, and what may not be found in what the server writes."""

    installation: Installation
    inspection: Inspection
    alice: Person
    secrets: set[str] = field(default_factory=set)

    @property
    def issuer(self) -> str:
        return self.installation.issuer

    def client(self, name: str, *options: str) -> Confidential:
        printed = self.installation.run(
            *("admin", "client", "create", "--name", name, "--auth-method", "client_secret_basic"),
            *("--redirect-uris", REDIRECT_URI, *(options or ("--grant-types", EXCHANGE))),
        )
        made = Confidential(found(r"\bid=(\S+)", printed), found(r"client_secret=(\S+)", printed))
        self.secrets.add(made.secret)
        return made

    def resource(self, slug: str, *scopes: str, runtime: Confidential | None = None) -> str:
        """Register a Resource, and wait until the running server knows it; return its id."""
        options = [part for scope in scopes for part in ("--scopes", scope)]
        if runtime is not None:
            options += ["--policy-runtime-client-ids", runtime.id]
        printed = self.installation.run(
            *("admin", "resource", "create", "--slug", slug, "--backend-kind", "mint"),
            *("--uri", f"https://{slug}.example.com", *options),
        )
        document = f"{self.issuer}/.well-known/oauth-protected-resource/{slug}"
        wait_until(lambda: httpx2.get(document).status_code == 200, seconds=5, what=f"{slug} is known")
        return found(r"\bid=(\S+)", printed)

    def token_of(self, client: Confidential | OAuthClient, slug: str, scope: str) -> str:
        """Have Alice allow a client, and redeem the code."""
        asker = OAuthClient.__new__(OAuthClient)
        asker.issuer, asker.resource, asker.redirect_uri = self.issuer, f"https://{slug}.example.com", REDIRECT_URI
        asker.client_id = client.id if isinstance(client, Confidential) else client.client_id
        verifier = "v" * 43
        answer = self.alice.allow(asker.authorization_url(verifier, scope=scope))
        code = httpx2.URL(answer).params["code"]
        self.secrets.add(code)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": REDIRECT_URI,
            "client_id": asker.client_id,
        }
        if isinstance(client, Confidential):
            form["client_secret"] = client.secret
        return str(self.success(httpx2.post(f"{self.issuer}/oauth/token", data=form))["access_token"])

    def exchange(self, caller: Confidential, subject_token: str, **form: str) -> httpx2.Response:
        data = {"grant_type": EXCHANGE, "subject_token": subject_token, "subject_token_type": ACCESS_TOKEN, **form}
        return httpx2.post(f"{self.issuer}/oauth/token", data=data, auth=(caller.id, caller.secret))

    def success(self, answer: httpx2.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        body: dict[str, Any] = answer.json()
        self.secrets |= {body[name] for name in ("access_token", "refresh_token") if name in body}
        return body

    async def refused(self, answer: httpx2.Response, status: int, error: str, reason: str) -> None:
        """Check a refusal and its one audit row."""
        body = answer.json()
        assert (answer.status_code, body["error"]) == (status, error), answer.text
        (rows,) = await self.inspection.rows(
            f"SELECT action, detail FROM audit_events WHERE reference = '{body['reference']}'"
        )
        assert [(str(row[0]), str(row[1])) for row in rows] == [("token.exchange_denied", f"reason={reason}")]

    def is_active(self, caller: Confidential, token: str) -> bool:
        answer = httpx2.post(f"{self.issuer}/oauth/introspect", data={"token": token}, auth=(caller.id, caller.secret))
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    def claims(self, token: str) -> dict[str, Any]:
        """Return what a protected server reads, with the published keys."""
        header = jwt.get_unverified_header(token)
        published = httpx2.get(f"{self.issuer}/.well-known/jwks.json").json()["keys"]
        (key,) = [jwt.PyJWK.from_dict(entry) for entry in published if entry["kid"] == header["kid"]]
        assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["ES256"], issuer=self.issuer, options={"verify_aud": False}
        )
        return claims

    def revoke_consent(self, user_id: str, resource_id: str, client_id: str) -> None:
        listed = self.installation.run("admin", "grant", "list-user-grants", "--user", user_id)
        row = rf"id=(\S+) user_id=\S+ client_id={re.escape(client_id)} resource_id={re.escape(resource_id)} "
        self.installation.run("admin", "grant", "revoke-consent", "--id", found(row, listed))

    async def check_discretion(self, account: Account) -> None:
        written = [path.read_text() for path in self.installation.directory.glob("serve-*.log")]
        assert any("http request" in text for text in written)
        (rows,) = await self.inspection.rows("SELECT * FROM audit_events")
        everything = "\n".join([*written, *(repr(row) for row in rows)])
        assert [secret for secret in {*self.secrets, account.email, account.password} if secret in everything] == []


@pytest.fixture
async def scene(installation: Installation, server: Process, account: Account) -> AsyncIterator[Scene]:
    assert server
    person = Person(account, issuer=installation.issuer)
    scene = Scene(installation, Inspection(installation.environment), person)
    yield scene
    person.close()
    await scene.check_discretion(account)


async def test_t07_a_gateway_exchanges_for_hidden_servers_and_the_chain_says_so(scene: Scene) -> None:
    gateway = scene.client("mcp-gw", "--grant-types", EXCHANGE, "--agent")
    inner, reader, stranger = scene.client("inner"), scene.client("reader"), scene.client("stranger")
    gw = scene.resource("mcp-gw", "A", "B", "C", runtime=gateway)
    rest = scene.resource("rest-api", "AA", "BB", "CC", "DD", runtime=inner)
    scene.resource("deep", "AAA", runtime=reader)
    link = ("admin", "fronting", "create", "--source")
    scene.installation.run(*link, "mcp-gw", "--target", "rest-api", "--scope-map", "A:AA,B:BB,C:CC")
    scene.installation.run(*link, "rest-api", "--target", "deep", "--scope-map", "AA:AAA")
    agent = OAuthClient(scene.issuer, resource="https://mcp-gw.example.com")
    root = scene.token_of(agent, "mcp-gw", "A B")

    def knows_links() -> bool:
        first = scene.exchange(gateway, root, resource="rest-api", scope="AA")
        if first.status_code != 200:
            return False
        return scene.exchange(inner, scene.success(first)["access_token"], resource="deep").status_code == 200

    wait_until(knows_links, seconds=5, what="the links are known")
    body = scene.success(scene.exchange(gateway, root, resource="rest-api", scope="AA"))
    hop = body["access_token"]
    claims, alice = scene.claims(hop), scene.claims(root)["sub"]
    assert claims["aud"] == ["https://rest-api.example.com"]  # A1
    assert (claims["client_id"], claims["scope"], claims["sub"]) == ("mcp-gw", "AA", alice)
    assert claims["act"] == {"sub": "mcp-gw", "act": {"sub": agent.client_id}}
    assert body["expires_in"] == 3600
    (rows,) = await scene.inspection.rows(  # A2
        f"SELECT client_id, detail FROM audit_events WHERE detail LIKE 'jti={claims['jti']} %'"
    )
    ((caller, text),) = [(str(row[0]), str(row[1])) for row in rows]
    assert caller == gateway.id
    assert f"subject_client={agent.client_id} actor_client={gateway.id} type=mint_dispatch resource=rest-api" in text
    assert text.endswith("scopes=AA chain_kind=fronted via_link=mcp-gw->rest-api")
    children, consents = await scene.inspection.rows(  # A3
        "SELECT DISTINCT c.client_id, c.consent_client_id, p.client_id FROM issuances c"
        f" JOIN issuances p ON p.id = c.parent_jti WHERE c.resource_id = '{rest}'",
        f"SELECT id FROM consent_grants WHERE resource_id = '{rest}'",
    )
    assert [tuple(row) for row in children] == [("mcp-gw", None, agent.client_id)]
    assert consents == []
    assert scene.success(scene.exchange(gateway, root, resource="rest-api"))["scope"] == "AA BB"  # A4
    assert (claims["agent_id"], claims["agent_chain"]) == (gateway.id, [agent.client_id, "mcp-gw"])  # A5
    assert [scene.is_active(each, hop) for each in (inner, reader)] == [True, False]  # A6
    leaf = scene.success(scene.exchange(inner, hop, resource="deep"))["access_token"]  # A7
    deep = scene.claims(leaf)
    assert deep["client_id"] == "rest-api"
    assert deep["act"] == {"sub": "rest-api", "act": claims["act"]}

    await scene.refused(  # N1
        scene.exchange(stranger, root, resource="rest-api", scope="AA"),
        403,
        "access_denied",
        "fronting_caller_not_authorized",
    )
    for scope, reason in (  # N2, N3, N4
        ("A", "scope_not_in_catalog"),
        ("CC", "fronting_subject_scope_insufficient"),
        ("DD", "fronting_scope_unmapped"),
    ):
        answer = scene.exchange(gateway, root, resource="rest-api", scope=scope)
        await scene.refused(answer, 400, "invalid_scope", reason)

    assert scene.is_active(reader, leaf)  # A8
    scene.revoke_consent(alice, gw, agent.client_id)
    assert [scene.is_active(gateway, root), scene.is_active(inner, hop), scene.is_active(reader, leaf)] == [False] * 3
    await scene.refused(
        scene.exchange(gateway, root, resource="rest-api"), 400, "invalid_grant", "subject_token_revoked"
    )


async def test_t02_an_agent_exchanges_for_what_the_user_allowed_there(scene: Scene) -> None:
    grants = ("--grant-types", f"authorization_code,{EXCHANGE}")
    agent, third, reader = scene.client("my-agent-x", *grants), scene.client("third"), scene.client("reader")
    first = scene.resource("mcp-a", "read", runtime=reader)
    scene.resource("mcp-b", "read", "write", runtime=reader)
    scene.resource("mcp-c", "read", "write", runtime=reader)
    of_a = scene.token_of(agent, "mcp-a", "read")
    of_c = scene.token_of(agent, "mcp-c", "read")

    answer = scene.exchange(agent, of_a, resource="mcp-b", scope="read")  # A3
    await scene.refused(answer, 400, "consent_required", "consent_required")
    assert answer.json()["cause"] == "consent_missing"
    assert answer.json()["consent_url"].startswith(f"{scene.issuer}/authorize?resource=mcp-b&ticket=")
    scene.token_of(agent, "mcp-b", "read")
    child = scene.success(scene.exchange(agent, of_a, resource="mcp-b", scope="read"))["access_token"]  # A4
    claims = scene.claims(child)
    assert claims["aud"] == ["https://mcp-b.example.com"]
    (rows,) = await scene.inspection.rows(f"SELECT detail FROM audit_events WHERE detail LIKE 'jti={claims['jti']} %'")
    assert "type=mint_dispatch resource=mcp-b scopes=read chain_kind=direct via_link=" in str(rows[0][0])
    answer = scene.exchange(agent, of_a, resource="mcp-b", scope="write")  # N1
    await scene.refused(answer, 400, "invalid_scope", "subject_scope_ceiling")
    public = OAuthClient(scene.issuer, resource="https://mcp-b.example.com")  # N2
    form = {"grant_type": EXCHANGE, "subject_token": of_a, "subject_token_type": ACCESS_TOKEN}
    refused = public.request_token(form | {"client_id": public.client_id})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    answer = scene.exchange(third, of_a, resource="mcp-b", scope="read")  # N3
    await scene.refused(answer, 403, "access_denied", "cross_client_not_authorized")

    assert [scene.is_active(reader, token) for token in (of_a, child, of_c)] == [True] * 3
    scene.revoke_consent(claims["sub"], first, agent.id)  # N4
    assert [scene.is_active(reader, token) for token in (of_a, child, of_c)] == [False, False, True]
