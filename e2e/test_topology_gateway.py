"""A gateway in front of hidden servers, and an agent with several, against running servers: T07 and T02.

The identifiers of checks stand beside them; the setting up is done by the command line. Each scene ends with check C1:
nothing that was handed out in secret, and no address of a person, is in the log or in the audit trail.
"""

import secrets
from dataclasses import dataclass

import httpx2
import jwt
import pytest

from e2e.harness.installation import KNOWN_WITHIN_SECONDS, Demo, Machine
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import answer_of
from e2e.harness.processes import wait_until
from e2e.harness.proof_key import ProofKey
from e2e.harness.scene import ACCESS_TOKEN, EXCHANGE, Resource, Scene

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Gateway:
    """The middle of T07: a gateway that may exchange for a hidden server, and an agent of Alice's."""

    scene: Scene
    caller: Machine
    source: Resource
    target: Resource
    agent: OAuthClient

    def exchange(self, subject_token: str, *, origin: str | None = None, **form: str) -> httpx2.Response:
        wanted = {"resource": self.target.slug} | form
        return self.scene.exchange(self.caller, subject_token, key=None, origin=origin, **wanted)

    def becomes(self, subject_token: str, status: int, **form: str) -> None:
        """Wait until the running server knows what was changed."""
        wait_until(
            lambda: self.exchange(subject_token, **form).status_code == status,
            seconds=KNOWN_WITHIN_SECONDS,
            what=f"{status} to the gateway",
        )


@pytest.fixture
def gateway(scene: Scene) -> Gateway:
    caller = scene.client("mcp-gw", "--grant-types", EXCHANGE)
    source = scene.resource("mcp-gw", "A", "B", "C", runtime=caller)
    target = scene.resource("rest-api", "AA", "BB", "CC", "DD")
    scene.link(source.slug, target.slug, "A:AA,B:BB,C:CC")
    agent = scene.agent(source.uri, "--grant-types", "authorization_code", "--scope", "A B C")
    return Gateway(scene, caller, source, target, agent)


