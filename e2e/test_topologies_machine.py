"""Topologies with a machine's own token, against running servers: a backend service, and a hop that drops the user.

T04 and T06 of the acceptance scenarios; the identifiers of checks stand beside them. Nothing that was handed out in secret
may be found afterwards in what the server wrote: its log and its audit trail.
"""

import hashlib
from functools import partial

import httpx2
import jwt
import pytest

from e2e.harness.installation import Machine
from e2e.harness.oauth_client import REDIRECT_URI, OAuthClient
from e2e.harness.scene import Scene

pytestmark = pytest.mark.anyio


async def audit(scene: Scene, client_id: str) -> list[tuple[str, str]]:
    """Return action and detail of each row about a client."""
    (rows,) = await scene.inspection.rows(
        f"SELECT action, detail FROM audit_events WHERE client_id = '{client_id}' ORDER BY id"
    )
    return [(str(action), str(detail)) for action, detail in rows]


async def test_t04_a_backend_service_gets_a_token_about_itself(scene: Scene) -> None:
    internal = scene.resource("mcp-internal", "ingest", "query")
    cron = scene.machine("ingest")

    body = scene.success(cron.ask(scene.issuer, resource=internal.uri, scope="ingest"))

    claims = scene.verify(body["access_token"], internal.uri)  # A1
    assert claims["sub"] == claims["client_id"] == cron.client_id
    assert (claims["aud"], claims["scope"]) == ([internal.uri], "ingest")
    assert "act" not in claims
    assert "refresh_token" not in body
    issued, consents = await scene.inspection.rows(
        f"SELECT kind, subject, client_id, scopes, token_digest FROM issuances WHERE client_id = '{cron.client_id}'",
        f"SELECT * FROM consent_grants WHERE client_id = '{cron.client_id}'",
    )
    digest = hashlib.sha256(body["access_token"].encode()).digest()[:16]  # A2
    assert [(*row[:4], bytes(row[4])) for row in issued] == [("machine", None, cron.client_id, "ingest", digest)]
    assert consents == []
    actions = [action for action, _ in await audit(scene, cron.client_id)]
    assert actions.count("client_credentials.issued") == 1
    assert "token.issued" not in actions
    wide = scene.machine("ingest other")  # A3
    assert scene.success(wide.ask(scene.issuer, resource=internal.uri))["scope"] == "ingest"
    assert scene.is_active(cron, body["access_token"])  # A4
    auth = (cron.client_id, cron.secret or "")
    assert httpx2.post(f"{scene.issuer}/oauth/revoke", data={"token": body["access_token"]}, auth=auth).content == b""
    assert not scene.is_active(cron, body["access_token"])


async def test_t04_what_a_backend_service_is_refused(scene: Scene) -> None:
    ledger = {"resource": scene.resource("mcp-ledger", "post", "query").uri}
    cron, bare, wide = scene.machine("post"), scene.installation.create_machine(""), scene.machine("post audit")
    refused = partial(scene.refused, action="client_credentials.denied")

    await refused(wide.ask(scene.issuer, **ledger, scope="audit"), 400, "invalid_scope", "scope_not_in_catalog")  # N1
    await refused(cron.ask(scene.issuer, **ledger, scope="query"), 400, "invalid_scope", "scope_outside_ceiling")
    document = {
        "client_name": "Self-made",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
    }
    made = httpx2.post(f"{scene.issuer}/oauth/register", json=document).json()
    self_made = Machine(made["client_id"], made["client_secret"], "client_secret_basic")
    for machine, reason in ((bare, "client_without_scopes"), (self_made, "self_registered_machine")):  # N2
        await refused(machine.ask(scene.issuer, **ledger), 400, "invalid_scope", reason)
        await refused(machine.ask(scene.issuer, **ledger, scope="post"), 400, "invalid_scope", reason)
    nowhere = cron.ask(scene.issuer, resource="https://unknown.example.com")  # N3
    await refused(nowhere, 400, "invalid_target", "unknown_resource")

    public = OAuthClient(scene.issuer, resource=ledger["resource"])  # N4
    anonymous = public.request_token({"grant_type": "client_credentials", "client_id": public.client_id})
    assert (anonymous.status_code, anonymous.json()["error"]) == (401, "invalid_client")
    assert [action for action, _ in await audit(scene, public.client_id) if "denied" in action] == []
    other, run = scene.machine("post"), scene.installation.run
    wrong = Machine(other.client_id, "wrong", other.auth_method)
    await refused(wrong.ask(scene.issuer), 401, "invalid_client", "invalid_client_secret")
    run("admin", "client", "suspend", "--id", other.client_id)
    await refused(other.ask(scene.issuer), 401, "invalid_client", "client_not_active")
    run("admin", "client", "reactivate", "--id", other.client_id)
    grants = ("--grant-types", "authorization_code", "--redirect-uris", REDIRECT_URI)
    run("admin", "client", "update", "--id", other.client_id, *grants)
    await refused(other.ask(scene.issuer), 400, "unauthorized_client", "grant_not_registered")


async def test_t06_a_gateway_calls_on_with_a_token_of_its_own(scene: Scene) -> None:
    gateway, metrics = scene.resource("mcp-gw", "read"), scene.resource("metrics", "emit")
    caller, agent = scene.machine("emit"), OAuthClient(scene.issuer, resource=gateway.uri)

    first = scene.tokens_of(agent)
    second = scene.success(caller.ask(scene.issuer, resource=metrics.uri, scope="emit"))

    of_user = scene.verify(first["access_token"], gateway.uri)  # A1
    of_gateway = scene.verify(second["access_token"], metrics.uri)
    assert of_user["aud"] == [gateway.uri]
    assert of_gateway["sub"] == of_gateway["client_id"] == caller.client_id
    assert of_gateway["aud"] == [metrics.uri]
    assert {of_user["sub"], agent.client_id}.isdisjoint(str(value) for value in of_gateway.values())
    (rows,) = await scene.inspection.rows(  # A2
        "SELECT subject, client_id, parent_jti, authorization_id IS NULL FROM issuances"
        f" WHERE client_id IN ('{agent.client_id}', '{caller.client_id}') ORDER BY subject IS NULL"
    )
    assert [(row[0], row[1], row[2], bool(row[3])) for row in rows] == [
        (of_user["sub"], agent.client_id, None, False),
        (None, caller.client_id, None, True),
    ]
    with pytest.raises(jwt.InvalidAudienceError):  # N1
        scene.verify(first["access_token"], metrics.uri)
    scene.revoke_consent(of_user["sub"], agent.client_id, gateway.id)  # A3
    ended = agent.request_token(agent.refresh(first["refresh_token"]))
    assert (ended.status_code, ended.json()["error"]) == (400, "invalid_grant")
    assert scene.is_active(caller, second["access_token"])
