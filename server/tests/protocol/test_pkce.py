"""Proof Key for Code Exchange."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidGrant, InvalidRequest
from authserver.protocol.pkce import check_code_challenge, check_code_verifier, s256_challenge

# RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

verifiers = st.text(string.ascii_letters + string.digits + "-._~", min_size=43, max_size=128)


def test_the_challenge_of_appendix_b_is_made_from_its_verifier() -> None:
    assert s256_challenge(VERIFIER) == CHALLENGE


def test_the_verifier_of_appendix_b_passes() -> None:
    check_code_verifier(VERIFIER, code_challenge=CHALLENGE)


@given(verifiers)
def test_every_verifier_passes_for_its_own_challenge(verifier: str) -> None:
    challenge = s256_challenge(verifier)
    check_code_challenge(challenge, method="S256")
    check_code_verifier(verifier, code_challenge=challenge)


@given(verifiers.filter(lambda verifier: verifier != VERIFIER))
def test_no_other_verifier_passes(verifier: str) -> None:
    with pytest.raises(InvalidGrant, match=r"^PKCE verification failed$"):
        check_code_verifier(verifier, code_challenge=CHALLENGE)


def test_an_absent_verifier_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"^code_verifier is required$"):
        check_code_verifier(None, code_challenge=CHALLENGE)


@pytest.mark.parametrize(
    "verifier", ["short", "a" * 42, "a" * 129, VERIFIER + "\n", "ä" * 43, "a b" * 15, CHALLENGE[:42]]
)
def test_a_malformed_verifier_fails_even_if_the_challenge_was_made_from_it(verifier: str) -> None:
    challenge = s256_challenge(verifier) if verifier.isascii() else CHALLENGE
    with pytest.raises(InvalidGrant):
        check_code_verifier(verifier, code_challenge=challenge)


@pytest.mark.parametrize(
    ("challenge", "method", "parameter"),
    [
        (None, "S256", "code_challenge is required"),
        (None, None, "code_challenge is required"),
        (CHALLENGE, None, "code_challenge_method is required"),
        (CHALLENGE, "plain", "code_challenge_method"),
        (CHALLENGE, "s256", "code_challenge_method"),
        (CHALLENGE[:42], "S256", "code_challenge must"),
        (CHALLENGE + "A", "S256", "code_challenge must"),
        (CHALLENGE + "=", "S256", "code_challenge must"),
        (CHALLENGE + "\n", "S256", "code_challenge must"),
        (CHALLENGE[:42] + "~", "S256", "code_challenge must"),
        (CHALLENGE[:42] + "é", "S256", "code_challenge must"),
    ],
)
def test_a_challenge_that_is_not_s256_is_refused_by_the_name_of_the_parameter(
    challenge: str | None, method: str | None, parameter: str
) -> None:
    with pytest.raises(InvalidRequest, match=parameter):
        check_code_challenge(challenge, method=method)
