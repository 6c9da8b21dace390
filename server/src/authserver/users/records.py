"""What is known about a user."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class UserRole(StrEnum):
    """What a user may do here beyond signing in."""

    USER = "user"
    ADMIN = "admin"


class UserStatus(StrEnum):
    """Whether a user may sign in and keep tokens."""

    ACTIVE = "active"
    DISABLED = "disabled"


class UserProvider(StrEnum):
    """Who checks the user's credentials."""

    LOCAL = "local"
    OIDC = "oidc"


class Account(NamedTuple):
    """What pages need of a user who is signed in; see ``User``."""

    id: str
    email: str | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account.

    Attributes:
        id: Becomes ``sub`` in tokens.
        email: What a local user signs in with; None for federated users without one.
        password_hash: argon2id, or bcrypt of an older database; empty for federated users.
        provider_sub: The upstream's name of a federated user.
        session_epoch: Raised to end every browser session; a session carries the epoch it began in.
        version: Raised by every change; an update of an older version conflicts.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
    """

    id: str
    email: str | None
    name: str
    role: UserRole
    status: UserStatus
    password_hash: str
    provider: UserProvider
    provider_sub: str
    session_epoch: int
    version: int
    created_at: int
    updated_at: int

    @property
    def is_active(self) -> bool:
        """Whether the user may sign in and use tokens."""
        return self.status is UserStatus.ACTIVE
