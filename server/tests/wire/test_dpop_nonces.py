"""Nonces of proofs of possession (RFC 9449 §8; tokens.md §6), and who may read them."""

from dataclasses import replace

import httpx2
import pytest

from authserver.app import build_server
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.grants import DpopConfig
from authserver.config.sections.listeners import SessionConfig
from server.tests.fakes.proving_client import ProvingClient
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import ISSUER, Wire
from server.tests.wire.proving import ask, counted, machine, refused

pytestmark = pytest.mark.anyio

NONCES = [DpopConfig(require_nonce=True)]


@pytest.fixture
def dpop() -> DpopConfig:
    return DpopConfig()


@pytest.fixture
def config(config: Config, dpop: DpopConfig) -> Config:
    return replace(config, dpop=dpop)


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
