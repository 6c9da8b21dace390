"""The gates of an exchange for a Broker target (token exchange, sections 5.3 and 5.4).

What vends an upstream token is not built yet: until then a request that passes every gate before is refused.
"""

from dataclasses import dataclass

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, bounded, detail, subject_name
from authserver.protocol.errors import AccessDenied, InvalidRequest, InvalidTarget, OAuthError
from authserver.protocol.exchanged_scopes import check_subject_ceiling, derive_consented
from authserver.protocol.quoting import quoted
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import BackendKind, Resource
from authserver.telemetry.logs import get_logger
from authserver.telemetry.notes import note
from authserver.tokens.exchange.consenting import NOT_AUTHORIZED, Consents, check_operator_gate
from authserver.tokens.exchange.faults import fault_is
from authserver.tokens.exchange.fronting import check_gateway
from authserver.tokens.exchange.records import Exchange, ExchangeType, Fronting
from authserver.tokens.records import TokenResponse

_log = get_logger("token")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerGates:
    """Decides what a caller gets at a Broker target."""

    catalog: ResourceCatalog
    consents: Consents
    trail: AuditTrail

    async def vend(
        self, exchange: Exchange, target: Resource, *, source: Resource | None, fronting: Fronting | None, now: int
    ) -> TokenResponse:
        """Serve an exchange.

        Args:
            exchange: The exchange.
            target: Of kind broker.
            source: The Mint Resource that the subject token is for, or None.
            fronting: The link from there to the target, or None.
            now: Seconds since the epoch.

        Raises:
            OAuthError: A gate refuses.
        """
        if exchange.request.form.get("actor_token") is not None:  # B1
            raise InvalidRequest("actor not allowed for broker resource", reason="broker_actor_not_allowed")
        check_operator_gate(target, exchange.caller)  # B2
        if fronting is not None:  # B3
            return await self._vend_fronted(exchange, target, fronting, now=now)
        if source is not None:
            note("fronting link looked up", source=source.slug, resource=target.slug, found="no link")
            raise InvalidRequest(
                f'no fronting link declared from "{source.slug}" to "{target.slug}": the subject token must be one'
                " that names no resource, or the link must be declared",
                reason="fronting_link_missing",
            )
        await self._choose_scopes(exchange, target, now=now)  # B4 to B8
        raise _not_served(target)  # B9

    async def _choose_scopes(self, exchange: Exchange, target: Resource, *, now: int) -> tuple[str, ...]:
        """Return what is vended: what the user allowed the agent client at the Resource that the caller runs."""
        subject, requested = exchange.subject, exchange.requested
        check_subject_ceiling(requested, subject=subject.scopes)  # B4
        actor = await self._attest(exchange.caller.id)  # B5
        consent = await self.consents.find(exchange, actor, fault="agent_attestation_lookup_failed")  # B6
        if consent is None:
            raise self.consents.missing(exchange, actor, reason="agent_attestation_required", now=now)
        scopes = requested or derive_consented(  # B7
            granted=consent.scopes, catalog=target.scope_names, subject=subject.scopes
        )
        missing = tuple(scope for scope in scopes if scope not in consent.scopes)  # B8
        if missing or not scopes:
            raise self.consents.insufficient(
                exchange, actor, missing or target.scope_names, reason="broker_scope_not_consented", now=now
            )
        return scopes

    async def _attest(self, client_id: str) -> Resource:
        """Return the one Mint Resource that a client runs (step B5).

        Raises:
            AccessDenied: There is none, there are several, or it is of another kind.
        """
        with fault_is("actor_resolve_failed"):
            run = await self.catalog.run_by(client_id)
            named = run or await self.catalog.matches(client_id)
        note("client's own resource looked up", client_id=client_id, result=[each.slug for each in named])
        if not named:
            raise AccessDenied(NOT_AUTHORIZED, reason="agent_attestation_unknown_actor")
        if len(named) > 1:
            raise AccessDenied(NOT_AUTHORIZED, reason="agent_attestation_ambiguous_actor")
        if named[0].backend_kind is not BackendKind.MINT:
            raise AccessDenied(NOT_AUTHORIZED, reason="agent_attestation_actor_not_mint")
        if not run:
            _log.warning("resolved actor MCP via deprecated slug==client_id convention", client_id=client_id)
        return named[0]

    async def _vend_fronted(
        self, exchange: Exchange, target: Resource, fronting: Fronting, *, now: int
    ) -> TokenResponse:
        try:
            check_gateway(fronting, target, exchange.caller)  # F1
            raise _not_served(target)  # F2
        except OAuthError as exc:
            await self._record_fronted(exchange, target, fronting, exc, now=now)
            raise

    async def _record_fronted(
        self, exchange: Exchange, target: Resource, fronting: Fronting, exc: OAuthError, *, now: int
    ) -> None:
        """Leave the row of a refusal in the words of this path, instead of the one that others leave (section 13)."""
        event = AuditEvent(
            Action.TOKEN_EXCHANGE_DENIED,
            actor_id=subject_name(exchange.subject.subject),
            client_id=exchange.caller.id,
            detail=detail(
                sub=subject_name(exchange.subject.subject),
                subject_client=exchange.subject.client_id,
                actor_client=exchange.caller.id,
                type=ExchangeType.BROKER,
                resource=target.slug,
                scopes=bounded(exchange.requested),
                chain_kind="fronted",
                via_link=fronting.link.name,
                target_kind="broker",
                denied_reason=exc.reason,
            ),
            reference=exc.reference,
        )
        await self.trail.record(event, now=now)
        exc.audited = False


def _not_served(target: Resource) -> InvalidTarget:
    note("upstream token asked for", resource=target.slug)
    return InvalidTarget(
        f"this version gives out no tokens for resource {quoted(target.slug)} yet", reason="vending_not_served"
    )
