"""The client credentials grant (RFC 6749 §4.4, OAuth 2.1 §4.2): a token that a machine gets for itself."""

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NoReturn

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.records import Client, RegistrationSource
from authserver.protocol.errors import GENERIC_SCOPE, InvalidScope, InvalidTarget
from authserver.protocol.grant_types import CLIENT_CREDENTIALS
from authserver.protocol.quoting import quoted
from authserver.protocol.resource_indicators import one_resource
from authserver.protocol.scopes import build_scope, choose_machine_scopes
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import BackendKind, Resource
from authserver.storage.database import Writer
from authserver.telemetry.metrics import CLIENT_CREDENTIALS_DENIED, CLIENT_CREDENTIALS_ISSUED, TOKENS_ISSUED, Counter
from authserver.telemetry.notes import note
from authserver.tokens.grants.entry import GrantEntry, GrantParts, Switch
from authserver.tokens.issuing import TokenIssuer, TokenSpec, note_agent
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import IssuanceKind, Minted, TokenRequest, TokenResponse
from authserver.tokens.store import append_issuance
from authserver.web.forms import Form

_ISSUED = TOKENS_ISSUED.child(CLIENT_CREDENTIALS)
_ISSUED_TO_MACHINES = CLIENT_CREDENTIALS_ISSUED.child()
_KEPT_CHOICES = 256
_LONGEST_KEPT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentialsGrant:
    """Gives a client a token about itself, within what an operator lets it have. Never a refresh token.

    Attributes:
        token_lifetime: Seconds.
    """

    allows_public_clients: ClassVar[bool] = False
    needs_registration: ClassVar[bool] = True
    denied: ClassVar[Action] = Action.CLIENT_CREDENTIALS_DENIED
    denied_total: ClassVar[Counter | None] = CLIENT_CREDENTIALS_DENIED

    issuer: TokenIssuer
    catalog: ResourceCatalog
    proofs: ProofChecker
    trail: AuditTrail
    token_lifetime: int

    def check_form(self, form: Form) -> None:
        """Check nothing: every parameter is optional."""

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Issue a token (public API §8.5, steps 3 to 8)."""
        resource, scopes = await self.decide(request.form, client=client)
        request = await self.proofs.check(request, client=client, now=now)  # 7
        minted = await self._mint(request, client=client, resource=resource, scopes=scopes, now=now)  # 8
        scope = build_scope(scopes)
        told = detail(jti=minted.jti, scopes=scope)
        event = AuditEvent(Action.CLIENT_CREDENTIALS_ISSUED, client.id, client.id, told)

        async def write(tx: Writer) -> None:
            await append_issuance(tx, minted.issuance)
            await self.trail.append(tx, event, now=now)

        await self.proofs.write(request, write, now=now)
        _ISSUED.inc()
        _ISSUED_TO_MACHINES.inc()
        note_agent(minted)
        return TokenResponse(minted.access_token, minted.token_type, minted.expires_in, scope)

    async def decide(self, form: Form, *, client: Client) -> tuple[Resource | None, tuple[str, ...]]:
        """Return what a token would be for, and its scopes (steps 3 to 6).

        Raises:
            OAuthError: There is none for this client.
        """
        if not client.scope or client.scope.isspace():
            _refuse_unbounded(client)  # 3
        values = form.values("resource")
        resource = await self._find_target(values) if values else None  # 4
        return resource, _choose_scopes(form.get("scope"), client, resource)  # 5, 6

    async def _find_target(self, values: list[str]) -> Resource | None:
        """Return the Resource that the token is for; None when the request names none after all."""
        note("resource asked for", requested=values)
        value = one_resource(values)
        if value is None:
            return None
        resource = await self.catalog.resolve_uri(value)
        note("resource found", matched=resource.slug, source=resource.backend_kind)
        if resource.backend_kind is not BackendKind.MINT:
            raise InvalidTarget(
                f"resource {quoted(value)} does not take tokens of this server", reason="broker_resource"
            )
        return resource

    def _mint(
        self, request: TokenRequest, *, client: Client, resource: Resource | None, scopes: tuple[str, ...], now: int
    ) -> Awaitable[Minted]:
        resource_id, uri = (resource.id, resource.uri) if resource else (None, None)
        spec = TokenSpec(
            IssuanceKind.MACHINE, client.id, client, scopes, resource_id, uri, self.token_lifetime, request.jkt
        )
        return self.issuer.mint(spec, now=now)


def _refuse_unbounded(client: Client) -> NoReturn:
    """Refuse a client of which nobody said what it may have: nobody else is asked."""
    note("scope compared", ceiling=client.scope)
    if client.registration_source is RegistrationSource.ADMIN:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: the client has no registered scopes; give it some with"
            " `authserver admin client update` or PATCH /admin/clients/{id}",
            reason="client_without_scopes",
        )
    raise InvalidScope(
        f"{GENERIC_SCOPE}: the client was created through dynamic registration, which gives no scopes to machines; create"
        " a machine client with `authserver admin client create` or POST /admin/clients",
        reason="self_registered_machine",
    )


def _choose_scopes(requested: str | None, client: Client, resource: Resource | None) -> tuple[str, ...]:
    catalog = resource.scope_names if resource else None
    note("scope compared", requested=requested, ceiling=client.scope, catalog=catalog or ())
    is_short = len(requested or "") + len(client.scope) <= _LONGEST_KEPT
    scopes = (_kept_scopes if is_short else _scopes_within)(requested, client.scope, catalog)
    note("scope chosen", result=scopes)
    return scopes


def _scopes_within(requested: str | None, ceiling: str, catalog: tuple[str, ...] | None) -> tuple[str, ...]:
    return choose_machine_scopes(requested, ceiling=ceiling.split(), catalog=catalog)


_kept_scopes = lru_cache(maxsize=_KEPT_CHOICES)(_scopes_within)
"""The same for the same words, in which machines ask again and again. Not of long ones: each has room for many scopes."""


def _build(parts: GrantParts) -> ClientCredentialsGrant:
    return ClientCredentialsGrant(
        issuer=parts.issuer,
        catalog=parts.catalog,
        proofs=parts.proofs,
        trail=parts.trail,
        token_lifetime=parts.config.client_credentials.token_expiry,
    )


ENTRY = GrantEntry(
    grant_type=CLIENT_CREDENTIALS,
    operation="ClientCredentialsService.Issue",
    build=_build,
    switch=Switch(feature="client_credentials", key="client_credentials.enabled"),
)
