"""Refusals: errors.md 2 and 3, ruling R48."""

import re

import pytest

from authserver.protocol import errors
from authserver.protocol.errors import (
    AuthorizationPending,
    DeviceDenied,
    OAuthError,
    PollingTooFast,
    ServerError,
    SlowDown,
    new_reference,
)

STATUSES = {
    "invalid_request": 400,
    "invalid_client": 401,
    "invalid_grant": 400,
    "unauthorized_client": 400,
    "unsupported_grant_type": 400,
    "unsupported_response_type": 400,
    "invalid_scope": 400,
    "invalid_target": 400,
    "not_found": 400,
    "access_denied": 403,
    "invalid_redirect_uri": 400,
    "invalid_client_metadata": 400,
    "invalid_dpop_proof": 400,
    "use_dpop_nonce": 400,
    "login_required": 400,
    "consent_required": 400,
    "authorization_pending": 400,
    "expired_token": 400,
    "request_not_supported": 400,
    "request_uri_not_supported": 400,
    "slow_down": 429,
    "server_error": 500,
    "temporarily_unavailable": 503,
}


def test_every_code_has_the_status_of_the_contract() -> None:
    statuses = {kind.error: kind.status for kind in OAuthError.__subclasses__() if kind is not PollingTooFast}
    assert statuses == STATUSES


def test_a_device_is_told_with_400_where_others_are_told_otherwise() -> None:
    answers = {kind.error: kind.status for kind in (PollingTooFast, DeviceDenied)}
    assert answers == {"slow_down": 400, "access_denied": 400}


def test_what_is_no_refusal_has_no_reference() -> None:
    pending = AuthorizationPending()
    assert (pending.reference, pending.audited, pending.is_refusal) == ("", False, False)


def test_references_are_random_words_of_base32() -> None:
    references = {new_reference() for _ in range(100)}
    assert len(references) == 100
    assert all(re.fullmatch("ref_[a-z2-7]{20}", reference) for reference in references)


def test_a_refusal_carries_what_its_three_readers_need() -> None:
    refusal = errors.InvalidRequest("scope is malformed", reason="scope_malformed")
    assert (refusal.error, refusal.description, refusal.reason) == (
        "invalid_request",
        "scope is malformed",
        "scope_malformed",
    )
    assert refusal.audited
    assert str(refusal) == "scope is malformed"
    assert refusal.reference != errors.InvalidRequest("scope is malformed").reference


def test_the_reason_is_the_code_where_none_is_given() -> None:
    assert errors.InvalidTarget("x").reason == "invalid_target"
    assert not errors.InvalidTarget("x", audited=False).audited


@pytest.mark.parametrize(
    ("refusal", "description"),
    [
        (errors.InvalidClient(), "client authentication failed"),
        (errors.InvalidGrant(), "the authorization grant is invalid, expired, or revoked"),
        (errors.SlowDown(), "rate limit exceeded"),
        (errors.ServerError(), "internal error"),
    ],
)
def test_generic_texts_are_those_of_the_contract(refusal: OAuthError, description: str) -> None:
    assert refusal.description == description


def test_slow_down_says_when_to_come_back_and_is_not_audited() -> None:
    refusal = SlowDown(retry_after=7)
    assert refusal.retry_after == 7
    assert not refusal.audited


def test_a_fault_keeps_its_reason_to_itself() -> None:
    fault = ServerError(reason="provider_missing")
    assert fault.reason == "provider_missing"
    assert "provider" not in fault.description


def test_a_page_is_told_a_title_a_sentence_and_a_reference() -> None:
    refusal = errors.PageRefusal("Invalid Client", "Start again from your application.")
    assert (refusal.title, refusal.message, refusal.status) == ("Invalid Client", str(refusal), 400)
    assert refusal.reason == "invalid_client"
    assert refusal.reference.startswith("ref_")
