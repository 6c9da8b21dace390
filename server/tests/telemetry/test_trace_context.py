"""What callers say about their trace, and what is passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.telemetry.trace_context import TraceContext, read_trace_context, spell_trace_headers

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (GOOD, True),
        (f" {GOOD}\t", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-03", True),
        (f"00-{TRACE}-{PARENT}-fe", False),
        (f"cc-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-adds", True),
    ],
)
def test_a_caller_names_the_trace_its_span_and_whether_it_is_recorded(*, header: str, is_sampled: bool) -> None:
    assert read_trace_context([header], [], []) == TraceContext(trace_id=TRACE, parent_id=PARENT, is_sampled=is_sampled)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        [GOOD, GOOD],
        [GOOD.upper()],
        [GOOD + "-more"],
        [f"ff-{TRACE}-{PARENT}-01"],
        [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE}-{PARENT}-1"],
        [f"00-{TRACE[1:]}-{PARENT}-01"],
        [f"00-{TRACE}-{PARENT}-01\r\nx: y"],
        [f"0\u0660-{TRACE}-{PARENT}-01"],
    ],
)
def test_what_is_no_trace_context_is_none_and_its_baggage_is_nobodys(headers: list[str]) -> None:
    assert read_trace_context(headers, ["a=b"], ["a=b"]) is None


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["a=1"], "a=1"),
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1 ,\tb=2", "", "t61@vendor=3"], "a=1,b=2,t61@vendor=3"),
        (["a=1,a=2"], ""),
        (["A=1"], ""),
        (["a=1,b"], ""),
        (["a=x\r\ny: z"], ""),
        ([",".join(f"k{n}=v" for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
        ([",".join(f"k{n}=v" for n in range(33))], ""),
        ([f"a={'x' * 250},b={'x' * 250},c={'x' * 20}"], ""),
    ],
)
def test_the_state_of_others_is_passed_on_if_it_is_well_formed_and_short(values: list[str], kept: str) -> None:
    context = read_trace_context([GOOD], values, [])
    assert context is not None
    assert context.state == kept


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["user=7;flag;level=2, tier = gold"], "user=7;flag;level=2,tier = gold"),
        (["a=%20", "b=2"], "a=%20,b=2"),
        (["a=b c"], ""),
        (["a"], ""),
        (["a=x\r\ny: z"], ""),
        ([",".join(f"k{n}=v" for n in range(17))], ""),
        ([f"a={'x' * 1023}"], ""),
    ],
)
def test_baggage_is_passed_on_if_it_is_well_formed_and_short(values: list[str], kept: str) -> None:
    context = read_trace_context([GOOD], [], values)
    assert context is not None
    assert context.baggage == kept


@given(st.lists(st.text(max_size=200), max_size=3), st.lists(st.text(max_size=200), max_size=3))
def test_whatever_a_caller_sends_what_goes_out_again_is_a_header(states: list[str], baggage: list[str]) -> None:
    context = read_trace_context([GOOD], states, baggage)
    assert context is not None
    for value in spell_trace_headers(context, "b7ad6b7169203331").values():
        assert value.isascii()
        assert value.isprintable()
        assert len(value) <= 1024


@pytest.mark.parametrize(("is_sampled", "flags"), [(True, "01"), (False, "00")])
def test_other_servers_are_told_the_decision_and_what_was_to_be_passed_on(*, is_sampled: bool, flags: str) -> None:
    context = TraceContext(trace_id=TRACE, is_sampled=is_sampled, state="a=1", baggage="b=2")
    assert spell_trace_headers(context, PARENT) == {
        "traceparent": f"00-{TRACE}-{PARENT}-{flags}",
        "tracestate": "a=1",
        "baggage": "b=2",
    }
    bare = TraceContext(trace_id=TRACE, is_sampled=is_sampled)
    assert spell_trace_headers(bare, PARENT) == {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}


@pytest.mark.parametrize("part", [";c= ", ";c = ", " ;c", "; c= d ", " "])
def test_baggage_that_is_nearly_well_formed_takes_no_longer_than_other(part: str) -> None:
    # Tried in every way there is, this would not end.
    context = read_trace_context([f"00-{'1' * 32}-{'2' * 16}-01"], [], ["a= " + part * (900 // len(part)) + '"'])
    assert context is not None
    assert context.baggage == ""
    kept = read_trace_context([f"00-{'1' * 32}-{'2' * 16}-01"], [], ["a = ;b ; c= ;d = e,f=g"])
    assert kept is not None
    assert kept.baggage == "a = ;b ; c= ;d = e,f=g"
