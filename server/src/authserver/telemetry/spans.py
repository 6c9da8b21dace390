"""Spans: what took how long within a request that is traced.

Outside such a request a span is nothing: ``span`` then costs a look at the context. What is recorded is a plain object;
``telemetry/otlp`` knows how a collector wants it. Beside the request's origin, the present span is the one ambient value.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from enum import Enum, auto
from types import TracebackType
from typing import Self

from authserver.protocol.identifiers import random_bytes
from authserver.telemetry.origin import current_origin
from authserver.telemetry.trace_context import TraceContext, spell_trace_headers

Attribute = str | int | bool
_MOST_CHILDREN = 128

_SPAN_ID_BYTES = 8


class SpanKind(Enum):
    """Whose work a span is: ours, an answer to a client, or a question to another server."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()


class _NoSpan:
    """What ``span`` returns where nothing is recorded."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def set(self, name: str, value: Attribute) -> None:
        """Forget an attribute."""

    def note(self, event: str) -> None:
        """Forget an event."""

    def fail(self, error_type: str) -> None:
        """Forget a failure."""


NO_SPAN = _NoSpan()


class Span:
    """Something that takes time. To be entered in the task that does it, and left again.

    Attributes:
        started_at: Nanoseconds since the epoch; ``ended_at``, too.
        attributes: No e-mail address, token, secret, code, assertion or query may be among them.
        events: What happened meanwhile, and when.
        error: The kind of failure it ended with, a word of ours; None: it did not fail.
        root: The span of the request.
        children: How many spans were begun below it; counted there.
    """

    __slots__ = (
        "_before",
        "_put",
        "attributes",
        "children",
        "context",
        "ended_at",
        "error",
        "events",
        "kind",
        "name",
        "parent_id",
        "root",
        "span_id",
        "started_at",
    )

    def __init__(
        self,
        name: str,
        context: TraceContext,
        parent: "Span | None",
        put: "Callable[[Span], None]",
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: dict[str, Attribute] | None = None,
    ) -> None:
        self.name = name
        self.context = context
        self.root: Span = self if parent is None else parent.root
        self.parent_id: str = context.parent_id if parent is None else parent.span_id
        self.span_id: str = new_span_id()
        self.kind = kind
        self.attributes: dict[str, Attribute] = {} if attributes is None else attributes
        self.events: list[tuple[str, int]] = []
        self.error: str | None = None
        self.children = 0
        self.started_at = time.time_ns()
        self.ended_at = 0
        self._put = put
        self._before: Token[Span | None] | None = None

    def __enter__(self) -> Self:
        self._before = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._before is not None:
            _current.reset(self._before)
        if exc is not None:
            self.fail(_error_type(exc))
        self.end()

    def child(self, name: str, kind: SpanKind, attributes: dict[str, Attribute]) -> "Span | _NoSpan":
        """Begin a span within this one.

        Of a request that makes very many only the first are kept, and none of what goes on after its answer: that is mostly
        for others, too.
        """
        root = self.root
        root.children += 1
        if root.ended_at or root.children > _MOST_CHILDREN:
            return NO_SPAN
        return Span(name, self.context, self, self._put, kind=kind, attributes=attributes)

    def set(self, name: str, value: Attribute) -> None:
        """Say something about it."""
        self.attributes[name] = value

    def note(self, event: str) -> None:
        """Say that something happened now."""
        self.events.append((event, time.time_ns()))

    def fail(self, error_type: str) -> None:
        """Say that it failed, in a word of ours: what an exception says may repeat what was sent."""
        self.error = error_type

    def end(self) -> None:
        """Hand it over to whoever exports spans."""
        self.ended_at = max(time.time_ns(), self.started_at)
        self._put(self)


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def span(name: str, kind: SpanKind = SpanKind.INTERNAL, /, **attributes: Attribute) -> Span | _NoSpan:
    """Begin a span within the present one; there is none where the request is not traced.

    Args:
        name: ``<part>.<operation>``; docs/observability.md lists them.
        kind: Whose work it is.
        **attributes: What is known by now.
    """
    parent = _current.get()
    return NO_SPAN if parent is None else parent.child(name, kind, attributes)


@contextlib.contextmanager
def call_span(name: str, **attributes: Attribute) -> Iterator[Span | _NoSpan]:
    """Have what is done within be a span of a call to another server, whose outcome it tells."""
    with span(name, SpanKind.CLIENT, **attributes) as calling:
        calling.set("outcome", "error")
        yield calling
        calling.set("outcome", "success")


current_span: Callable[[], Span | None] = _current.get
"""Return the span that the present work belongs to, or None."""


def annotate(**attributes: Attribute) -> None:
    """Say something about the present span, if there is one."""
    present = _current.get()
    if present is not None:
        present.attributes.update(attributes)


def within(present: Span | None) -> Token[Span | None]:
    """Have the work of this context belong to a span that somebody else ends; ``leave`` puts back what was there."""
    return _current.set(present)


def leave(before: Token[Span | None]) -> None:
    """Put back what was there before ``within``."""
    _current.reset(before)


def operation_name(function: object) -> str:
    """Return how spans call what a function does: its name, as ``CreateClient``."""
    return "".join(part.capitalize() for part in getattr(function, "__name__", "other").split("_"))


def trace_headers() -> dict[str, str]:
    """Return the headers by which a request to another server joins the trace of the present one; none without a trace."""
    context = current_origin().trace
    if context is None:
        return {}
    present = _current.get()
    return spell_trace_headers(context, new_span_id() if present is None else present.span_id)


def new_span_id() -> str:
    """Return the identifier of a new span."""
    return random_bytes()[:_SPAN_ID_BYTES].hex()


def _error_type(exc: BaseException) -> str:
    """Return what a span may say of an exception: the reason of a refusal, which is a word of a catalogue, or its class."""
    reason = getattr(exc, "reason", None)
    return reason if isinstance(reason, str) and reason.isidentifier() else type(exc).__name__
