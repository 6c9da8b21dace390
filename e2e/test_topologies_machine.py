"""Topologies with a machine's own token, against running servers: a backend service, and a hop that drops the user.

T04 and T06 of the acceptance scenarios; the identifiers of checks stand beside them. Nothing that was handed out in secret
may be found afterwards in what the server wrote: its log and its audit trail.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jwt
import pytest

from e2e.harness.inspection import Inspection
from e2e.harness.installation import Account, Installation, Machine
from e2e.harness.oauth_client import REDIRECT_URI, OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, wait_until

pytestmark = pytest.mark.anyio

INTERNAL, GATEWAY, METRICS = (
    "https://mcp-internal.example.com",
    "https://mcp-gw.example.com",
    "https://metrics.internal",
)


@dataclass(slots=True)
class Protected:
    """A protected server that verifies what it is shown with the published keys."""

    issuer: str
    uri: str

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that is for this server.

        Raises:
            jwt.InvalidTokenError: It is not.
        """
        header = jwt.get_unverified_header(token)
        assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
        published = httpx2.get(f"{self.issuer}/.well-known/jwks.json").json()["keys"]
        (key,) = [jwt.PyJWK.from_dict(entry) for entry in published if entry["kid"] == header["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["ES256"], audience=self.uri, issuer=self.issuer, options={"require": ["exp", "sub"]}
        )
        return claims


@dataclass(slots=True)
class Stage:
    """A fresh installation, running, and what may not be found in what it writes."""

    installation: Installation
    inspection: Inspection
    account: Account
    secrets: set[str] = field(default_factory=set)

    @property
    def issuer(self) -> str:
        return self.installation.issuer

    def resource(self, slug: str, uri: str, *scopes: str) -> Protected:
        """Register a Resource, and wait until the running server knows it."""
        options = [part for scope in scopes for part in ("--scopes", scope)]
        base = ("admin", "resource", "create", "--slug", slug, "--backend-kind", "mint")
        self.installation.run(*base, "--uri", uri, "--display-name", slug, *options)
        document = f"{self.issuer}/.well-known/oauth-protected-resource/{slug}"
        wait_until(lambda: httpx2.get(document).status_code == 200, seconds=5, what=f"{slug} is known")
        return Protected(self.issuer, uri)

    def machine(self, scope: str) -> Machine:
        machine = self.installation.create_machine(scope)
        assert machine.secret is not None
        self.secrets.add(machine.secret)
        return machine

    def success(self, answer: httpx2.Response) -> dict[str, Any]:
        """Return the body of a token response."""
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        body: dict[str, Any] = answer.json()
        self.secrets |= {body[name] for name in ("access_token", "refresh_token") if name in body}
        return body

    def is_active(self, machine: Machine, token: str) -> bool:
        auth = (machine.client_id, machine.secret or "")
        answer = httpx2.post(f"{self.issuer}/oauth/introspect", data={"token": token}, auth=auth)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    async def audit(self) -> list[tuple[str, str, str]]:
        """Return action, client and detail of every row."""
        (rows,) = await self.inspection.rows("SELECT action, client_id, detail FROM audit_events ORDER BY id")
        return [(str(action), str(client), str(detail)) for action, client, detail in rows]

    async def denials(self, client_id: str) -> list[str]:
        return [detail for action, client, detail in await self.audit() if client == client_id and "denied" in action]

    async def check_discretion(self) -> None:
        """Check that no log line and no audit row holds a secret, code, token or e-mail address (C1)."""
        written = [path.read_text() for path in self.installation.directory.glob("serve-*.log")]
        assert any("http request" in text for text in written)
        (rows,) = await self.inspection.rows("SELECT * FROM audit_events")
        assert rows
        everything = "\n".join([*written, *(repr(row) for row in rows)])
        found = [
            secret for secret in {*self.secrets, self.account.email, self.account.password} if secret in everything
        ]
        assert found == []


@pytest.fixture
async def stage(installation: Installation, server: Process, account: Account) -> AsyncIterator[Stage]:
    assert server
    stage = Stage(installation, Inspection(installation.environment), account)
    yield stage
    await stage.check_discretion()


def refused(answer: httpx2.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text


async def test_t04_a_backend_service_gets_a_token_about_itself(stage: Stage) -> None:
    internal = stage.resource("mcp-internal", INTERNAL, "ingest||Ingest", "query||Query")
    cron = stage.machine("ingest")

    body = stage.success(cron.ask(stage.issuer, resource=INTERNAL, scope="ingest"))

    claims = internal.verify(body["access_token"])  # A1
    assert claims["sub"] == claims["client_id"] == cron.client_id
    assert (claims["aud"], claims["scope"]) == ([INTERNAL], "ingest")
    assert "act" not in claims
    assert "refresh_token" not in body
    issued, consents = await stage.inspection.rows(
        f"SELECT kind, subject, client_id, scopes, token_digest FROM issuances WHERE client_id = '{cron.client_id}'",
        f"SELECT * FROM consent_grants WHERE client_id = '{cron.client_id}'",
    )
    digest = hashlib.sha256(body["access_token"].encode()).digest()[:16]  # A2
    assert [(*row[:4], bytes(row[4])) for row in issued] == [("machine", None, cron.client_id, "ingest", digest)]
    assert consents == []
    actions = [action for action, client, _ in await stage.audit() if client == cron.client_id]
    assert actions.count("client_credentials.issued") == 1
    assert "token.issued" not in actions
    wide = stage.machine("ingest other")  # A3
    assert stage.success(wide.ask(stage.issuer, resource=INTERNAL))["scope"] == "ingest"
    assert stage.is_active(cron, body["access_token"])  # A4
    auth = (cron.client_id, cron.secret or "")
    assert httpx2.post(f"{stage.issuer}/oauth/revoke", data={"token": body["access_token"]}, auth=auth).content == b""
    assert not stage.is_active(cron, body["access_token"])


async def test_t04_what_a_backend_service_is_refused(stage: Stage) -> None:
    stage.resource("mcp-ledger", "https://ledger.example.com", "post||Post", "query||Query")
    cron, bare, wide = stage.machine("post"), stage.installation.create_machine(""), stage.machine("post audit")
    ledger = {"resource": "https://ledger.example.com"}

    refused(wide.ask(stage.issuer, **ledger, scope="audit"), 400, "invalid_scope")  # N1
    assert await stage.denials(wide.client_id) == ["reason=scope_not_in_catalog"]
    refused(cron.ask(stage.issuer, **ledger, scope="query"), 400, "invalid_scope")
    document = {
        "client_name": "Self-made",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
    }
    made = httpx2.post(f"{stage.issuer}/oauth/register", json=document).json()
    self_made = Machine(made["client_id"], made["client_secret"], "client_secret_basic")
    for machine, reason in ((bare, "client_without_scopes"), (self_made, "self_registered_machine")):  # N2
        refused(machine.ask(stage.issuer, **ledger), 400, "invalid_scope")
        refused(machine.ask(stage.issuer, **ledger, scope="post"), 400, "invalid_scope")
        assert await stage.denials(machine.client_id) == [f"reason={reason}"] * 2
    refused(cron.ask(stage.issuer, resource="https://unknown.example.com"), 400, "invalid_target")  # N3
    assert sorted(await stage.denials(cron.client_id)) == ["reason=scope_outside_ceiling", "reason=unknown_resource"]

    public = OAuthClient(stage.issuer, resource="https://ledger.example.com")  # N4
    form = {"grant_type": "client_credentials", "client_id": public.client_id}
    refused(public.request_token(form), 401, "invalid_client")
    assert await stage.denials(public.client_id) == []
    other = stage.machine("post")
    refused(Machine(other.client_id, "wrong", other.auth_method).ask(stage.issuer), 401, "invalid_client")
    stage.installation.run("admin", "client", "suspend", "--id", other.client_id)
    refused(other.ask(stage.issuer), 401, "invalid_client")
    denials = await stage.denials(other.client_id)
    assert sorted(denials) == ["reason=client_not_active", "reason=invalid_client_secret"]
    stage.installation.run("admin", "client", "reactivate", "--id", other.client_id)
    grants = ("--grant-types", "authorization_code", "--redirect-uris", REDIRECT_URI)
    stage.installation.run("admin", "client", "update", "--id", other.client_id, *grants)
    refused(other.ask(stage.issuer), 400, "unauthorized_client")


@pytest.fixture
def alice(installation: Installation, account: Account) -> Iterator[Person]:
    person = Person(account, issuer=installation.issuer)
    yield person
    person.close()


async def test_t06_a_gateway_calls_on_with_a_token_of_its_own(stage: Stage, alice: Person) -> None:
    gateway, metrics = stage.resource("mcp-gw", GATEWAY, "read||Read"), stage.resource("metrics", METRICS, "emit||Emit")
    caller = stage.machine("emit")
    agent = OAuthClient(stage.issuer, resource=GATEWAY)
    code = agent.get_code(alice)
    stage.secrets.add(code.value)

    first = stage.success(agent.request_token(agent.redemption(code)))
    second = stage.success(caller.ask(stage.issuer, resource=METRICS, scope="emit"))

    of_user, of_gateway = gateway.verify(first["access_token"]), metrics.verify(second["access_token"])  # A1
    assert of_user["aud"] == [GATEWAY]
    assert of_gateway["sub"] == of_gateway["client_id"] == caller.client_id
    assert of_gateway["aud"] == [METRICS]
    assert {of_user["sub"], agent.client_id}.isdisjoint(str(value) for value in of_gateway.values())
    (rows,) = await stage.inspection.rows(  # A2
        "SELECT subject, client_id, parent_jti, authorization_id IS NULL FROM issuances"
        f" WHERE client_id IN ('{agent.client_id}', '{caller.client_id}') ORDER BY subject IS NULL"
    )
    assert [(row[0], row[1], row[2], bool(row[3])) for row in rows] == [
        (of_user["sub"], agent.client_id, None, False),
        (None, caller.client_id, None, True),
    ]
    with pytest.raises(jwt.InvalidAudienceError):  # N1
        metrics.verify(first["access_token"])
    agent.revoke(first["refresh_token"])  # A3: what ends the user's part leaves the machine's
    stage.installation.run("admin", "user", "force-logout", "--id", of_user["sub"])
    refused(agent.request_token(agent.refresh(first["refresh_token"])), 400, "invalid_grant")
    assert stage.is_active(caller, second["access_token"])
