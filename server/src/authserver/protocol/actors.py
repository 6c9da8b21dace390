"""Who acts for whom: the ``act`` claim (RFC 8693 §4.1) and what is read out of it."""

from collections.abc import Mapping

Act = Mapping[str, object]

MAX_AGENT_CHAIN = 8
"""Entries of ``agent_chain`` at most (tokens.md §5)."""


def actors_of(act: Act | None) -> tuple[str, ...]:
    """Return the ``sub`` of every hop, oldest first."""
    actors: list[str] = []
    while act is not None:
        actors.append(str(act.get("sub", "")))
        inner = act.get("act")
        act = inner if isinstance(inner, Mapping) else None
    return tuple(reversed(actors))
