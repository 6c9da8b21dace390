"""Which requests are traced, and what a span is."""

import asyncio

import pytest

from authserver.protocol.errors import InvalidGrant
from authserver.telemetry.origin import RequestOrigin, set_origin
from authserver.telemetry.spans import NO_SPAN, Span, annotate, call_span, leave, span, trace_headers, within
from authserver.telemetry.trace_context import TraceContext
from authserver.telemetry.tracing import MOST_FORCED_PER_SECOND, Tracer

pytestmark = pytest.mark.anyio

SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def a_tracer(rate: float, clock: Clock | None = None) -> tuple[Tracer, list[Span]]:
    ended: list[Span] = []
    return Tracer(sample_rate=rate, put=ended.append, monotonic=clock or Clock()), ended


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0, 0), (-1.0, 0, 0), (1.0, 2000, 2000), (7.0, 2000, 2000)])
def test_none_and_all_are_exact(rate: float, least: int, most: int) -> None:
    tracer, _ = a_tracer(rate)
    assert least <= sum(tracer.begin().is_sampled for _ in range(2000)) <= most


def test_a_share_of_the_traces_is_recorded() -> None:
    tracer, _ = a_tracer(0.25)
    # Ten standard deviations on either side.
    assert 3200 < sum(tracer.begin().is_sampled for _ in range(16_000)) < 4800


def test_traces_that_begin_here_have_different_names() -> None:
    tracer, _ = a_tracer(1)
    names = {tracer.begin().trace_id for _ in range(1000)}
    assert len(names) == 1000
    assert {len(name) for name in names} == {32}


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_callers_decision_holds_whatever_the_share(rate: float) -> None:
    tracer, _ = a_tracer(rate)
    assert tracer.join([SAMPLED], [], []).is_sampled is True
    assert tracer.join([UNSAMPLED], [], []).is_sampled is False


def test_callers_cannot_have_more_than_so_many_requests_a_second_recorded() -> None:
    clock = Clock()
    tracer, _ = a_tracer(0.0, clock)
    for _ in range(2):
        joined = [tracer.join([SAMPLED], ["a=1"], ["b=2"]) for _ in range(MOST_FORCED_PER_SECOND + 50)]
        assert sum(context.is_sampled for context in joined) == MOST_FORCED_PER_SECOND
        # The others belong to the caller's trace all the same.
        assert {context.trace_id for context in joined} == {"a" * 32}
        assert {(context.parent_id, context.state, context.baggage) for context in joined} == {("b" * 16, "a=1", "b=2")}
        clock.seconds += 1


def test_where_everything_is_recorded_callers_are_not_counted() -> None:
    tracer, _ = a_tracer(1.0)
    assert all(tracer.join([SAMPLED], [], []).is_sampled for _ in range(MOST_FORCED_PER_SECOND * 3))


def test_a_request_that_is_not_traced_has_no_spans() -> None:
    assert span("Service.Operation", client_id="c") is NO_SPAN
    with span("Service.Operation") as nothing:
        nothing.set("client_id", "c")
        nothing.note("an event")
        nothing.fail("a failure")
        annotate(client_id="c")
    with call_span("Other.Ask") as nothing:
        assert nothing is NO_SPAN
    tracer, _ = a_tracer(0)
    assert tracer.start("GET /", tracer.begin()) is None


async def test_spans_nest_as_the_work_does_also_side_by_side() -> None:
    tracer, ended = a_tracer(1)
    request = tracer.start("GET /", tracer.begin())
    assert request is not None
    before = within(request)

    async def work(name: str) -> None:
        with span(name, number=1):
            await asyncio.sleep(0)
            with span(f"{name}.inner"):
                await asyncio.sleep(0)
            annotate(client_id=name)

    await asyncio.gather(work("one"), work("two"))
    leave(before)
    request.end()
    named = {each.name: each for each in ended}
    assert list(named) == ["one.inner", "one", "two.inner", "two", "GET /"]
    for name in ("one", "two"):
        assert named[name].parent_id == request.span_id
        assert named[f"{name}.inner"].parent_id == named[name].span_id
        assert named[name].attributes == {"number": 1, "client_id": name}
        assert named[name].started_at <= named[f"{name}.inner"].started_at
        assert named[f"{name}.inner"].ended_at <= named[name].ended_at
    assert len({each.span_id for each in ended}) == 5
    assert span("later") is NO_SPAN


async def test_a_failure_is_named_by_its_reason_or_its_class_never_by_its_words() -> None:
    tracer, ended = a_tracer(1)
    request = tracer.start("GET /", tracer.begin())
    before = within(request)
    with pytest.raises(InvalidGrant), span("refused"):
        raise InvalidGrant(reason="code_unknown")
    with pytest.raises(RuntimeError), span("broken"):
        raise RuntimeError("a secret")
    with pytest.raises(OSError, match="a secret"), call_span("asked"):
        raise OSError("a secret")
    with call_span("answered"):
        pass
    leave(before)
    assert [(each.name, each.error) for each in ended] == [
        ("refused", "code_unknown"),
        ("broken", "RuntimeError"),
        ("asked", "OSError"),
        ("answered", None),
    ]
    assert [each.attributes.get("outcome") for each in ended] == [None, None, "error", "success"]


async def test_a_request_has_a_bounded_number_of_spans_and_none_after_its_answer() -> None:
    tracer, ended = a_tracer(1)
    request = tracer.start("GET /", tracer.begin())
    assert request is not None
    before = within(request)
    for _ in range(500):
        with span("a read"):
            pass
    assert len(ended) == 128
    request.end()
    with span("what goes on"):
        pass
    leave(before)
    assert ended[-1] is request


async def test_requests_to_others_join_the_trace_recorded_or_not() -> None:
    assert trace_headers() == {}
    tracer, _ = a_tracer(1)
    context = tracer.join([SAMPLED], ["a=1"], ["b=2"])
    set_origin(RequestOrigin(trace=context))
    request = tracer.start("GET /", context)
    before = within(request)
    with span("asks") as asking:
        assert isinstance(asking, Span)
        assert trace_headers() == {
            "traceparent": f"00-{'a' * 32}-{asking.span_id}-01",
            "tracestate": "a=1",
            "baggage": "b=2",
        }
    leave(before)
    set_origin(RequestOrigin(trace=TraceContext(trace_id="c" * 32, is_sampled=False)))
    told = trace_headers()["traceparent"].split("-")
    assert (told[1], told[3]) == ("c" * 32, "00")
    assert told[2] != "0" * 16
