"""Proofs of possession at the token endpoint (RFC 9449; tokens.md §6), with the grants of a user."""

import pytest

from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.harness import ISSUER, Wire, claims_of

pytestmark = pytest.mark.anyio

TOKEN_URL = f"{ISSUER}/oauth/token"


@pytest.fixture
def prover() -> ProvingClient:
    return ProvingClient(url=TOKEN_URL)


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


async def test_a_proof_is_good_for_one_request(wire: Wire, prover: ProvingClient, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    proof = prover.proof(now=now)
    tokens = (await wire.redeem(client_id, await wire.code(client_id), proof=proof)).json()
    refused = await wire.refresh(client_id, tokens["refresh_token"], proof=proof)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")
    assert refused.json()["error_description"].startswith("DPoP proof jti has already been used")
    assert len(refused.headers["dpop-nonce"]) == 43
    again = await wire.refresh(client_id, tokens["refresh_token"], proof=prover.proof(now=now))
    assert again.json()["token_type"] == "DPoP"
