"""Tokens bound by a proof of possession (RFC 9449; tokens.md §6): to which key, for which URL, and what stays unbound."""

from dataclasses import replace

import httpx2
import pytest

from authserver.app import build_server
from authserver.config.model import Config
from authserver.config.sections.grants import DpopConfig
from authserver.config.sections.listeners import ServerConfig
from authserver.protocol.grant_types import CLIENT_CREDENTIALS
from authserver.resources.administration import ResourcePatch
from authserver.resources.records import ResourcePolicy
from server.tests.fakes.proving_client import ProvingClient
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import REDIRECT, RESOURCE, Wire, claims_of
from server.tests.wire.proving import ask, machine, refused

pytestmark = pytest.mark.anyio

OFF = [DpopConfig(enabled=False)]


@pytest.fixture
def dpop() -> DpopConfig:
    return DpopConfig()


@pytest.fixture
def config(config: Config, dpop: DpopConfig) -> Config:
    return replace(config, dpop=dpop)


async def test_a_code_with_a_proof_becomes_a_token_that_is_bound_to_its_key(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    answer = await wire.redeem(client_id, await wire.code(client_id), proof=prover.proof(now=now))
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    assert tokens["token_type"] == "DPoP"
    assert claims_of(tokens["access_token"])["cnf"] == {"jkt": prover.jkt}
    assert len(answer.headers["dpop-nonce"]) == 43
    seen = await wire.introspect(tokens["access_token"])
    assert (seen["active"], seen["token_type"], seen["cnf"]) == (True, "DPoP", {"jkt": prover.jkt})


async def test_a_machine_token_is_bound(wire: Wire, prover: ProvingClient, now: int) -> None:
    answer = await ask(wire.http, await machine(wire), prover.proof(now=now), resource=RESOURCE)
    assert answer.json()["token_type"] == "DPoP"
    assert claims_of(answer.json()["access_token"])["cnf"] == {"jkt": prover.jkt}
    rows = await wire.core.db.fetch_all("SELECT expires_at FROM dpop_jtis")
    assert [row["expires_at"] for row in rows] == [now + 120]


async def test_without_a_proof_nothing_is_bound_and_no_nonce_is_sent(wire: Wire) -> None:
    answer = await ask(wire.http, await machine(wire))
    assert answer.json()["token_type"] == "Bearer"
    assert "cnf" not in claims_of(answer.json()["access_token"])
    assert "dpop-nonce" not in answer.headers


@pytest.mark.parametrize("dpop", OFF, ids=["off"])
async def test_while_it_is_switched_off_the_header_is_ignored_and_nothing_claims_to_bind(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    answer = await ask(wire.http, await machine(wire), prover.proof(now=now), "another")
    assert answer.json()["token_type"] == "Bearer"
    assert "dpop-nonce" not in answer.headers
    metadata = (await wire.http.get("/.well-known/oauth-authorization-server")).json()
    assert "dpop_signing_alg_values_supported" not in metadata
    described = (await wire.http.get("/.well-known/oauth-protected-resource/notes")).json()
    assert "dpop_signing_alg_values_supported" not in described
    document = {"client_name": "n", "redirect_uris": [REDIRECT], "dpop_bound_access_tokens": True}
    refused(await wire.http.post("/oauth/register", json=document), "invalid_client_metadata")


async def test_a_session_of_a_public_client_stays_with_its_key(
    wire: Wire, prover: ProvingClient, other: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    first = (await wire.redeem(client_id, await wire.code(client_id), proof=prover.proof(now=now))).json()
    refused(await wire.refresh(client_id, first["refresh_token"]), "invalid_grant")
    refused(await wire.refresh(client_id, first["refresh_token"], proof=other.proof(now=now)), "invalid_grant")
    second = await wire.refresh(client_id, first["refresh_token"], proof=prover.proof(now=now))
    assert claims_of(second.json()["access_token"])["cnf"] == {"jkt": prover.jkt}


async def test_a_retry_needs_the_key_of_the_first_request(
    wire: Wire, prover: ProvingClient, other: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    first = (await wire.redeem(client_id, await wire.code(client_id), proof=prover.proof(now=now))).json()
    second = await wire.refresh(client_id, first["refresh_token"], proof=prover.proof(now=now))
    again = await wire.refresh(client_id, first["refresh_token"], proof=prover.proof(now=now))
    assert again.json() == second.json()
    refused(await wire.refresh(client_id, first["refresh_token"], proof=other.proof(now=now)), "invalid_grant")
    refused(await wire.refresh(client_id, second.json()["refresh_token"], proof=prover.proof(now=now)), "invalid_grant")


async def test_a_session_that_began_without_a_proof_is_not_bound_by_a_later_one(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    first = await wire.tokens(client_id)
    second = (await wire.refresh(client_id, first["refresh_token"], proof=prover.proof(now=now))).json()
    assert second["token_type"] == "DPoP"
    third = await wire.refresh(client_id, second["refresh_token"])
    assert third.json()["token_type"] == "Bearer"


async def test_a_confidential_client_changes_its_key(
    wire: Wire, prover: ProvingClient, other: ProvingClient, now: int
) -> None:
    client = await wire.register(token_endpoint_auth_method="client_secret_post")
    client_id, secret = client["client_id"], client["client_secret"]
    code = await wire.code(client_id)
    first = (await wire.redeem(client_id, code, client_secret=secret, proof=prover.proof(now=now))).json()
    second = await wire.refresh(client_id, first["refresh_token"], client_secret=secret, proof=other.proof(now=now))
    assert claims_of(second.json()["access_token"])["cnf"] == {"jkt": other.jkt}
    third = await wire.refresh(client_id, second.json()["refresh_token"], client_secret=secret)
    assert third.json()["token_type"] == "Bearer"


async def test_a_code_is_bound_to_the_key_named_at_authorization(
    wire: Wire, prover: ProvingClient, other: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id, dpop_jkt=prover.jkt)
    refused(await wire.redeem(client_id, code), "invalid_grant")
    refused(await wire.redeem(client_id, code, proof=other.proof(now=now)), "invalid_grant")
    assert (await wire.redeem(client_id, code, proof=prover.proof(now=now))).json()["token_type"] == "DPoP"


async def test_a_client_that_registered_for_bound_tokens_gets_no_others(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    client = await wire.register(dpop_bound_access_tokens=True)
    assert client["dpop_bound_access_tokens"] is True
    client_id = client["client_id"]
    code = await wire.code(client_id)
    answer = refused(await wire.redeem(client_id, code), "invalid_request")
    assert "dpop-nonce" not in answer.headers
    tokens = (await wire.redeem(client_id, code, proof=prover.proof(now=now))).json()
    refused(await wire.refresh(client_id, tokens["refresh_token"]), "invalid_request")
    bound = await machine(wire, dpop_bound_access_tokens=True)
    refused(await ask(wire.http, bound), "invalid_request")
    assert (await ask(wire.http, bound, prover.proof(now=now))).json()["token_type"] == "DPoP"


async def test_a_resource_that_demands_binding_gets_no_bearer_tokens_and_says_so(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    unbound = await wire.tokens(client_id)
    code = await wire.code(client_id)
    await wire.core.resources.update_resource(
        wire.resource.id, ResourcePatch(policy=ResourcePolicy(dpop_required=True)), now=now
    )
    await wire.server.watcher.poll()
    described = (await wire.http.get("/.well-known/oauth-protected-resource/notes")).json()
    assert described["dpop_bound_access_tokens_required"] is True
    refused(await wire.redeem(client_id, code), "invalid_request")
    refused(await wire.refresh(client_id, unbound["refresh_token"]), "invalid_request")
    client = await machine(wire)
    refused(await ask(wire.http, client, resource=RESOURCE), "invalid_request")
    assert (await ask(wire.http, client)).json()["token_type"] == "Bearer"
    for answer in (
        await wire.redeem(client_id, code, proof=prover.proof(now=now)),
        await wire.refresh(client_id, unbound["refresh_token"], proof=prover.proof(now=now)),
        await ask(wire.http, client, prover.proof(now=now), resource=RESOURCE),
    ):
        assert answer.json()["token_type"] == "DPoP", answer.text


async def test_neither_the_host_nor_forwarding_headers_say_what_a_proof_is_for(
    wire: Wire, config: Config, prover: ProvingClient, now: int
) -> None:
    public = replace(config, server=ServerConfig(issuer="https://as.example/tenant"))
    server = await build_server(replace(wire.core, config=public), wire.keyring)
    client = await machine(wire)
    transport = DirectTransport(server.public, peer="192.0.2.9")
    async with httpx2.AsyncClient(transport=transport, base_url="http://inner:9000") as http:
        for url in (
            "http://inner:9000/oauth/token",
            "https://inner:9000/tenant/oauth/token",
            "https://as.example/oauth/token",
            "https://evil.example/tenant/oauth/token",
        ):
            headers = {
                "DPoP": replace(prover, url=url).proof(now=now),
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Host": "evil.example",
                "Forwarded": "host=evil.example;proto=https",
            }
            answer = await http.post(
                "/oauth/token",
                data={"grant_type": CLIENT_CREDENTIALS},
                auth=(client.client.id, client.client_secret or ""),
                headers=headers,
            )
            refused(answer, "invalid_dpop_proof")
        right = replace(prover, url="https://as.example/tenant/oauth/token").proof(now=now)
        assert (await ask(http, client, right)).json()["token_type"] == "DPoP"
    await server.traces.close()


async def test_a_developers_machine_has_other_names(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    transport = DirectTransport(wire.server.public, peer="192.0.2.9")
    async with httpx2.AsyncClient(transport=transport, base_url="http://devbox:9000") as http:
        here = replace(prover, url="http://devbox:9000/oauth/token")
        assert (await ask(http, client, here.proof(now=now))).status_code == 200
        elsewhere = replace(prover, url="http://other:9000/oauth/token")
        refused(await ask(http, client, elsewhere.proof(now=now)), "invalid_dpop_proof")
