"""What signing in is about."""

from typing import NamedTuple


class LoginSession(NamedTuple):
    """A browser in which a user signed in.

    Attributes:
        epoch: The user's session epoch at that time; raising the user's ends all sessions of before.
        sign_in_id: Tells one sign-in from every other.
        authenticated_at: When the user signed in, in seconds since the epoch.
        expires_at: When the session ends.
    """

    user_id: str
    epoch: int
    sign_in_id: str
    authenticated_at: int
    expires_at: int
