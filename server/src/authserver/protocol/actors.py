"""Who acts for whom: the ``act`` claim (RFC 8693 §4.1), how it grows, and what is read out of it."""

from collections.abc import Mapping

Act = Mapping[str, object]

MAX_AGENT_CHAIN = 8
"""Entries of ``agent_chain`` at most (tokens.md §5)."""

# What says something about a token, not about who acts: it would speak of the wrong token one hop later.
_OF_A_TOKEN = frozenset({"exp", "nbf", "aud", "iat", "jti"})


def actors_of(act: Act | None) -> tuple[str, ...]:
    """Return the ``sub`` of every hop, oldest first."""
    return tuple(str(hop.get("sub", "")) for hop in reversed(_hops_of(act)))


def depth_of(act: Act | None) -> int:
    """Return the number of nested hops."""
    return len(_hops_of(act))


def sanitise(act: object) -> Act | None:
    """Return a chain without the members that speak of a token; None when it is no chain.

    What is nested and no object is dropped with all that it hides.
    """
    clean: Act | None = None
    for hop in reversed(_hops_of(act)):
        kept = {name: value for name, value in hop.items() if name not in _OF_A_TOKEN and name != "act"}
        clean = kept if clean is None else {**kept, "act": clean}
    return clean


def add_actor(earlier: Act | None, *, caller: str, is_agent: bool) -> Act:
    """Return the chain with a client in front that acts by a token of its own (token exchange, section 8)."""
    hop: dict[str, object] = {"sub": caller, "actor_type": "agent" if is_agent else "service"}
    return hop if earlier is None else {**hop, "act": earlier}


def add_fronting(earlier: Act | None, *, source: str, agent_client: str, caller: str) -> Act:
    """Return the chain with a gateway in front, by the slug of the Resource it fronts with (token exchange, section 8).

    Args:
        earlier: The subject token's chain, or None.
        source: The slug.
        agent_client: The client of the subject token; the first hop when there was none.
        caller: The gateway's own client id, which stands in when the subject token names no other.
    """
    inner = {"sub": caller if agent_client in {"", source} else agent_client} if earlier is None else earlier
    return {"sub": source, "act": inner}


def _hops_of(act: object) -> list[Act]:
    """Return the hops, newest first."""
    hops: list[Act] = []
    while isinstance(act, Mapping):
        hops.append(act)
        act = act.get("act")
    return hops
