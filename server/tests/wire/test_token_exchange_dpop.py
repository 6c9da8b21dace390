"""Token exchange with proofs of possession (token exchange, section 9)."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.config.model import Config
from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.exchanging import Party, a_client, check_denied, exchange, ledger, user_token
from server.tests.wire.harness import ISSUER, Answer, Wire, claims_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(config: Config) -> Config:
    """A server that lets clients exchange their own tokens."""
    return replace(config, token_exchange=replace(config.token_exchange, allow_self_exchange=True))


async def with_proof(wire: Wire, party: Party, subject_token: str, proof: str, **form: str) -> Answer:
    wire.http.headers["dpop"] = proof
    try:
        return await exchange(wire, party, subject_token, **form)
    finally:
        del wire.http.headers["dpop"]


async def test_a_proof_binds_anew_and_without_one_the_binding_is_inherited(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    agent = await a_client(wire, "agent")
    subject = await user_token(wire, agent, resource="notes", scope="notes:read")
    plain = (await exchange(wire, agent, subject)).json()
    assert plain["token_type"] == "Bearer"
    bound = (await with_proof(wire, agent, subject, prover.proof(now=now))).json()
    assert bound["token_type"] == "DPoP"
    assert claims_of(bound["access_token"])["cnf"] == {"jkt": prover.jkt}
    inherited = (await exchange(wire, agent, bound["access_token"])).json()
    assert (inherited["token_type"], claims_of(inherited["access_token"])["cnf"]) == ("DPoP", {"jkt": prover.jkt})
    other = ProvingClient(url=f"{ISSUER}/oauth/token", key=ec.generate_private_key(ec.SECP256R1()))
    rebound = (await with_proof(wire, agent, bound["access_token"], other.proof(now=now))).json()
    assert claims_of(rebound["access_token"])["cnf"] == {"jkt": other.jkt}


async def test_a_refused_exchange_spends_no_proof_and_a_spent_one_is_refused(
    wire: Wire, prover: ProvingClient, now: int
) -> None:
    agent = await a_client(wire, "agent")
    subject = await user_token(wire, agent, resource="notes", scope="notes:read")
    proof = prover.proof(now=now)
    assert (await with_proof(wire, agent, subject, proof, scope="notes:write")).json()["error"] == "invalid_scope"
    assert (await with_proof(wire, agent, subject, proof)).status_code == 200
    before = await ledger(wire)
    answer = await with_proof(wire, agent, subject, proof)
    await check_denied(
        wire, answer, before, caller=agent.id, status=400, error="invalid_dpop_proof", reason="invalid_dpop_proof"
    )
    assert len(await wire.core.db.fetch_all("SELECT id FROM issuances WHERE kind = 'exchange'")) == 1
