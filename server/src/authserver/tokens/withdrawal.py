"""What happens to tokens when their user or client goes, or is made to sign in again."""

from dataclasses import dataclass

from authserver.authorization.store import has_family_used_since, revoke_families_of
from authserver.storage.database import Writer
from authserver.tokens.store import has_live_issuance, revoke_issuances_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Asks for and ends everything that a user or a client still holds, in the caller's transaction.

    Attributes:
        refresh_lifetime: Seconds after its last use at which a family has run out by itself.
    """

    refresh_lifetime: int

    async def user_has_live(self, tx: Writer, user_id: str, now: int) -> bool:
        """Whether a user has a family or token that still works."""
        since = now - self.refresh_lifetime
        return await has_live_issuance(tx, user_id=user_id, now=now) or await has_family_used_since(
            tx, user_id=user_id, since=since
        )

    async def client_has_live(self, tx: Writer, client_id: str, now: int) -> bool:
        """Whether a client has a family or token that still works."""
        since = now - self.refresh_lifetime
        return await has_live_issuance(tx, client_id=client_id, now=now) or await has_family_used_since(
            tx, client_id=client_id, since=since
        )

    async def revoke_user(self, tx: Writer, user_id: str, now: int) -> int:
        """Revoke a user's families and tokens; return the number of families that were in force.

        Families first: their rows are locked until the end, so no refresh slips a token in behind the second statement.
        """
        families = await revoke_families_of(tx, user_id=user_id, now=now)
        # What was being exchanged while a round waited for its subject token is there for the next one.
        while await revoke_issuances_of(tx, user_id=user_id, now=now):
            pass
        return families

    async def revoke_client(self, tx: Writer, client_id: str, now: int) -> int:
        """Revoke a client's families and tokens; return the number of families that were in force."""
        families = await revoke_families_of(tx, client_id=client_id, now=now)
        # As above: a client may be exchanging a token of its own.
        while await revoke_issuances_of(tx, client_id=client_id, now=now):
            pass
        return families
