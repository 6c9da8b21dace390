"""Values repeated in descriptions."""

from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.quoting import quoted


def test_a_plain_value_stands_as_it_is() -> None:
    assert quoted("https://client.example/cb?a=b") == "'https://client.example/cb?a=b'"


def test_what_a_header_or_a_log_could_be_broken_with_becomes_a_question_mark() -> None:
    assert quoted('a\r\nb"c\\d\u202ee') == "'a??b?c?d?e'"


def test_a_long_value_is_cut() -> None:
    assert quoted("x" * 201) == "'" + "x" * 197 + "...'"
    assert quoted("x" * 200) == "'" + "x" * 200 + "'"


@given(st.text())
def test_whatever_is_quoted_may_stand_in_an_error_description(value: str) -> None:
    result = quoted(value)
    assert result.isascii()
    assert result.isprintable()
    assert not set('"\\') & set(result)
    assert len(result) <= 202
