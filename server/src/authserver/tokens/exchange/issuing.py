"""What an exchange that passed its gates costs: a signature, and one transaction (token exchange, M11 to M16)."""

from dataclasses import dataclass

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail, subject_name
from authserver.authorization.consent_store import hold_consent
from authserver.protocol.actors import Act, add_actor, add_fronting, depth_of
from authserver.protocol.errors import CLIENT_NOT_ACTIVE, InvalidClient, InvalidGrant, InvalidRequest
from authserver.protocol.identifiers import spell_id
from authserver.storage.database import Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import TOKEN_EXCHANGE, TOKENS_ISSUED
from authserver.telemetry.notes import note
from authserver.tokens.exchange.consenting import Consents
from authserver.tokens.exchange.faults import fault_is
from authserver.tokens.exchange.records import Plan
from authserver.tokens.issuing import TokenIssuer, TokenSpec, note_agent
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import IssuanceKind, Minted, TokenRequest, TokenResponse
from authserver.tokens.store import append_issuance, hold_issuance

_log = get_logger("token")

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  the name of a type, no secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeIssuer:
    """Issues exchanged tokens.

    Attributes:
        lifetime: Seconds.
        cap_to_subject: Whether none outlives its subject token.
        max_chain_depth: Actors that one token may name at most.
    """

    issuer: TokenIssuer
    proofs: ProofChecker
    consents: Consents
    trail: AuditTrail
    lifetime: int
    cap_to_subject: bool
    max_chain_depth: int

    async def issue(self, plan: Plan, *, now: int) -> TokenResponse:
        """Issue what a plan allows.

        Raises:
            OAuthError: The chain is too long, the proof does not hold, or what the plan rests on was revoked meanwhile.
        """
        act = self._chain(plan)  # M11
        request = await self.proofs.check(plan.exchange.request, client=plan.exchange.caller, now=now)  # M12
        with fault_is("mint_issue_failed"):
            minted = await self._mint(
                plan, act, jkt=request.jkt or plan.exchange.subject.issuance.dpop_jkt, now=now
            )  # M13, M14
            await self._record(plan, minted, request, now=now)  # M14, M15
        self._note(plan, minted)  # M16
        return TokenResponse(
            access_token=minted.access_token,
            token_type=minted.token_type,
            expires_in=minted.expires_in,
            scope=" ".join(plan.scopes),
            issued_token_type=ACCESS_TOKEN,
        )

    def _chain(self, plan: Plan) -> Act | None:
        """Return who acts in the new token (section 8)."""
        exchange, earlier = plan.exchange, plan.exchange.subject.act
        act = earlier
        if plan.fronting is not None:
            act = add_fronting(
                earlier,
                source=plan.fronting.source.slug,
                agent_client=exchange.subject.client_id,
                caller=exchange.caller.id,
            )
        elif plan.actor is not None:
            act = add_actor(earlier, caller=exchange.caller.id, is_agent=exchange.caller.is_agent)
        if depth_of(act) > self.max_chain_depth:
            note("chain measured", setting=f"token_exchange.max_chain_depth={self.max_chain_depth}")
            raise InvalidRequest("delegation chain depth exceeds maximum allowed", reason="chain_too_deep")
        return act

    async def _mint(self, plan: Plan, act: Act | None, *, jkt: str | None, now: int) -> Minted:
        subject, target = plan.exchange.subject, plan.target
        lifetime = self.lifetime
        if self.cap_to_subject:
            lifetime = min(lifetime, subject.issuance.expires_at - now)
        spec = TokenSpec(
            kind=IssuanceKind.EXCHANGE,
            subject=subject.subject,
            client=plan.exchange.caller,
            client_id=plan.fronting.source.slug if plan.fronting is not None else None,
            scopes=plan.scopes,
            resource_id=subject.issuance.resource_id if target is None else target.id,
            resource=subject.audience if target is None else target.uri or None,
            lifetime=lifetime,
            jkt=jkt,
            act=act,
            consent_client_id=None if plan.fronting is not None or target is None else subject.client_id,
            parent_jti=subject.issuance.id,
        )
        return await self.issuer.mint(spec, now=now)

    async def _record(self, plan: Plan, minted: Minted, request: TokenRequest, *, now: int) -> None:
        """Write the token's row, if what it rests on still stands; what is revoked at this moment comes before or after.

        Raises:
            InvalidClient: The caller was suspended or revoked.
            InvalidGrant: The subject token was revoked.
            ConsentRequired: The consent was.
        """
        subject, consent, caller = plan.exchange.subject, plan.consent, plan.exchange.caller
        event = self._event(plan, minted)

        async def record(tx: Writer) -> tuple[bool, bool, bool]:
            # In the order in which a revocation takes them, so that neither waits for the other.
            consent_stands = consent is None or await hold_consent(tx, consent.id)
            subject_stands, caller_may_act = await hold_issuance(tx, subject.issuance.id, caller=caller.id)
            if consent_stands and subject_stands and caller_may_act:
                await append_issuance(tx, minted.issuance)
                await self.trail.append(tx, event, now=now)
            return caller_may_act, subject_stands, consent_stands

        caller_may_act, subject_stands, consent_stands = await self.proofs.write(request, record, now=now)
        if not caller_may_act:
            raise InvalidClient(CLIENT_NOT_ACTIVE, reason="client_not_active", client_id=caller.id)
        if not subject_stands:
            raise InvalidGrant(reason="subject_token_revoked_during_mint")
        if not consent_stands and plan.target is not None:
            raise self.consents.missing(plan.exchange, plan.target, reason="consent_revoked_during_mint", now=now)

    def _event(self, plan: Plan, minted: Minted) -> AuditEvent:
        exchange, target = plan.exchange, plan.target
        actor_client = plan.actor.client_id if plan.actor is not None else ""
        if plan.fronting is not None:
            actor_client = actor_client or exchange.caller.id
        text = detail(
            jti=minted.issuance.id,
            sub=subject_name(exchange.subject.subject),
            subject_client=exchange.subject.client_id,
            actor_client=actor_client,
            type=plan.type,
            resource=target.slug if target is not None else None,
            scopes=plan.scopes,
            chain_kind=_kind(plan) or None,
            via_link=None if target is None else _link(plan),
        )
        return AuditEvent(
            Action.TOKEN_EXCHANGED,
            actor_id=subject_name(exchange.subject.subject),
            client_id=exchange.caller.id,
            detail=text,
        )

    def _note(self, plan: Plan, minted: Minted) -> None:
        """Count and log a token that leaves."""
        exchange = plan.exchange
        source = plan.fronting.source.slug if plan.fronting is not None else ""
        TOKENS_ISSUED.inc("token_exchange")
        TOKEN_EXCHANGE.inc(plan.type, _kind(plan), source, plan.target.slug if plan.target is not None else "")
        note_agent(minted)
        _log.info(
            "token exchanged",
            client_id=exchange.caller.id,
            jti=spell_id(minted.issuance.id),
            sub=subject_name(exchange.subject.subject),
            subject_client_id=exchange.subject.client_id,
            exchange_type=plan.type,
            scopes=" ".join(plan.scopes),
            token_type=minted.token_type,
        )


def _kind(plan: Plan) -> str:
    if plan.target is None:
        return ""
    return "direct" if plan.fronting is None else "fronted"


def _link(plan: Plan) -> str:
    return "" if plan.fronting is None else plan.fronting.link.name
