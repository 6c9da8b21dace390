"""A mutation of the admin API: how it is prepared, what it must record, what it changes, what it gives when sent again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from e2e.harness.mutations.world import World


class Row(NamedTuple):
    """A row of the audit trail, but for who did it and from where."""

    action: str
    client_id: str
    detail: str


class Again(Enum):
    """What the same request gives when it is sent again, if it is not refused."""

    SAME = "the same answer, and nothing is written"
    ANEW = "it is done once more: there is no telling that it was meant once"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A mutation, prepared.

    Attributes:
        path: The parameters of the template filled in.
        query: Of the URL.
        rows: Takes the answer's JSON; returns what is recorded, in this order.
        effect: Takes the answer's JSON, or None before there is one; tells whether the second instance shows the effect.
            None: nobody sees anything of it.
        is_new: The effect cannot be asked for before there is an answer.
        at_once: The second instance shows it at its next request: nothing of it is held in memory.
    """

    path: str
    body: object = None
    query: dict[str, str] | None = None
    rows: Callable[[Any], Sequence[Row]]
    effect: Callable[[Any], Awaitable[bool]] | None = None
    is_new: bool = False
    at_once: bool = False


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A mutation.

    Attributes:
        name: What is done, in words.
        endpoint: Method and path template.
        again: A status: of the refusal when it is sent again.
        prepare: Makes what is changed. May be called any number of times.
        is_shown: It has an effect that somebody beside operators sees.
        is_first: It is prepared before all others, when many are tried in one world.
    """

    name: str
    endpoint: str
    again: Again | int
    prepare: Callable[[World], Awaitable[Case]]
    is_shown: bool = True
    is_first: bool = False

    @property
    def method(self) -> str:
        return self.endpoint.partition(" ")[0]


def said(*rows: Row) -> Callable[[Any], Sequence[Row]]:
    """Return rows that are the same whatever was answered."""
    return lambda _answer: rows