async def test_t07_a_gateway_exchanges_for_hidden_servers_and_the_chain_says_so(scene: Scene) -> None:
    gateway = scene.client("mcp-gw", "--grant-types", EXCHANGE, "--agent")
    inner, reader, stranger = scene.client("inner"), scene.client("reader"), scene.client("stranger")
    gw = scene.resource("mcp-gw", "A", "B", "C", runtime=gateway)
    rest = scene.resource("rest-api", "AA", "BB", "CC", "DD", runtime=inner)
    deeper = scene.resource("deep", "AAA", runtime=reader)
    scene.link(gw.slug, rest.slug, "A:AA,B:BB,C:CC")
    scene.link(rest.slug, deeper.slug, "AA:AAA")
    agent = OAuthClient(scene.issuer, resource=gw.uri)
    root = scene.tokens_of(agent, scope="A B")["access_token"]

    def knows_links() -> bool:
        first = scene.exchange(gateway, root, resource=rest.slug, scope="AA")
        if first.status_code != 200:
            return False
        return scene.exchange(inner, first.json()["access_token"], resource=deeper.slug).status_code == 200

    wait_until(knows_links, seconds=KNOWN_WITHIN_SECONDS, what="the links are known")
    body = scene.success(scene.exchange(gateway, root, resource=rest.slug, scope="AA"))
    hop = body["access_token"]
    claims, alice = scene.verify(hop, rest.uri), scene.claims(root)["sub"]
    assert claims["aud"] == [rest.uri]  # A1
    assert (claims["client_id"], claims["scope"], claims["sub"]) == (gw.slug, "AA", alice)
    assert claims["act"] == {"sub": gw.slug, "act": {"sub": agent.client_id}}
    assert body["expires_in"] == 3600
    (rows,) = await scene.inspection.rows(  # A2
        f"SELECT client_id, detail FROM audit_events WHERE detail LIKE 'jti={claims['jti']} %'"
    )
    ((caller, text),) = [(str(row[0]), str(row[1])) for row in rows]
    assert caller == gateway.client_id
    parties = f"subject_client={agent.client_id} actor_client={gateway.client_id}"
    assert f"{parties} type=mint_dispatch resource={rest.slug}" in text
    assert text.endswith(f"scopes=AA chain_kind=fronted via_link={gw.slug}->{rest.slug}")
    children, consents = await scene.inspection.rows(  # A3
        "SELECT DISTINCT c.client_id, c.consent_client_id, p.client_id FROM issuances c"
        f" JOIN issuances p ON p.id = c.parent_jti WHERE c.resource_id = '{rest.id}'",
        f"SELECT id FROM consent_grants WHERE resource_id = '{rest.id}'",
    )
    assert [tuple(row) for row in children] == [(gw.slug, None, agent.client_id)]
    assert consents == []
    assert scene.success(scene.exchange(gateway, root, resource=rest.slug))["scope"] == "AA BB"  # A4
    assert (claims["agent_id"], claims["agent_chain"]) == (gateway.client_id, [agent.client_id, gw.slug])  # A5
    assert [scene.is_active(each, hop) for each in (inner, reader)] == [True, False]  # A6
    leaf = scene.success(scene.exchange(inner, hop, resource=deeper.slug))["access_token"]  # A7
    deep = scene.verify(leaf, deeper.uri)
    assert deep["client_id"] == rest.slug
    assert deep["act"] == {"sub": rest.slug, "act": claims["act"]}

    await scene.refused(  # N1
        scene.exchange(stranger, root, resource=rest.slug, scope="AA"),
        403,
        "access_denied",
        "fronting_caller_not_authorized",
    )
    document = {
        "client_name": "Self-made",
        "grant_types": [EXCHANGE],
        "token_endpoint_auth_method": "client_secret_basic",
    }
    made = httpx2.post(f"{scene.issuer}/oauth/register", json=document).json()
    self_made = Machine(made["client_id"], made["client_secret"], "client_secret_basic")
    answer = scene.exchange(self_made, root, resource=rest.slug, scope="AA")
    await scene.refused(answer, 403, "access_denied", "fronting_caller_not_authorized")
    for scope, reason in (  # N2, N3, N4
        ("A", "scope_not_in_catalog"),
        ("CC", "fronting_subject_scope_insufficient"),
        ("DD", "fronting_scope_unmapped"),
    ):
        answer = scene.exchange(gateway, root, resource=rest.slug, scope=scope)
        await scene.refused(answer, 400, "invalid_scope", reason)

    assert scene.is_active(reader, leaf)  # A8
    scene.revoke_consent(alice, agent.client_id, gw.id)
    assert [scene.is_active(gateway, root), scene.is_active(inner, hop), scene.is_active(reader, leaf)] == [False] * 3
    await scene.refused(
        scene.exchange(gateway, root, resource=rest.slug), 400, "invalid_grant", "subject_token_revoked"
    )


async def test_t07_what_an_operator_may_not_change_and_what_ends_an_exchange(gateway: Gateway) -> None:
    scene, run, source, target = gateway.scene, gateway.scene.installation.run, gateway.source, gateway.target
    other = scene.resource("other", "O")
    with pytest.raises(AssertionError, match="would form a cycle"):  # N6
        scene.link(target.slug, source.slug, "AA:A")
    with pytest.raises(AssertionError, match="already exists"):
        scene.link(source.slug, target.slug, "A:BB")
    with pytest.raises(AssertionError, match='"Z" is not a scope of the'):
        scene.link(source.slug, other.slug, "A:Z")
    with pytest.raises(AssertionError, match='scope "AA" cannot go'):
        run("admin", "resource", "update", "--id", target.id, "--scopes", "BB", "--scopes", "CC")
    scene.link(source.slug, other.slug, "A:O")
    with pytest.raises(AssertionError, match=f"{source.slug}->{other.slug}"):
        run("admin", "resource", "delete", "--id", other.id)
    run("admin", "resource", "delete", "--id", other.id, "--cascade")

    root = scene.tokens_of(gateway.agent, scope="A B")["access_token"]
    gateway.becomes(root, 200, scope="AA")
    with scene.another_process(AUTHPLANE_TOKEN_EXCHANGE_MAX_CHAIN_DEPTH="1") as origin:  # N7
        await scene.refused(gateway.exchange(root, origin=origin), 400, "invalid_request", "chain_too_deep")

    ends = ("--source", source.slug, "--target", target.slug)
    run("admin", "fronting", "delete", *ends)
    gateway.becomes(root, 403)  # N5
    await scene.refused(gateway.exchange(root, scope="AA"), 400, "invalid_scope", "subject_scope_ceiling")
    await scene.refused(gateway.exchange(root), 403, "access_denied", "cross_client_not_authorized")


