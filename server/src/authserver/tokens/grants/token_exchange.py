"""Token exchange (RFC 8693): one of our tokens for another, for another resource or in the name of another actor."""

from dataclasses import dataclass
from typing import ClassVar

from authserver.audit.events import Action
from authserver.clients.records import Client
from authserver.protocol.errors import InvalidGrant, InvalidRequest, ResourceNotFound
from authserver.protocol.exchanged_scopes import check_in_catalog, split_scope
from authserver.protocol.grant_types import TOKEN_EXCHANGE
from authserver.protocol.resource_indicators import one_resource
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import BackendKind, Resource
from authserver.telemetry.metrics import TOKEN_EXCHANGE_DENIED, Counter
from authserver.telemetry.notes import note
from authserver.telemetry.spans import annotate
from authserver.tokens.exchange.broker import BrokerGates
from authserver.tokens.exchange.consenting import Consents
from authserver.tokens.exchange.faults import fault_is
from authserver.tokens.exchange.fronting import FrontingFinder
from authserver.tokens.exchange.issuing import ExchangeIssuer
from authserver.tokens.exchange.mint import MintGates
from authserver.tokens.exchange.records import Exchange
from authserver.tokens.exchange.unnamed import UnnamedGates
from authserver.tokens.exchange.verifying import TokenVerifier
from authserver.tokens.grants.entry import GrantEntry, GrantParts, Switch
from authserver.tokens.records import TokenRequest, TokenResponse
from authserver.web.forms import Form


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExchangeGrant:
    """Exchanges tokens."""

    allows_public_clients: ClassVar[bool] = False
    needs_registration: ClassVar[bool] = True
    denied: ClassVar[Action] = Action.TOKEN_EXCHANGE_DENIED
    denied_total: ClassVar[Counter | None] = TOKEN_EXCHANGE_DENIED

    catalog: ResourceCatalog
    verifier: TokenVerifier
    fronting: FrontingFinder
    mint: MintGates
    broker: BrokerGates
    unnamed: UnnamedGates
    issuer: ExchangeIssuer

    def check_form(self, form: Form) -> None:
        """Check that there is something to exchange (step 0)."""
        if form.get("subject_token") is None:
            raise InvalidGrant("subject_token is required", reason="subject_token_missing")

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Exchange the subject token of the request (token exchange, section 5)."""
        form = request.form
        subject = await self.verifier.verify_subject(form, now=now)  # 3, 4
        exchange = Exchange(request=request, caller=client, subject=subject, requested=split_scope(form.get("scope")))
        target = await self._find_target(form)  # 5
        if target is None:
            return await self.issuer.issue(await self.unnamed.pass_(exchange, now=now), now=now)
        if target.backend_kind is BackendKind.BROKER:  # 7
            return await self._vend(exchange, target, now=now)
        _check_catalog(exchange, target)  # 6
        return await self.issuer.issue(await self.mint.pass_(exchange, target, now=now), now=now)

    async def _vend(self, exchange: Exchange, target: Resource, *, now: int) -> TokenResponse:
        source = await self.fronting.find_source(exchange.subject)
        fronting = await self.fronting.find(source, target)
        if fronting is None:
            # Along a link its map says what may be asked for.
            _check_catalog(exchange, target)  # 6
        return await self.broker.vend(exchange, target, source=source, fronting=fronting, now=now)

    async def _find_target(self, form: Form) -> Resource | None:
        """Return the Resource that the request names, or None when it names none (step 5).

        Raises:
            InvalidTarget: Different ones are named, or one with a fragment.
            ResourceNotFound: It is not registered.
            InvalidRequest: Several Resources share the URI.
        """
        values = form.values("resource")
        note("resource asked for", requested=values)
        value = one_resource(values)
        if value is None:
            return None
        with fault_is("resource_resolve_failed"):
            found = await self.catalog.matches(value)
        if not found:
            raise ResourceNotFound("resource not found", reason="resource_not_found")
        if len(found) > 1:
            raise InvalidRequest("resource identifier is ambiguous", reason="ambiguous_resource")
        target = found[0]
        note("resource found", matched=target.slug, source=target.backend_kind)
        annotate(resource_id=target.id, resource_slug=target.slug, backend_kind=target.backend_kind)
        return target


def _check_catalog(exchange: Exchange, target: Resource) -> None:
    note("scope compared", requested=exchange.requested, catalog=target.scope_names)
    check_in_catalog(exchange.requested, catalog=target.scope_names)


def _build(parts: GrantParts) -> TokenExchangeGrant:
    settings, issuer = parts.config.token_exchange, parts.config.server.issuer
    verifier = TokenVerifier(db=parts.db, keyring=parts.keyring, issuer=issuer, cap_to_subject=settings.cap_to_subject)
    fronting = FrontingFinder(catalog=parts.catalog, links=parts.fronting_links, issuer=issuer)
    consents = Consents(db=parts.db, links=parts.consent_links)
    allow_self_exchange = settings.allow_self_exchange
    return TokenExchangeGrant(
        catalog=parts.catalog,
        verifier=verifier,
        fronting=fronting,
        mint=MintGates(
            verifier=verifier, fronting=fronting, consents=consents, allow_self_exchange=allow_self_exchange
        ),
        broker=BrokerGates(catalog=parts.catalog, consents=consents, trail=parts.trail),
        unnamed=UnnamedGates(verifier=verifier, allow_self_exchange=allow_self_exchange),
        issuer=ExchangeIssuer(
            issuer=parts.issuer,
            proofs=parts.proofs,
            consents=consents,
            trail=parts.trail,
            lifetime=settings.token_expiry,
            cap_to_subject=settings.cap_to_subject,
            max_chain_depth=settings.max_chain_depth,
        ),
    )


ENTRY = GrantEntry(
    grant_type=TOKEN_EXCHANGE,
    operation="TokenExchangeService.Exchange",
    build=_build,
    switch=Switch(feature="token_exchange", key="token_exchange.enabled"),
)
