from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.telemetry.decisions import LONGEST_VALUE, MOST_ENTRIES, MOST_STEPS, Decision, Refused
from authserver.telemetry.notes import fault_reference, identified, note
from authserver.telemetry.origin import NOWHERE, RequestOrigin, set_origin

SECRET = "Zk3vQ9wX1yB7cD5eF0gH2iJ4kL6mN8oP_qR-sT9uVwx"  # 43 characters, as all of ours are
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def refused(description: str = "", **fields: Any) -> tuple[Refused, dict[str, Any]]:
    """Return what is kept of a request that noted one step and was refused."""
    kept: list[Refused] = []
    decision = Decision("GET /", "r-1", kept.append)
    set_origin(RequestOrigin(decision=decision))
    note("looked at", **fields)
    decision.refuse(reference="ref_a", error="invalid_grant", reason="x", description=description, status=400)
    set_origin(NOWHERE)
    return kept[0], orjson.loads(kept[0].decision)


def test_a_refusal_keeps_what_was_asked_answered_and_looked_at() -> None:
    kept, told = refused("no", client_id="c", matched=None, seconds=3, allowed=True, registered=("a", "b"))
    assert (kept.reference, kept.error, kept.client_id, kept.is_anonymous) == ("ref_a", "invalid_grant", "c", True)
    assert told == {
        "endpoint": "GET /",
        "request_id": "r-1",
        "status": 400,
        "reason": "x",
        "description": "no",
        "steps": [
            {
                "step": "looked at",
                "client_id": "c",
                "matched": None,
                "seconds": 3,
                "allowed": True,
                "registered": ["a", "b"],
            }
        ],
    }


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("https://a.example/cb?code=1&x=2", "https://a.example/cb?..."),
        ("https://a.example/cb#access_token=1", "https://a.example/cb?..."),
        ("com.example.app:/cb?code=1", "com.example.app:/cb?..."),
        ("/oauth/authorize?state=1", "/oauth/authorize?..."),
        ("https://ann:pass@a.example/cb", "https://a.example/cb"),
        ("ann@example.com", "[address]"),
        (f"client-{JWT}", "client-[redacted]"),
        (f"token={SECRET}.", "token=[redacted]."),
        ("x" * 999, "x" * (LONGEST_VALUE - 3) + "..."),
        ("a" * 150 + " " + SECRET, "a" * 150 + " [redacted]"),
        ("a" * 190 + " " + SECRET + " b", "a" * 190 + " [redac..."),
        ("esc\x1b[2J\u202e\r\nb", "esc\ufffd[2J\ufffd\ufffd\ufffdb"),
        ("n7Yc0Zp5S3yR2o0uQm1xKQ", "n7Yc0Zp5S3yR2o0uQm1xKQ"),
        ('https://a.example/cb?x"y', 'https://a.example/cb?..."y'),
        ('ann@example.com"', '[address]"'),
        ("ann@example.com\\", "[address]"),
        ("a" * 99 + "@b ann@example.com@c", "[address] [address]@c"),
    ],
)
def test_nothing_is_kept_that_could_be_a_secret(value: str, kept: str) -> None:
    refusal, told = refused(f"'{value}'"[:400], redirect_uri=value, client_id=value)
    assert told["steps"][0]["redirect_uri"] == kept
    assert refusal.client_id == kept
    assert SECRET not in refusal.decision
    assert JWT not in refusal.decision


@given(st.text() | st.text("a@?#:/,\"'\\ "))
def test_whatever_is_noted_can_be_kept(value: str) -> None:
    refusal, _ = refused(value, client_id=value, requested=(value, value))
    assert refusal.client_id.isprintable()
    refusal.decision.encode()


def test_long_lists_and_long_decisions_are_cut() -> None:
    _, told = refused(registered=[f"https://a.example/{n}" for n in range(99)])
    assert told["steps"][0]["registered"][MOST_ENTRIES:] == [f"and {99 - MOST_ENTRIES} more"]

    kept: list[Refused] = []
    decision = Decision("GET /", "r-1", kept.append)
    set_origin(RequestOrigin(decision=decision))
    for _ in range(10 * MOST_STEPS):
        note("looked at", registered=["z" * 1000] * 50)
    assert len(decision.steps) == MOST_STEPS
    decision.refuse(reference="r", error="e", reason="x", description="", status=400)
    set_origin(NOWHERE)
    assert len(kept[0].decision) < 12_000


def test_sets_are_told_in_order() -> None:
    _, told = refused(registered=frozenset({"c", "a", "b"}))
    assert told["steps"][0]["registered"] == ["a", "b", "c"]


def test_nothing_is_noted_when_nobody_wants_to_know_and_outside_requests() -> None:
    decision = Decision("GET /", "r-1", None)
    set_origin(RequestOrigin(decision=decision))
    note("looked at", client_id="c")
    decision.refuse(reference="r", error="e", reason="x", description="", status=400)
    assert decision.steps == []
    set_origin(NOWHERE)
    note("looked at", client_id="c")
    identified()


def test_who_proved_something_is_not_anybody() -> None:
    decision = Decision("GET /", "r-1", None)
    set_origin(RequestOrigin(decision=decision))
    identified()
    assert not decision.is_anonymous
    set_origin(NOWHERE)


def test_the_fault_of_a_request_has_one_reference() -> None:
    set_origin(RequestOrigin(decision=Decision("GET /", "r-1", None)))
    assert fault_reference() == fault_reference()
    set_origin(NOWHERE)
    assert fault_reference() != fault_reference()
