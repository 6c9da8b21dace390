"""Which trace a request belongs to, as its caller says and as others are told (W3C Trace Context, W3C Baggage).

What a caller says is bounded and of the grammar, or it is not passed on: it goes out again in requests of ours.
"""

import re
from dataclasses import dataclass

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_VERSION, _FIRST_VERSION = "ff", "00"
_NO_TRACE, _NO_PARENT = "0" * 32, "0" * 16
_SAMPLED = 0x01

_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_STATE_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]", re.ASCII)
_MOST_STATE_MEMBERS = 32
_MOST_STATE_BYTES = 512

# Possessive: blanks that could belong to either of two parts would be tried in every way there is, by anybody's header.
_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*+"
_BAGGAGE_MEMBER = re.compile(rf"{_NAME}\s*+=\s*+{_VALUE}(?:\s*+;\s*+{_NAME}(?:\s*+=\s*+{_VALUE})?+)*+", re.ASCII)
_MOST_BAGGAGE_MEMBERS = 16
_MOST_BAGGAGE_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """The trace of a request.

    Attributes:
        trace_id: 32 hexadecimal digits.
        parent_id: The caller's span, 16 hexadecimal digits; empty when the trace begins here.
        is_sampled: Whether its spans are recorded.
        state: What tracing systems on the way want to know again, to be passed on.
        baggage: What the caller wants passed on.
    """

    trace_id: str
    parent_id: str = ""
    is_sampled: bool
    state: str = ""
    baggage: str = ""


def read_trace_context(parents: list[str], states: list[str], baggage: list[str]) -> TraceContext | None:
    """Return what a caller says, or None when it says nothing that can be used; then its baggage is nobody's.

    Args:
        parents: The values of ``traceparent``: one, or there is no saying which.
        states: Those of ``tracestate``.
        baggage: Those of ``baggage``.
    """
    match = _PARENT.fullmatch(parents[0].strip(" \t")) if len(parents) == 1 else None
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if version == _NO_VERSION or (version == _FIRST_VERSION and rest is not None):
        return None
    if trace_id == _NO_TRACE or parent_id == _NO_PARENT:
        return None
    return TraceContext(
        trace_id=trace_id,
        parent_id=parent_id,
        is_sampled=bool(int(flags, 16) & _SAMPLED),
        state=_read_state(states) if states else "",
        baggage=_read_baggage(baggage) if baggage else "",
    )


def spell_trace_headers(context: TraceContext, span_id: str) -> dict[str, str]:
    """Return the headers that have another server's spans join the trace.

    Args:
        context: The trace.
        span_id: The span that asks.
    """
    flags = "01" if context.is_sampled else "00"
    headers = {"traceparent": f"00-{context.trace_id}-{span_id}-{flags}"}
    if context.state:
        headers["tracestate"] = context.state
    if context.baggage:
        headers["baggage"] = context.baggage
    return headers


def _read_state(values: list[str]) -> str:
    members = _members(values, most_bytes=_MOST_STATE_BYTES, most=_MOST_STATE_MEMBERS)
    matches = [_STATE_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    # A key that is malformed or there twice spoils the whole list (Trace Context §3.3.1).
    return ",".join(members) if len(keys) == len(members) else ""


def _read_baggage(values: list[str]) -> str:
    members = _members(values, most_bytes=_MOST_BAGGAGE_BYTES, most=_MOST_BAGGAGE_MEMBERS)
    return ",".join(members) if all(map(_BAGGAGE_MEMBER.fullmatch, members)) else ""


def _members(values: list[str], *, most_bytes: int, most: int) -> list[str]:
    """Return the members of a list, none when it is too long."""
    if sum(map(len, values)) > most_bytes:
        return []
    members = [stripped for value in values for member in value.split(",") if (stripped := member.strip(" \t"))]
    return members if len(members) <= most else []
