"""Proofs of possession that are refused (RFC 9449 §4.3; tokens.md §6): which fault is told, and what is spent by it."""

import asyncio
from typing import Any

import httpx2
import pytest

from authserver.protocol.grant_types import DEVICE_CODE
from authserver.storage.database import StorageUnavailable
from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.harness import ISSUER, REDIRECT, Wire
from server.tests.wire.proving import ask, counted, machine, refused, spent

pytestmark = pytest.mark.anyio


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


async def test_clocks_apart_are_accepted_to_the_limit_either_way(wire: Wire, prover: ProvingClient, now: int) -> None:
    client = await machine(wire)
    for offset, status in ((-61, 400), (-60, 200), (60, 200), (61, 400)):
        assert (await ask(wire.http, client, prover.proof(now=now + offset))).status_code == status
