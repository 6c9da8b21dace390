"""Proofs of possession at the token endpoint (RFC 9449; tokens.md §6): what is bound, what is refused, what is spent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.app import Clock, build_server, open_core
from authserver.clients.administration import NewClient
from authserver.clients.registration import Registered
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.grants import DpopConfig
from authserver.config.sections.listeners import ServerConfig, SessionConfig
from authserver.protocol.grant_types import CLIENT_CREDENTIALS, DEVICE_CODE
from authserver.resources.administration import ResourcePatch
from authserver.resources.records import ResourcePolicy
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.metrics import REGISTRY
from server.tests.fakes.proving_client import ProvingClient
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import ISSUER, REDIRECT, RESOURCE, Answer, Wire, claims_of

pytestmark = pytest.mark.anyio

TOKEN_URL = f"{ISSUER}/oauth/token"
NONCES = [DpopConfig(require_nonce=True)]
OFF = [DpopConfig(enabled=False)]


@pytest.fixture
def dpop() -> DpopConfig:
    return DpopConfig()


@pytest.fixture
def config(config: Config, dpop: DpopConfig) -> Config:
    return replace(config, dpop=dpop)


@pytest.fixture
def prover() -> ProvingClient:
    return ProvingClient(url=TOKEN_URL)


@pytest.fixture
def other() -> ProvingClient:
    return ProvingClient(url=TOKEN_URL, key=ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
async def second(wire: Wire, config: Config) -> AsyncIterator[httpx2.AsyncClient]:
    """Another instance on the same database, with the same secret."""
    core = await open_core(config, clock=Clock(milliseconds=wire.clock.milliseconds), migrate=False)
    server = await build_server(core, wire.keyring)
    transport = DirectTransport(server.public, peer="192.0.2.8")
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
        yield http
    await server.traces.close()
    await core.db.close()


def refused(answer: Answer, error: str, status: int = 400) -> Answer:
    """Check a refusal."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in answer.headers
    return answer


async def machine(wire: Wire, **members: Any) -> Registered:
    """Create a machine client."""
    new: dict[str, Any] = {"grant_types": (CLIENT_CREDENTIALS,), "auth_method": "client_secret_basic"}
    new |= {"name": "cron", "scope": "notes:read"} | members
    return await wire.core.clients.create(NewClient(**new), now=wire.clock.seconds)


async def ask(http: httpx2.AsyncClient, client: Registered, *proofs: str, **form: str) -> Answer:
    """Ask for a machine token."""
    return await http.post(
        "/oauth/token",
        data={"grant_type": CLIENT_CREDENTIALS, **form},
        auth=(client.client.id, client.client_secret or ""),
        headers=[("DPoP", proof) for proof in proofs],
    )


async def spent(wire: Wire) -> int:
    """Return the number of proofs that are remembered."""
    return len(await wire.core.db.fetch_all("SELECT jti FROM dpop_jtis"))


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"authplane_dpop_{name}_total", labels) or 0


# What is bound.


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


# What is refused, and what that spends.


@pytest.mark.parametrize(
    "changes",
    [{"jti": ""}, {"htm": "GET"}, {"htu": f"{ISSUER}/oauth/revoke"}, {"iat": 1}, {"exp": 1}],
    ids=str,
)
async def test_a_proof_that_does_not_hold_spends_neither_code_nor_refresh_token(
    wire: Wire, prover: ProvingClient, now: int, changes: dict[str, Any]
) -> None:
    rejected = counted("proofs_rejected", reason="invalid_proof")
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    answer = refused(await wire.redeem(client_id, code, proof=prover.proof(now=now, **changes)), "invalid_dpop_proof")
    assert answer.json()["error_description"].startswith("DPoP proof is invalid (ref_")
    assert len(answer.headers["dpop-nonce"]) == 43
    tokens = (await wire.redeem(client_id, code)).json()
    proof = prover.proof(now=now, **changes)
    refused(await wire.refresh(client_id, tokens["refresh_token"], proof=proof), "invalid_dpop_proof")
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
    assert await spent(wire) == 0
    assert counted("proofs_rejected", reason="invalid_proof") == rejected + 2


