"""Durations: what operators write and what is written back."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.config.durations import parse_duration, spell_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", 5400),
        ("168h", 604_800),
        ("90s", 90),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("5.s", 5),
        ("1500ms", 1.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250μs", 0.00025),
        ("1ns", 1e-9),
        ("-1m30s", -90),
        ("-1500ms", -1.5),
        ("+5s", 5),
        ("0s", 0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert isinstance(parse_duration(text), int) == (seconds == int(seconds))


@pytest.mark.parametrize(
    "text", ["", "0", "5", "s", "1d", "1 s", " 1s", "1s ", "1s\n", "--1s", "1h-5m", "1e3s", "½s", "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_a_duration_beyond_292_years_is_refused() -> None:
    assert parse_duration("2562047h") == 2_562_047 * 3600
    with pytest.raises(ValueError, match="longer"):
        parse_duration("2562048h")


@given(st.integers(min_value=-(10**9), max_value=10**9))
def test_whole_seconds_survive_being_written(seconds: int) -> None:
    assert parse_duration(spell_duration(seconds)) == seconds


@given(st.integers(min_value=-(10**9), max_value=10**9))
def test_milliseconds_survive_being_written(milliseconds: int) -> None:
    assert parse_duration(spell_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-9)


@given(st.text(max_size=20))
def test_any_other_text_is_a_value_error_or_a_number(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_duration(text), int | float)


@given(
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=1000), st.sampled_from(["h", "m", "s", "ms"])),
        min_size=1,
        max_size=6,
    )
)
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    milliseconds = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) * 1000 == pytest.approx(sum(number * milliseconds[unit] for number, unit in parts))
