"""The gates of an exchange that names no resource: a client narrows its own token (token exchange, section 5.5)."""

from dataclasses import dataclass

from authserver.protocol.errors import AccessDenied
from authserver.protocol.exchanged_scopes import check_not_empty, choose_inherited
from authserver.telemetry.notes import note
from authserver.tokens.exchange.consenting import NOT_AUTHORIZED
from authserver.tokens.exchange.records import Exchange, Plan
from authserver.tokens.exchange.verifying import TokenVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class UnnamedGates:
    """Decides what a caller gets without naming a target.

    Attributes:
        allow_self_exchange: Whether anybody gets anything.
    """

    verifier: TokenVerifier
    allow_self_exchange: bool

    async def pass_(self, exchange: Exchange, *, now: int) -> Plan:
        """Return what may be issued.

        Raises:
            OAuthError: A gate refuses.
        """
        actor = await self.verifier.verify_actor(exchange.request.form, now=now)  # 1
        scopes = choose_inherited(exchange.requested, subject=exchange.subject.scopes)  # 2
        note(
            "client of the subject token compared",
            client_id=exchange.caller.id,
            expected=exchange.subject.client_id,
            setting=f"token_exchange.allow_self_exchange={str(self.allow_self_exchange).lower()}",
        )
        if not (exchange.is_own and self.allow_self_exchange):  # 3
            raise AccessDenied(NOT_AUTHORIZED, reason="policy_denied")
        check_not_empty(scopes)  # 4
        return Plan(exchange=exchange, target=None, scopes=scopes, actor=actor)
