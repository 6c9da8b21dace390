"""User codes (RFC 8628 §6.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.user_codes import ALPHABET, LENGTH, new_user_code, parse_user_code, spell_user_code

codes = st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH)
separators = st.text(" \t\u00a0-\u2010\u2011\u2012\u2013\u2014._\u200b", max_size=3)


def test_a_new_code_is_eight_letters_without_a_vowel() -> None:
    made = {new_user_code() for _ in range(200)}
    assert len(made) == 200
    assert len(ALPHABET) == 20
    assert all(len(code) == 8 and set(code) <= set(ALPHABET) and not set(code) & set("AEIOUY") for code in made)


@given(codes)
def test_a_code_is_read_as_it_is_spelled(code: str) -> None:
    assert parse_user_code(spell_user_code(code)) == code


@given(codes, st.lists(separators, min_size=LENGTH + 1, max_size=LENGTH + 1), st.lists(st.booleans(), min_size=LENGTH))
def test_case_and_what_stands_between_letters_do_not_count(code: str, between: list[str], lower: list[bool]) -> None:
    letters = [letter.lower() if low else letter for letter, low in zip(code, lower, strict=False)]
    entered = between[0] + "".join(letter + gap for letter, gap in zip(letters, between[1:], strict=True))
    assert parse_user_code(entered) == code


@given(st.text(max_size=80))
def test_whatever_is_entered_is_a_code_or_nothing(entered: str) -> None:
    code = parse_user_code(entered)
    assert code is None or (len(code) == LENGTH and set(code) <= set(ALPHABET))


@pytest.mark.parametrize(
    "entered",
    [
        "",
        "BCDFGHJ",
        "BCDFGHJKL",
        "BCDF-GHJA",
        "BCDF-GHJ0",
        "BCDF-GHJ\u017f",  # the long s, S in upper case
        "BCDF-GHJ\u212a",  # the Kelvin sign, k in lower case
        "\uff22CDFGHJK",  # a full-width B
        "BCDFGHJK" + " " * 57,
    ],
)
def test_anything_else_is_no_code(entered: str) -> None:
    assert parse_user_code(entered) is None