async def test_t07_nothing_is_exchanged_for_whoever_is_shut_out_meanwhile(gateway: Gateway) -> None:
    scene, run = gateway.scene, gateway.scene.installation.run
    root = scene.tokens_of(gateway.agent, scope="A")["access_token"]
    gateway.becomes(root, 200)
    for noun, name, ended, back, reason in (  # N8
        ("client", gateway.agent.client_id, "suspend", "reactivate", "issuing_client_inactive"),
        ("user", scene.claims(root)["sub"], "disable", "enable", "subject_inactive"),
    ):
        run("admin", noun, ended, "--id", name)
        refused = gateway.exchange(root)
        run("admin", noun, back, "--id", name)
        await scene.refused(refused, 400, "invalid_grant", reason)


async def test_t07_with_keys_each_hop_proves_its_own(scene: Scene, demo: Demo) -> None:
    """The hidden server is the demo server here, which asks for proofs of tokens that are bound."""
    gateway = scene.client("mcp-gw", "--grant-types", EXCHANGE)
    gw = scene.resource("mcp-gw", "A", runtime=gateway)
    listed = scene.installation.run("admin", "resource", "list")
    (hidden,) = [line for line in listed.splitlines() if f"uri={demo.url}" in line.split()]
    slug = hidden.partition("slug=")[2].split()[0]
    scene.link(gw.slug, slug, "A:notes:read")
    agent, of_agent, of_gateway = OAuthClient(scene.issuer, resource=gw.uri), ProofKey(), ProofKey()
    root = scene.tokens_of(agent, key=of_agent, scope="A")["access_token"]
    wait_until(
        lambda: scene.exchange(gateway, root, resource=slug, key=of_gateway).status_code == 200,
        seconds=KNOWN_WITHIN_SECONDS,
        what="the link is known",
    )
    hop = scene.success(scene.exchange(gateway, root, resource=slug, key=of_gateway), key=of_gateway)["access_token"]
    claims = scene.verify(hop, demo.url)
    assert claims["act"] == {"sub": gw.slug, "act": {"sub": agent.client_id}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_notes", "arguments": {}}}
    for scheme, proof, status in (
        ("DPoP", of_gateway.proof(demo.url, token=hop), 200),
        ("DPoP", of_agent.proof(demo.url, token=hop), 401),
        ("Bearer", "", 401),
    ):
        headers = {"authorization": f"{scheme} {hop}", "accept": "application/json, text/event-stream"}
        assert httpx2.post(demo.url, json=body, headers=headers | {"DPoP": proof}).status_code == status
    seen = scene.introspect(Machine(demo.client_id, demo.client_secret, "client_secret_basic"), hop)
    assert (seen["token_type"], seen["cnf"]) == ("DPoP", {"jkt": of_gateway.jkt})


async def test_t02_each_server_is_allowed_by_itself(scene: Scene) -> None:
    a, b, c = scene.resource("mcp-a", "read"), scene.resource("mcp-b", "read"), scene.resource("mcp-c", "read", "write")
    agent = scene.agent(a.uri, "--grant-types", "authorization_code", "--scope", "read write")
    of_a = scene.tokens_of(agent)["access_token"]
    url = agent.authorization_url(secrets.token_urlsafe(32), resource=b.uri)
    assert answer_of(scene.alice.deny(url))["error"] == "access_denied"  # A1
    of_c = scene.tokens_of(agent, resource=c.uri, only={"read"})["access_token"]
    grants, denied = await scene.inspection.rows(
        f"SELECT resource_id FROM consent_grants WHERE client_id = '{agent.client_id}'",
        f"SELECT detail FROM audit_events WHERE action = 'consent.denied' AND client_id = '{agent.client_id}'",
    )
    assert sorted(row[0] for row in grants) == sorted([a.id, c.id])
    assert [str(row[0]).partition("=")[0] for row in denied] == ["session"]
    assert [scene.verify(token, each.uri)["aud"] for token, each in ((of_a, a), (of_c, c))] == [[a.uri], [c.uri]]  # A2
    with pytest.raises(jwt.InvalidAudienceError):
        scene.verify(of_a, c.uri)


async def test_t02_an_agent_exchanges_for_what_the_user_allowed_there(scene: Scene) -> None:
    grants = ("--grant-types", f"authorization_code,{EXCHANGE}")
    agent, third, reader = scene.client("my-agent-x", *grants), scene.client("third"), scene.client("reader")
    a = scene.resource("mcp-a", "read", runtime=reader)
    b = scene.resource("mcp-b", "read", "write", runtime=reader)
    c = scene.resource("mcp-c", "read", "write", runtime=reader)
    of_a = scene.tokens_of(scene.with_browser(agent, a.uri), scope="read")["access_token"]
    of_c = scene.tokens_of(scene.with_browser(agent, c.uri), scope="read")["access_token"]

    answer = scene.exchange(agent, of_a, resource=b.slug, scope="read")  # A3
    await scene.refused(answer, 400, "consent_required", "consent_required")
    assert answer.json()["cause"] == "consent_missing"
    assert answer.json()["consent_url"].startswith(f"{scene.issuer}/authorize?resource={b.slug}&ticket=")
    scene.tokens_of(scene.with_browser(agent, b.uri), scope="read")
    child = scene.success(scene.exchange(agent, of_a, resource=b.slug, scope="read"))["access_token"]  # A4
    claims = scene.verify(child, b.uri)
    assert claims["aud"] == [b.uri]
    rows, parents = await scene.inspection.rows(
        f"SELECT detail FROM audit_events WHERE detail LIKE 'jti={claims['jti']} %'",
        f"SELECT p.resource_id FROM issuances c JOIN issuances p ON p.id = c.parent_jti WHERE c.resource_id = '{b.id}'",
    )
    assert f"type=mint_dispatch resource={b.slug} scopes=read chain_kind=direct via_link=" in str(rows[0][0])
    assert [row[0] for row in parents] == [a.id]
    for target, scope, reason in (  # N1
        (b, "write", "subject_scope_ceiling"),
        (a, "write", "scope_not_in_catalog"),
    ):
        answer = scene.exchange(agent, of_a, resource=target.slug, scope=scope)
        await scene.refused(answer, 400, "invalid_scope", reason)
    public = OAuthClient(scene.issuer, resource=b.uri)  # N2
    form = {"grant_type": EXCHANGE, "subject_token": of_a, "subject_token_type": ACCESS_TOKEN}
    refused = public.request_token(form | {"client_id": public.client_id})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    answer = scene.exchange(third, of_a, resource=b.slug, scope="read")  # N3
    await scene.refused(answer, 403, "access_denied", "cross_client_not_authorized")
    listed = ("--policy-allowed-clients", third.client_id, "--policy-runtime-client-ids", reader.client_id)
    scene.installation.run("admin", "resource", "update", "--id", b.id, *listed)
    wait_until(
        lambda: scene.exchange(third, of_a, resource=b.slug, scope="read").status_code == 200,
        seconds=KNOWN_WITHIN_SECONDS,
        what="the third client may exchange",
    )
    lent = scene.success(scene.exchange(third, of_a, resource=b.slug, scope="read"))["access_token"]
    lent_claims = scene.verify(lent, b.uri)
    assert lent_claims["client_id"] == third.client_id
    (keyed,) = await scene.inspection.rows(
        "SELECT DISTINCT client_id, consent_client_id FROM issuances"
        f" WHERE resource_id = '{b.id}' AND parent_jti IS NOT NULL"
    )
    assert {tuple(row) for row in keyed} == {(agent.client_id,) * 2, (third.client_id, agent.client_id)}

    tokens = (of_a, child, lent, of_c)
    assert [scene.is_active(reader, token) for token in tokens] == [True] * 4
    scene.revoke_consent(claims["sub"], agent.client_id, a.id)  # N4
    assert [scene.is_active(reader, token) for token in tokens] == [False, False, False, True]
