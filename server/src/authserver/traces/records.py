"""What is kept of a refusal."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalTrace:
    """A refusal and the decision that led to it.

    Attributes:
        reference: The reference id that the client was given.
        error: The code on the wire, or the title of the page.
        client_id: The client concerned, or empty.
        endpoint: Method and route.
        request_id: As in ``X-Request-ID``.
        status: The HTTP status.
        reason: Why, in one ``snake_case`` word.
        description: What the client was told, without the reference id.
        steps: What was looked at, in order; each has ``step`` and what was found.
        created_at: Seconds since the epoch.
    """

    reference: str
    error: str
    client_id: str
    endpoint: str
    request_id: str
    status: int
    reason: str
    description: str
    steps: tuple[dict[str, Any], ...]
    created_at: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What a reason says to an operator; names in braces are fields that were noted."""

    meaning: str
    fix: str
