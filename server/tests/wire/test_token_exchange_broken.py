"""A thousand exchanges with randomly broken parameters: every answer is a catalogued refusal (issue 4, Shows 4)."""

import random

import pytest

from authserver.protocol.grant_types import TOKEN_EXCHANGE
from authserver.traces.catalogue import CATALOGUE
from server.tests.wire.exchanging import (
    ACCESS_TOKEN,
    JWT,
    Party,
    a_client,
    a_link,
    a_resource,
    exchange,
    ledger,
    recorded_since,
    user_token,
)
from server.tests.wire.harness import Wire

pytestmark = pytest.mark.anyio

REQUESTS = 1000
STATUS = {"invalid_client": 401, "access_denied": 403}
CODES = {
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "not_found",
    "invalid_target",
    "invalid_request",
    "invalid_scope",
    "access_denied",
    "consent_required",
}
SHARED = {"invalid_client", "unauthorized_client"}


async def test_a_thousand_broken_requests_are_a_thousand_catalogued_refusals(wire: Wire) -> None:
    agent, gateway = await a_client(wire, "agent"), await a_client(wire, "gateway", grants=(TOKEN_EXCHANGE,))
    stranger = await a_client(wire, "stranger")
    await a_resource(wire, "mail", "mail:read", "mail:send")
    await a_resource(wire, "listed", "mail:read", may_exchange=[gateway])
    await a_resource(wire, "gw", "A", runtime=[gateway])
    await a_resource(wire, "api", "AA", "DD")
    await a_link(wire, "gw", "api", {"A": ("AA",)})
    identity = await user_token(wire, agent, resource=None, scope="mail:read mail:send")
    for_gw = await user_token(wire, agent, resource="gw", scope="A")
    draw = random.Random(4)

    def token(good: str) -> str:
        position = draw.randrange(len(good))
        broken = good[:position] + draw.choice("Aa0_-.~ é") + good[position + 1 :]
        return draw.choice([broken, good[:position], good + good, "x", "..", "é", good.swapcase()])

    def build() -> tuple[Party, str, dict[str, str | list[str] | None]]:
        caller = draw.choice([agent, gateway, stranger, Party(agent.id, "wrong"), Party("é", "x")])
        subject = draw.choice([identity, for_gw, token(identity), token(for_gw)])
        form: dict[str, str | list[str] | None] = {
            "subject_token_type": draw.choice([ACCESS_TOKEN, ACCESS_TOKEN, JWT, None, "", "x" * 200, "é"]),
            "resource": draw.choice([None, "mail", "listed", "api", "nowhere", "https://é", ["mail", "gw"], "a#b"]),
            "scope": draw.choice([None, "mail:send", "AA", "DD", "a\\b", "é", " ", "x " * 500]),
            "actor_token": draw.choice([None, None, "x", token(identity), identity]),
            "actor_token_type": draw.choice([None, None, "", "x", ACCESS_TOKEN]),
        }
        # Never the one request that is in order: the gateway's own, along its link.
        if caller is gateway and subject is for_gw and form["resource"] == "api":
            form["scope"] = "DD"
        return caller, subject, form

    for _ in range(REQUESTS):
        caller, subject, form = build()
        before = await ledger(wire)
        answer = await exchange(wire, caller, subject, **form)
        body = answer.json()
        assert body["error"] in CODES, (form, answer.text)
        assert answer.status_code == STATUS.get(body["error"], 400)
        since = await recorded_since(wire, before)
        # What nobody could be told apart from, and what was not even a request, leaves no row.
        if caller.id == "é" or (not since.counts and body["error"] == "invalid_request"):
            assert since.rows == {}
            continue
        ((reason, times),) = since.counts.items()
        assert times == 1
        assert reason in CATALOGUE or reason in SHARED
        (row,) = since.rows.values()
        assert row["detail"] == f"reason={reason}"
        assert list(since.rows) == [body["reference"]]