async def test_two_headers_are_refused(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    refused(await ask(wire.http, client, prover.proof(now=now), prover.proof(now=now)), "invalid_dpop_proof")
    refused(await ask(wire.http, client, f"{prover.proof(now=now)},{prover.proof(now=now)}"), "invalid_dpop_proof")


async def test_a_proof_is_good_for_one_request(wire: Wire, prover: ProvingClient, now: int) -> None:
    valid, replayed = counted("proofs_validated", result="valid"), counted("proofs_rejected", reason="replay")
    client_id = (await wire.register())["client_id"]
    proof = prover.proof(now=now)
    tokens = (await wire.redeem(client_id, await wire.code(client_id), proof=proof)).json()
    answer = refused(await wire.refresh(client_id, tokens["refresh_token"], proof=proof), "invalid_dpop_proof")
    assert answer.json()["error_description"].startswith("DPoP proof jti has already been used")
    assert len(answer.headers["dpop-nonce"]) == 43
    assert counted("proofs_validated", result="valid") == valid + 1
    assert counted("proofs_rejected", reason="replay") == replayed + 1
    again = await wire.refresh(client_id, tokens["refresh_token"], proof=prover.proof(now=now))
    assert again.json()["token_type"] == "DPoP"


async def test_the_same_id_of_another_key_is_another_proof(
    wire: Wire, prover: ProvingClient, other: ProvingClient, now: int
) -> None:
    client = await machine(wire)
    for each in (prover, other):
        assert (await ask(wire.http, client, each.proof(now=now, jti="the same"))).status_code == 200


async def test_an_id_may_be_used_again_when_its_proof_is_worthless(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    assert (await ask(wire.http, client, prover.proof(now=now, jti="x"))).status_code == 200
    wire.clock.seconds += 120
    refused(await ask(wire.http, client, prover.proof(now=now + 120, jti="x")), "invalid_dpop_proof")
    wire.clock.seconds += 1
    assert (await ask(wire.http, client, prover.proof(now=now + 121, jti="x"))).status_code == 200


async def test_of_many_equal_proofs_at_two_instances_one_wins(
    wire: Wire, second: httpx2.AsyncClient, prover: ProvingClient, now: int
) -> None:
    client, proof = await machine(wire), prover.proof(now=now)
    answers = await asyncio.gather(*(ask(http, client, proof) for _ in range(10) for http in (wire.http, second)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_dpop_proof"}
    rows = await wire.core.db.fetch_all("SELECT id FROM issuances")
    assert len(rows) == 1, "a replay issues nothing"


async def test_of_two_faults_the_earlier_one_is_told(wire: Wire, prover: ProvingClient, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    bad = prover.proof(now=now, htm="GET")
    # 2 before 3
    answer = await wire.redeem(client_id, code, client_secret="wrong", proof=bad)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    # 3 before 4
    refused(await wire.redeem(client_id, "x" * 43, proof=bad), "invalid_dpop_proof")
    used = prover.proof(now=now)
    first = (await wire.redeem(client_id, code, proof=used)).json()
    code = await wire.code(client_id)
    refused(await wire.redeem(client_id, "x" * 43, proof=used), "invalid_dpop_proof")
    # 3 before everything that comes later
    refused(await wire.redeem(client_id, code, redirect_uri=f"{REDIRECT}/x", proof=used), "invalid_dpop_proof")
    refused(await wire.refresh(client_id, first["refresh_token"], scope="x", proof=used), "invalid_dpop_proof")
    assert (await wire.redeem(client_id, code, proof=prover.proof(now=now))).status_code == 200


async def test_a_refusal_behind_the_proof_spends_it_but_not_what_costs_nothing_to_send(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    code, proof = await wire.code(client_id), prover.proof(now=now)
    refused(await wire.redeem(client_id, code, redirect_uri=f"{REDIRECT}/x", proof=proof), "invalid_grant")
    assert await spent(wire) == 1
    refused(await wire.redeem(client_id, code, proof=proof), "invalid_dpop_proof")
    # Anybody can say to be a public client, and invent codes and keys: no row of that is kept (threat X7).
    before = await wire.audit()
    for _ in range(3):
        refused(await wire.redeem(client_id, "x" * 43, proof=prover.proof(now=now)), "invalid_grant")
        refused(await wire.refresh(client_id, "x" * 43, proof=prover.proof(now=now)), "invalid_grant")
    assert (await spent(wire), await wire.audit()) == (1, before)


async def test_a_device_that_waits_leaves_no_row_however_often_it_asks(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    registration = {"grant_types": [DEVICE_CODE, "refresh_token"], "redirect_uris": []}
    client_id = (await wire.register(**registration))["client_id"]
    device = (await wire.start_device(client_id)).json()
    told = []
    for offset in (0, 1, 2, 3):
        answer = await wire.poll(client_id, device["device_code"], proof=prover.proof(now=now + offset))
        told.append(refused(answer, answer.json()["error"]).json()["error"])
    assert told == ["authorization_pending", "slow_down", "slow_down", "slow_down"]
    assert await spent(wire) == 0
    await wire.answer_device(await wire.enter_code(device["user_code"]))
    proof = prover.proof(now=now)
    tokens = (await wire.poll(client_id, device["device_code"], proof=proof)).json()
    assert (tokens["token_type"], await spent(wire)) == ("DPoP", 1)
    refused(await wire.poll(client_id, device["device_code"], proof=proof), "invalid_dpop_proof")


async def test_a_request_that_is_sent_again_whole_ends_nothing(wire: Wire, prover: ProvingClient, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    code, proof = await wire.code(client_id), prover.proof(now=now)
    first = (await wire.redeem(client_id, code, proof=proof)).json()
    refused(await wire.redeem(client_id, code, proof=proof), "invalid_dpop_proof")
    proof = prover.proof(now=now)
    second = (await wire.refresh(client_id, first["refresh_token"], proof=proof)).json()
    refused(await wire.refresh(client_id, first["refresh_token"], proof=proof), "invalid_dpop_proof")
    third = await wire.refresh(client_id, second["refresh_token"], proof=prover.proof(now=now))
    assert third.status_code == 200, third.text
    refused(await wire.refresh(client_id, first["refresh_token"], proof=proof), "invalid_dpop_proof")
    fourth = await wire.refresh(client_id, third.json()["refresh_token"], proof=prover.proof(now=now))
    assert fourth.status_code == 200, "the family was not ended"


async def test_while_the_store_is_away_nothing_is_accepted(
    wire: Wire, prover: ProvingClient, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, proof = await machine(wire), prover.proof(now=now)

    async def away(_transaction: object) -> None:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(wire.core.db, "write", away)
        answer = await ask(wire.http, client, proof)
    assert (answer.status_code, answer.json()["error"]) == (503, "server_error")
    assert len(answer.headers["dpop-nonce"]) == 43
    assert (await ask(wire.http, client, proof)).status_code == 200


async def test_the_refusal_of_a_machine_is_in_the_audit_trail(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    refused(await ask(wire.http, client, prover.proof(now=now, htm="GET")), "invalid_dpop_proof")
    assert ("client_credentials.denied", "reason=invalid_dpop_proof") in await wire.audit()


# URLs.


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


# Nonces.


@pytest.mark.parametrize("dpop", NONCES, ids=["nonces"])
async def test_a_nonce_is_given_at_first_contact_and_code_and_refresh_token_survive_it(
    wire: Wire, second: httpx2.AsyncClient, prover: ProvingClient, now: int
) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    asked = refused(await wire.redeem(client_id, code, proof=prover.proof(now=now)), "use_dpop_nonce")
    assert asked.json()["error_description"].startswith("server nonce is required in DPoP proof")
    nonce = asked.headers["dpop-nonce"]
    tokens = (await wire.redeem(client_id, code, proof=prover.proof(now=now, nonce=nonce))).json()
    refused(await wire.refresh(client_id, tokens["refresh_token"], proof=prover.proof(now=now)), "use_dpop_nonce")
    form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": tokens["refresh_token"]}
    # At another instance, and a second time.
    answer = await second.post("/oauth/token", data=form, headers=prover.headers(now=now, nonce=nonce))
    assert answer.json()["token_type"] == "DPoP", answer.text
    assert len({nonce, asked.headers["dpop-nonce"], answer.headers["dpop-nonce"]}) == 2


@pytest.mark.parametrize("dpop", NONCES, ids=["nonces"])
async def test_a_nonce_lives_as_long_as_the_operator_says(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    nonce = (await ask(wire.http, client, prover.proof(now=now))).headers["dpop-nonce"]
    wire.clock.seconds = now + 59
    assert (await ask(wire.http, client, prover.proof(now=now + 59, nonce=nonce))).status_code == 200
    wire.clock.seconds = now + 60
    mismatched = counted("proofs_rejected", reason="nonce_mismatch")
    answer = refused(await ask(wire.http, client, prover.proof(now=now + 60, nonce=nonce)), "use_dpop_nonce")
    assert answer.json()["error_description"].startswith("DPoP proof nonce does not match server-issued nonce")
    assert counted("proofs_rejected", reason="nonce_mismatch") == mismatched + 1


@pytest.mark.parametrize("dpop", NONCES, ids=["nonces"])
async def test_a_nonce_of_another_secret_or_an_invented_one_is_refused(
    wire: Wire, config: Config, prover: ProvingClient, now: int
) -> None:
    elsewhere = replace(config, session=SessionConfig(secret=Secret("another secret of the tests, long enough")))
    server = await build_server(replace(wire.core, config=elsewhere), wire.keyring)
    client = await machine(wire)
    transport = DirectTransport(server.public, peer="192.0.2.9")
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER) as http:
        foreign = (await ask(http, client, prover.proof(now=now))).headers["dpop-nonce"]
    await server.traces.close()
    for nonce in (foreign, "x" * 43, "\u00e9" * 43, "", "A" * 4000):
        refused(await ask(wire.http, client, prover.proof(now=now, nonce=nonce)), "use_dpop_nonce")


async def test_a_nonce_that_nobody_demands_is_not_looked_at(wire: Wire, prover: ProvingClient, now: int) -> None:
    answer = await ask(wire.http, await machine(wire), prover.proof(now=now, nonce="of somebody else"))
    assert answer.json()["token_type"] == "DPoP"


async def test_a_page_of_another_origin_sends_a_proof_and_reads_the_nonce(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    origin = {"Origin": "https://app.example"}
    asked = await wire.http.options(
        "/oauth/token",
        headers=origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "dpop"},
    )
    assert asked.status_code == 204
    assert "DPoP" in asked.headers["access-control-allow-headers"].split(", ")
    answer = await wire.http.post(
        "/oauth/token",
        data={"grant_type": "refresh_token", "refresh_token": "x", "client_id": "nobody"},
        headers=origin | prover.headers(now=now),
    )
    assert answer.status_code == 401
    assert len(answer.headers["dpop-nonce"]) == 43
    assert "DPoP-Nonce" in answer.headers["access-control-expose-headers"].split(", ")


@pytest.mark.parametrize("path", ["/oauth/introspect", "/oauth/revoke"])
async def test_other_endpoints_ignore_the_header(wire: Wire, path: str) -> None:
    answer = await wire.http.post(
        path,
        data={"token": "x"},
        auth=(wire.runtime.client.id, wire.runtime.client_secret or ""),
        headers={"DPoP": "nonsense"},
    )
    assert answer.status_code == 200
    assert "dpop-nonce" not in answer.headers


async def test_clocks_apart_are_accepted_to_the_limit_either_way(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    for offset, status in ((-61, 400), (-60, 200), (60, 200), (61, 400)):
        assert (await ask(wire.http, client, prover.proof(now=now + offset))).status_code == status
