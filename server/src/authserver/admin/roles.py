"""Who an operator is, and what the role allows."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What an operator may do; each may do all that those below it may (decision 0028)."""

    READ_ONLY = 1
    AUDITOR = 2
    OPERATOR = 3
    OWNER = 4

    def __str__(self) -> str:
        """Return the name on the wire."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who sends an admin request.

    Attributes:
        name: The actor of its audit rows.
    """

    name: str
    role: Role


BUILT_IN_OWNER = Operator(name="admin", role=Role.OWNER)
"""Whoever has ``admin.api_key``."""
