"""What signing in is about."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSession:
    """A browser in which a user signed in.

    Attributes:
        epoch: The user's session epoch at that time; raising the user's ends all sessions of before.
        expires_at: Seconds since the epoch.
    """

    user_id: str
    epoch: int
    expires_at: int
