"""Refusals and the state of the audit trail, as the admin API shows them."""

import pytest

from server.tests.wire.harness import Wire
from server.tests.wire.operating import Admin, check_shape
from server.tests.wire.test_explained_refusals import reference_of

pytestmark = pytest.mark.anyio


async def test_a_refusal_is_explained_by_its_reference_id(wire: Wire, admin: Admin) -> None:
    answer = await wire.authorize("nobody")
    reference = reference_of(answer)
    await wire.server.traces.flushed()

    refusal = await admin.do("GET", f"/admin/traces/{reference}")

    check_shape("GET", "/admin/traces/{reference}", refusal)
    assert (refusal["reference"], refusal["reason"], refusal["client_id"]) == (reference, "client_unknown", "nobody")
    assert refusal["request_id"] == answer.headers["x-request-id"]
    assert await admin.do("GET", "/admin/traces", client_id="nobody") == [refusal]
    assert await admin.do("GET", "/admin/traces", error="invalid_grant") == []


async def test_what_is_not_kept_may_have_been_and_the_sentence_says_why(admin: Admin) -> None:
    sentence = await admin.refused(404, "GET", "/admin/traces/ref_22222222222222222222")
    assert sentence.startswith("no trace of ref_22222222222222222222: it is older than traces.max_age")
    assert await admin.refused(400, "GET", "/admin/traces", limit=1001) == "limit must be 1..1000"


async def test_an_installation_without_seals_and_destinations_says_so(admin: Admin) -> None:
    head = await admin.do("GET", "/admin/audit/checkpoint")
    check_shape("GET", "/admin/audit/checkpoint", head)
    assert (head["number"], head["total"], head["jws"]) == (0, 0, "")
    assert await admin.do("GET", "/admin/audit/deliveries") == []
