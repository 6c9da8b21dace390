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


ROLES = {str(role): role for role in Role}
"""The roles by their names on the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who sends an admin request.

    Attributes:
        name: The actor of its audit rows.
        resources: The ids of the resources it is for, and of nothing else; None: for everything.
    """

    name: str
    role: Role
    resources: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord:
    """An operator's row; the key itself is not in it.

    Attributes:
        created_by: The operator who created it.
        expires_at: From when on the key is refused; None: never.
        revoked_at: Since when it is refused for good.
    """

    operator: Operator
    created_by: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None

    def is_live(self, now: int) -> bool:
        """Whether its key lets anybody in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


BUILT_IN_OWNER = Operator(name="admin", role=Role.OWNER)
"""Whoever has ``admin.api_key``."""
