"""Enterprise-asserted identity (topology T10): a provider vouches, operators decide, nobody is asked."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from mcp import Client
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from e2e.harness.enterprise import Provider, enterprise
from e2e.harness.inspection import Inspection
from e2e.harness.installation import ROOT, Demo, Installation, found, postgres_database, sqlite_database
from e2e.harness.metadata_document import Authority
from e2e.harness.processes import free_port, wait_until
from e2e.harness.program import Program
from e2e.harness.proof_key import ProofKey
from e2e.test_python_client import Memory

pytestmark = pytest.mark.anyio

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LABORATORY = (sys.executable, ROOT / "e2e" / "python" / "laboratory.py")
OBEYED_WITHIN = 15.0


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server_environment: dict[str, str]
) -> Iterator[Installation]:
    """An installation on each database that reaches providers on this machine."""
    directory: Path = tmp_path_factory.mktemp(f"enterprise-{request.param}")
    database = (
        sqlite_database(directory)
        if request.param == "sqlite"
        else postgres_database(request.getfixturevalue("postgres_dsn"))
    )
    with database as named:
        yield Installation(directory, database=named, extra=server_environment, command=LABORATORY)


@dataclass(kw_only=True)
class Enterprise:
    """A provider that the server trusts, and a client for its users."""

    installation: Installation
    demo: Demo
    provider: Provider
    idp_id: str
    client_id: str
    secret: str = field(repr=False)

    def assertion(self, **claims: Any) -> str:
        own = {"resource": self.demo.url, "scope": "notes:read"} | claims
        return self.provider.assertion(audience=self.installation.issuer, client_id=self.client_id, **own)

    def trade(
        self, assertion: str | None = None, *, port: int | None = None, proof: str | None = None, **form: str
    ) -> httpx2.Response:
        sent = {
            "grant_type": JWT_BEARER,
            "assertion": assertion or self.assertion(),
            "client_id": self.client_id,
            "client_secret": self.secret,
        }
        url = f"http://localhost:{port or self.installation.port}/oauth/token"
        return httpx2.post(url, data=sent | form, headers={"DPoP": proof} if proof else {})

    def admin(self, *words: str) -> Any:
        """Run an admin command; return the object that it prints."""
        return json.loads(self.installation.run("admin", *words, "--json"))

    def becomes(self, status: int, error: str | None = None, *, scopes: str = "notes:read") -> None:
        """Wait until fresh assertions are answered so."""

        def is_so() -> bool:
            answer = self.trade(self.assertion(scope=scopes))
            return (answer.status_code, answer.json().get("error")) == (status, error)

        wait_until(is_so, seconds=OBEYED_WITHIN, what=f"{status} {error}")


@pytest.fixture(scope="module")
def acme(installation: Installation, demo: Demo, authority: Authority) -> Iterator[Enterprise]:
    """The provider, found by its metadata, with a policy that lets one scope through."""
    with enterprise(authority) as provider:
        printed = installation.run(
            *("admin", "client", "create", "--name", "enterprise-backend", "--auth-method", "client_secret_post"),
            *("--grant-types", JWT_BEARER, "--scope", "notes:read notes:write"),
        )
        client_id, secret = found(r"\bid=(\S+)", printed), found(r"client_secret=(\S+)", printed)
        acme = Enterprise(
            installation=installation, demo=demo, provider=provider, idp_id="", client_id=client_id, secret=secret
        )
        idp = acme.admin("idp", "create", "--name", "Acme", "--issuer", provider.issuer)
        assert idp["jwks_uri"] == f"{provider.issuer}/jwks"
        acme.idp_id = idp["id"]
        acme.becomes(403, "access_denied")
        allowed = ("--client-ids", client_id, "--scopes", "notes:read", "--resources", demo.url)
        acme.admin("xaa", "policy", "create", "--name", "acme", "--idp-id", idp["id"], *allowed)
        acme.becomes(200)
        yield acme


async def test_a_token_says_who_vouched_and_works_at_the_resource(acme: Enterprise) -> None:
    assertion = acme.assertion()
    answer = acme.trade(assertion, scope="notes:read", resource=acme.demo.url)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope"}
    token = answer.json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == f"{acme.provider.issuer}:alice@acme"
    assert (claims["aud"], claims["scope"]) == ([acme.demo.url], "notes:read")
    assert claims["act"] == {"sub": acme.provider.issuer}
    active = introspected(acme, token)
    assert (active["active"], active["sub"]) == (True, claims["sub"])
    inspection = Inspection(acme.installation.environment)
    issued, consents, users = await inspection.rows(
        f"SELECT 1 FROM audit_events WHERE action = 'jwt_bearer.issued' AND detail LIKE 'jti={claims['jti']} %'",
        "SELECT 1 FROM consent_grants",
        "SELECT 1 FROM users WHERE provider <> 'local'",
    )
    assert (len(issued), len(consents), len(users)) == (1, 0, 0)
    again = acme.trade(assertion)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def introspected(acme: Enterprise, token: str) -> dict[str, Any]:
    proof = (acme.demo.client_id, acme.demo.client_secret)
    return dict(httpx2.post(f"{acme.installation.issuer}/oauth/introspect", data={"token": token}, auth=proof).json())


def test_the_metadata_names_the_profile(acme: Enterprise) -> None:
    metadata = httpx2.get(f"{acme.installation.issuer}/.well-known/oauth-authorization-server").json()
    assert JWT_BEARER in metadata["grant_types_supported"]
    assert metadata["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]


def test_what_the_policy_does_not_hold_is_denied(acme: Enterprise) -> None:
    answer = acme.trade(acme.assertion(scope="notes:read notes:write"))
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
    assert "policy_denied" in acme.installation.explain(answer.json()["reference"])


def test_two_servers_that_get_one_assertion_at_once_issue_one_token(acme: Enterprise) -> None:
    port = free_port()
    with acme.installation.serve(port=port), ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            assertion = acme.assertion()
            ports = [acme.installation.port, port] * 4
            answers = list(threads.map(lambda to, sent=assertion: acme.trade(sent, port=to), ports))
            assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 7}


def test_a_rotation_is_noticed_and_an_outage_survived(acme: Enterprise) -> None:
    acme.provider.rotate()
    acme.becomes(200)
    acme.provider.fails = True
    acme.becomes(200)
    with pytest.raises(AssertionError, match="cannot be had"):
        acme.installation.run("admin", "idp", "refresh-keys", "--id", acme.idp_id)
    acme.becomes(500, "server_error")
    acme.provider.fails = False
    acme.installation.run("admin", "idp", "refresh-keys", "--id", acme.idp_id)
    acme.becomes(200)


def test_a_provider_that_is_disabled_vouches_for_nobody_until_it_is_enabled(acme: Enterprise) -> None:
    acme.installation.run("admin", "idp", "update", "--id", acme.idp_id, "--enabled", "false")
    acme.becomes(400, "invalid_grant")
    acme.installation.run("admin", "idp", "update", "--id", acme.idp_id, "--enabled", "true")
    acme.becomes(200)


def test_a_token_is_bound_to_the_key_that_the_client_proves_to_hold(acme: Enterprise) -> None:
    key = ProofKey()
    endpoint = f"{acme.installation.issuer}/oauth/token"
    answer = acme.trade(proof=key.proof(endpoint))
    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP"), answer.text
    token = answer.json()["access_token"]
    bound = jwt.decode(token, options={"verify_signature": False})["cnf"]
    assert bound == {"jkt": key.jkt}
    active = introspected(acme, token)
    assert (active["token_type"], active["cnf"]) == ("DPoP", bound)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for scheme, proof, status in (("Bearer", "", 401), ("DPoP", key.proof(acme.demo.url, token=token), 200)):
        headers = {"authorization": f"{scheme} {token}", "accept": "application/json, text/event-stream", "DPoP": proof}
        assert httpx2.post(acme.demo.url, json=body, headers=headers).status_code == status
    again = acme.trade(acme.assertion(cnf=bound), proof=key.proof(endpoint))
    assert jwt.decode(again.json()["access_token"], options={"verify_signature": False})["cnf"] == bound
    unproved = acme.trade(acme.assertion(cnf=bound))
    assert (unproved.status_code, unproved.json()["error"]) == (400, "invalid_grant")


def test_a_mapped_user_who_is_disabled_ends_their_tokens(acme: Enterprise) -> None:
    account = acme.installation.create_user()
    user_id = found(rf"id=(\S+) email={re.escape(account.email)}", acme.installation.run("admin", "user", "list"))
    mapped = ("--idp-id", acme.idp_id, "--idp-subject", "ada@acme", "--local-user-id", user_id)
    acme.admin("xaa", "mapping", "create", *mapped)
    token = acme.trade(acme.assertion(sub="ada@acme")).json()["access_token"]
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == user_id
    assert introspected(acme, token)["active"]
    acme.installation.run("admin", "user", "disable", "--id", user_id)
    assert introspected(acme, token) == {"active": False}
    refused = acme.trade(acme.assertion(sub="ada@acme"))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_the_official_python_client_signs_in_by_assertion(acme: Enterprise) -> None:
    async def assertion(audience: str, resource: str) -> str:
        assert (audience, resource) == (acme.installation.issuer, acme.demo.url)
        return acme.assertion()

    memory = Memory()
    auth = IdentityAssertionOAuthProvider(
        server_url=acme.demo.url,
        storage=memory,
        client_id=acme.client_id,
        client_secret=acme.secret,
        issuer=acme.installation.issuer,
        assertion_provider=assertion,
        scope="notes:read",
    )
    async with (
        httpx2.AsyncClient(auth=auth, timeout=20) as http,
        Client(streamable_http_client(acme.demo.url, http_client=http)) as client,
    ):
        tools = await client.list_tools()
    assert {tool.name for tool in tools.tools} == {"list_notes", "add_note"}
    assert memory.tokens is not None
    assert memory.tokens.refresh_token is None


def test_the_official_typescript_client_signs_in_by_assertion(acme: Enterprise) -> None:
    """It asks for every scope that the resource declares, so the assertion and a policy must hold them all."""
    both = "notes:read notes:write"
    policy = acme.admin("xaa", "policy", "create", "--name", "all", "--idp-id", acme.idp_id)
    acme.becomes(200, scopes=both)
    options = {
        "mcpUrl": acme.demo.url,
        "issuer": acme.installation.issuer,
        "clientId": acme.client_id,
        "clientSecret": acme.secret,
        "assertion": acme.assertion(scope=both),
    }
    with Program("node/enterprise.mjs", options) as client:
        answer = client.do("list")
    assert set(answer.get("tools", ())) == {"list_notes", "add_note"}, answer
    assert [[url.rstrip("/") for url in pair] for pair in answer["asked"]] == [
        [acme.installation.issuer, acme.demo.url]
    ]
    assert "refresh_token" not in answer["tokens"]
    acme.installation.run("admin", "xaa", "policy", "delete", "--id", policy["id"])
    acme.becomes(403, "access_denied", scopes=both)


async def test_no_secret_and_no_assertion_is_written_down(acme: Enterprise) -> None:
    token = acme.trade().json()["access_token"]
    logs = "".join(path.read_text() for path in acme.installation.directory.glob("*.log"))
    rows = await Inspection(acme.installation.environment).rows(
        "SELECT actor_id, client_id, detail FROM audit_events", "SELECT decision FROM refusal_traces"
    )
    for text in (logs, str(rows)):
        assert acme.secret not in text
        assert token not in text
        # An id at random may hold the first three letters of a JWT, but no dot behind them.
        assert not re.search(r"eyJ[\w-]+\.", text)
        assert not re.search(r"[\w.]+@[\w-]+\.[a-z]{2,}", text)
