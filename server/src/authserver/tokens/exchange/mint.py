"""The gates of an exchange for a Mint target (token exchange, section 5.2)."""

from dataclasses import dataclass

from authserver.protocol.errors import AccessDenied
from authserver.protocol.exchanged_scopes import check_subject_ceiling, choose_consented, choose_mapped, choose_own
from authserver.resources.policy import may_exchange
from authserver.resources.records import Resource
from authserver.telemetry.notes import note
from authserver.tokens.exchange.consenting import NOT_AUTHORIZED, Consents, check_operator_gate
from authserver.tokens.exchange.fronting import FrontingFinder, check_gateway
from authserver.tokens.exchange.records import Exchange, Fronting, Plan
from authserver.tokens.exchange.verifying import TokenVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class MintGates:
    """Decides what a caller gets at a Mint target.

    Attributes:
        allow_self_exchange: Whether a client may exchange its own token without the user's consent.
    """

    verifier: TokenVerifier
    fronting: FrontingFinder
    consents: Consents
    allow_self_exchange: bool

    async def pass_(self, exchange: Exchange, target: Resource, *, now: int) -> Plan:
        """Return what may be issued.

        Raises:
            OAuthError: A gate refuses.
        """
        check_operator_gate(target, exchange.caller)  # M1
        source = await self.fronting.find_source(exchange.subject)  # M2
        fronting = await self.fronting.find(source, target)
        if fronting is not None:
            plan = self._fronted(exchange, target, fronting)
        else:
            plan = await self._direct(exchange, target, now=now)
        actor = await self.verifier.verify_actor(exchange.request.form, now=now)  # M10
        return plan if actor is None else plan.acted_by(actor)

    def _fronted(self, exchange: Exchange, target: Resource, fronting: Fronting) -> Plan:
        check_gateway(fronting, target, exchange.caller)  # M3
        scopes = choose_mapped(  # M4
            exchange.requested, scope_map=fronting.link.scope_map, subject=exchange.subject.scopes
        )
        return Plan(exchange=exchange, target=target, scopes=scopes, fronting=fronting)

    async def _direct(self, exchange: Exchange, target: Resource, *, now: int) -> Plan:
        subject, requested = exchange.subject, exchange.requested
        note("scope compared", requested=requested, ceiling=" ".join(subject.scopes), catalog=target.scope_names)
        check_subject_ceiling(requested, subject=subject.scopes)  # M5
        if exchange.is_own and self.allow_self_exchange:
            scopes = choose_own(requested, subject=subject.scopes, catalog=target.scope_names)  # M6
            return Plan(exchange=exchange, target=target, scopes=scopes)
        _check_cross_client(exchange, target)  # M7
        consent = await self.consents.find(exchange, target, fault="consent_lookup_failed")  # M8
        if consent is None:
            raise self.consents.missing(exchange, target, reason="consent_required", now=now)
        scopes = choose_consented(  # M9
            requested, granted=consent.scopes, catalog=target.scope_names, subject=subject.scopes
        )
        missing = tuple(scope for scope in scopes if scope not in consent.scopes)
        if missing:
            raise self.consents.insufficient(exchange, target, missing, reason="scope_not_consented", now=now)
        return Plan(exchange=exchange, target=target, scopes=scopes, consent=consent)


def _check_cross_client(exchange: Exchange, target: Resource) -> None:
    """Check that the caller may exchange what was issued to another client (step M7).

    Raises:
        AccessDenied: Nobody said so.
    """
    note(
        "client of the subject token compared",
        client_id=exchange.caller.id,
        expected=exchange.subject.client_id,
        registered=target.policy.runtime_client_ids,
    )
    if not exchange.is_own and not may_exchange(target, exchange.caller.id):
        raise AccessDenied(NOT_AUTHORIZED, reason="cross_client_not_authorized")
