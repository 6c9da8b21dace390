"""Decides which requests are traced, and begins their spans."""

from collections.abc import Callable

from authserver.protocol.identifiers import random_bytes
from authserver.telemetry.spans import Span, SpanKind
from authserver.telemetry.trace_context import TraceContext, read_trace_context

MOST_FORCED_PER_SECOND = 100
"""How often in a second callers may decide that their requests are recorded, in each process."""

_RANGE = 1 << 64


class Tracer:
    """Begins the trace of a request, or joins its caller's.

    The caller's decision holds, as the parts of a trace are worth little alone. But anybody may call: beyond a number of
    requests a second the share decides for them, too, and not by an identifier that they chose.
    """

    def __init__(self, *, sample_rate: float, put: Callable[[Span], None], monotonic: Callable[[], float]) -> None:
        """Take what is configured.

        Args:
            sample_rate: Share of the traces that begin here which is recorded.
            put: Takes a span that has ended; waits for nothing.
            monotonic: Seconds of a clock that never goes back.
        """
        self._bound = round(min(1.0, max(0.0, sample_rate)) * _RANGE)
        self._put = put
        self._monotonic = monotonic
        self._second = 0
        self._forced = 0

    def begin(self) -> TraceContext:
        """Begin a trace."""
        identifier = random_bytes()
        # By its last eight bytes, as every SDK does, so that servers of the same share agree.
        return TraceContext(trace_id=identifier.hex(), is_sampled=int.from_bytes(identifier[8:]) < self._bound)

    def join(self, parents: list[str], states: list[str], baggage: list[str]) -> TraceContext:
        """Join the trace that a caller names; begin one when it names none. The arguments are the headers' values."""
        context = read_trace_context(parents, states, baggage)
        if context is None:
            return self.begin()
        if context.is_sampled and not self._may_force() and int.from_bytes(random_bytes()[8:]) >= self._bound:
            return TraceContext(
                trace_id=context.trace_id,
                parent_id=context.parent_id,
                is_sampled=False,
                state=context.state,
                baggage=context.baggage,
            )
        return context

    def start(self, name: str, context: TraceContext) -> Span | None:
        """Begin the span of a request; None when its trace is not recorded."""
        return Span(name, context, None, self._put, kind=SpanKind.SERVER) if context.is_sampled else None

    def _may_force(self) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._forced = second, 0
        self._forced += 1
        return self._forced <= MOST_FORCED_PER_SECOND
