"""Every refusal's reference id, taken from where its sender sees it, yields the decision and the fix."""

import re

import httpx2
import pytest

from authserver.traces.explaining import explain
from authserver.traces.store import find_trace
from server.tests.wire.harness import REDIRECT, Wire, query_of

pytestmark = pytest.mark.anyio

REFERENCE = re.compile(r"ref_[a-z2-7]{20}")


def reference_of(answer: httpx2.Response) -> str:
    """Return the one reference id that an answer shows: in its body, or in the redirect it is."""
    text = query_of(answer)["error_description"] if "location" in answer.headers else answer.text
    references: set[str] = set(REFERENCE.findall(text))
    assert len(references) == 1, text
    return references.pop()


async def explained(wire: Wire, answer: httpx2.Response, reason: str) -> dict[str, str]:
    """Return the explanation of a refusal, as text by member."""
    await wire.server.traces.flushed()
    trace = await find_trace(wire.core.db, reference_of(answer))
    assert trace is not None, answer.text
    told = explain(trace)
    assert told["reason"] == reason
    assert trace.request_id == answer.headers["x-request-id"]
    assert "(not known)" not in f"{told['meaning']} {told['fix']}", told
    return {name: str(value) for name, value in told.items()}


async def test_a_redirect_uri_page_is_explained_by_both_lists(wire: Wire) -> None:
    client_id = (await wire.register(redirect_uris=["http://127.0.0.1:4000/callback", REDIRECT]))["client_id"]
    answer = await wire.authorize(client_id, redirect_uri="http://127.0.0.1:3000/cb?code=x")
    assert answer.status_code == 400

    told = await explained(wire, answer, "redirect_uri_mismatch")

    assert "requested http://127.0.0.1:3000/cb?...; registered: http://127.0.0.1:4000/callback, " in told["meaning"]
    assert "the port of a loopback" in told["fix"]
    assert client_id in told["fix"]
    assert (told["error"], told["status"], told["endpoint"]) == ("Invalid Redirect URI", "400", "GET /oauth/authorize")
