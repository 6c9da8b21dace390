"""What identity assertions do to the database: every statement may fail, each finds its rows by an index, few are read."""

from typing import Any

import pytest

from authserver.outbound.client import OutboundClient
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.wire.faults import check_fault, fail_each_statement
from server.tests.wire.harness import Answer, Wire
from server.tests.wire.plans import find_scans, statements_of
from server.tests.wire.recording import record
from server.tests.wire.xaa import Enterprise

pytestmark = pytest.mark.anyio


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


async def count(wire: Wire, table: str) -> int:
    row = await wire.core.db.fetch_one(f"SELECT count(*) AS n FROM {table}")
    assert row is not None
    return int(row["n"])


# Each: what is sent along, how it is answered when nothing fails, the statements at least, the tokens of two such runs.
RUNS: dict[str, tuple[dict[str, Any], int, int, int]] = {
    # The client, the mapping; the assertion, the issuance, the audit row.
    "issued": ({}, 200, 5, 2),
    "denied": ({"scope": "notes:drop"}, 400, 3, 0),
}


@pytest.mark.parametrize("run", RUNS)
async def test_a_request_that_fails_anywhere_leaves_the_assertion(
    wire: Wire, acme: Enterprise, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    form, status, least, tokens = RUNS[run]
    await acme.issued()  # the keys are fetched
    before = await count(wire, "issuances"), await count(wire, "assertion_jtis")
    held = [acme.assertion() for _ in range(2)]

    async def trade() -> Answer:
        answer = await acme.trade(held[0], **form)
        if answer.status_code == status:
            held.pop(0)
        return answer

    assert await fail_each_statement(wire, monkeypatch, trade, check_fault) >= least
    # Whatever failed before, the same assertion was good until nothing failed, and was spent with what it bought.
    assert held == []
    after = await count(wire, "issuances"), await count(wire, "assertion_jtis")
    assert after == (before[0] + tokens, before[1] + 2)
    rows = [detail for action, detail in await wire.audit() if action == "jwt_bearer.denied"]
    assert rows.count("reason=invalid_scope") == (0 if tokens else 2)
    assert set(rows) <= {"reason=server_error", "reason=invalid_scope"}


async def test_a_refusal_before_the_assertion_counts_fails_without_spending_it(
    wire: Wire, acme: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.issued()
    assertion = acme.assertion()

    async def trade() -> Answer:
        return await acme.trade(assertion, resource=["https://a.example", "https://b.example"])

    def check(answer: Answer, error: Exception) -> None:
        # The row of the refusal may fail without the answer failing.
        if answer.status_code != 400:
            check_fault(answer, error)

    await fail_each_statement(wire, monkeypatch, trade, check)
    await acme.issued(assertion)


async def test_no_statement_about_an_assertion_reads_a_whole_table(
    wire: Wire, acme: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.issued()  # the providers and policies are read whole, once
    recording = record(wire.core.db, monkeypatch)
    token = (await acme.issued())["access_token"]
    assert (await acme.trade(scope="notes:drop")).status_code == 400
    await wire.introspect(token)
    core = wire.core
    mapping = await core.subject_mappings.create(
        idp_id=acme.idp.id, idp_subject="ada", local_user_id=wire.user.id, now=acme.now
    )
    await acme.issued(acme.assertion(sub="ada"))
    await core.subject_mappings.delete(mapping.id, now=acme.now)
    [_ async for _ in core.subject_mappings.every(idp_id=acme.idp.id)]
    await core.xaa_policies.every(idp_id=acme.idp.id)
    await core.xaa_policies.delete(acme.policy.id, now=acme.now)
    await core.idps.refresh_keys(acme.idp.id, now=acme.now)
    await core.idps.update(acme.idp.id, enabled=False, now=acme.now)
    await core.idps.delete(acme.idp.id, now=acme.now)
    statements = statements_of(recording)
    assert any("subject_mappings" in sql for sql in statements)
    assert any("assertion_jtis" in sql for sql in statements)
    assert await find_scans(wire, statements) == []


async def test_for_an_assertion_the_client_and_the_mapping_are_read(
    wire: Wire, acme: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.issued()
    recording = record(wire.core.db, monkeypatch)
    await acme.issued()
    assert len(recording.reads) == 2
    assert len(recording.writes) == 3
