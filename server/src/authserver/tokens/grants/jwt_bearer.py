"""The JWT bearer grant with identity assertions of trusted providers (RFC 7523, ID-JAG; XAA, section 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail, subject_name
from authserver.clients.records import Client
from authserver.clients.shared_fetches import DocumentUnavailable
from authserver.clients.spent_assertions import spend_assertion
from authserver.protocol.errors import AccessDenied, InvalidGrant, InvalidTarget, OAuthError, ServerError
from authserver.protocol.grant_types import JWT_BEARER
from authserver.protocol.id_jag import IdJag, read_id_jag, verify_id_jag
from authserver.protocol.quoting import quoted
from authserver.protocol.resource_indicators import fold_resource, one_resource
from authserver.protocol.scopes import build_scope, choose_asserted_scopes, choose_catalog_scopes
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import BackendKind, Resource
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import TOKENS_ISSUED, XAA_POLICY_EVALUATION, Counter
from authserver.telemetry.notes import note
from authserver.tokens.grants.entry import GrantEntry, GrantParts, Switch
from authserver.tokens.issuing import TokenIssuer, TokenSpec, note_agent
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import IssuanceKind, Minted, TokenRequest, TokenResponse
from authserver.tokens.store import append_issuance
from authserver.web.forms import Form
from authserver.xaa.policy import find_matching
from authserver.xaa.provider_keys import ProviderKeys
from authserver.xaa.registry import IdpRegistry, RegisteredIdp
from authserver.xaa.subjects import Subjects

_log = get_logger("token")

_AUDITED: Mapping[str, str] = MappingProxyType(
    {
        "id_jag_type": "type",
        "id_jag_expired": "expired",
        "id_jag_too_old": "expired",
        "id_jag_audience": "audience",
        "id_jag_key_unknown": "invalid",
        "id_jag_signature": "invalid",
        "id_jag_claims": "invalid",
        "id_jag_not_yet_valid": "invalid",
        "id_jag_client": "client_mismatch",
        "multiple_resources": "invalid_resource",
        "resource_has_fragment": "invalid_resource",
        "id_jag_resource": "invalid_resource",
        "unknown_resource": "invalid_resource",
        "resource_named_by_slug": "invalid_resource",
        "ambiguous_resource": "invalid_resource",
        "broker_resource": "invalid_resource",
        "id_jag_replayed": "replay",
        "scope_malformed": "invalid_scope",
        "assertion_excludes_all": "invalid_scope",
        "scope_outside_ceiling": "invalid_scope",
        "scope_not_asserted": "invalid_scope",
        "scope_not_in_catalog": "invalid_scope",
        "ceiling_excludes_all": "invalid_scope",
        "user_inactive": "subject_inactive",
    }
)
"""The contract's words for the audit trail, where reasons tell more."""

_ABOUT_NOBODY = frozenset({"type", "expired", "audience", "invalid"})
"""Refusals of what may be anybody's: their rows name neither actor nor client (step 7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """What a token is to say, after every check has passed."""

    assertion: IdJag
    subject: str
    scopes: tuple[str, ...]
    resource_id: str | None
    resource: str | None
    jkt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtBearerGrant:
    """Trades an identity assertion for an access token, once.

    Attributes:
        own_issuer: What assertions are addressed to.
        token_lifetime: Seconds, of access tokens.
        max_assertion_age: Seconds.
        requires_resource: Whether the token must be for a resource.
    """

    allows_public_clients: ClassVar[bool] = False
    needs_registration: ClassVar[bool] = True
    denied: ClassVar[Action] = Action.JWT_BEARER_DENIED
    denied_total: ClassVar[Counter | None] = None

    db: Database
    issuer: TokenIssuer
    catalog: ResourceCatalog
    idps: IdpRegistry
    keys: ProviderKeys
    subjects: Subjects
    proofs: ProofChecker
    trail: AuditTrail
    own_issuer: str
    token_lifetime: int
    max_assertion_age: int
    requires_resource: bool

    def check_form(self, form: Form) -> None:
        """Check nothing: what is missing is refused after the client is known (step 3)."""

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Take the assertion of the request (steps 3 to 16)."""
        try:
            idp, assertion = await self._verify(request.form, now=now)  # 3 to 7
            _check_presenter(assertion, client)  # 8
            resource = self._choose_resource(request.form, assertion)  # 9
        except OAuthError as exc:
            await self.trail.record(_denial(exc, client), now=now)
            exc.audited = False
            raise
        try:
            decision = await self._decide(request, idp, assertion, resource, client=client, now=now)  # 11 to 15
            return await self._issue(request, decision, client=client, now=now)  # 10, 16
        except OAuthError as exc:
            # What was found out costs the assertion, and whoever sends it again learns that it is spent: step 10.
            refusal = await self.proofs.settle_refused(request, exc, now=now)
            raise await self._spend_and_refuse(refusal, assertion, client=client, now=now) from exc

    async def _verify(self, form: Form, *, now: int) -> tuple[RegisteredIdp, IdJag]:
        """Find out who vouches for whom, and that they do."""
        text = form.get("assertion")
        if text is None:
            raise InvalidGrant("assertion is required", reason="missing_assertion")
        unverified = read_id_jag(text)  # 4
        registered = await self.idps.find(unverified.unverified_issuer)  # 5
        if unverified.unverified_issuer == self.own_issuer:
            # Registered before this server took the name.
            registered = None
        note("provider looked up", requested=unverified.unverified_issuer, found="registered" if registered else "no")
        if registered is None:
            raise InvalidGrant("identity assertion issuer is not trusted", reason="untrusted_issuer")
        if not registered.idp.enabled:
            raise InvalidGrant("trusted identity provider is disabled", reason="idp_disabled")
        try:
            keys = await self.keys.find(registered.idp, unverified, now=now)  # 6
        except DocumentUnavailable as exc:
            note("provider keys fetched", cause=str(exc), requested=registered.idp.jwks_uri)
            raise ServerError(reason="jwks_fetch_failed") from exc
        assertion = verify_id_jag(  # 7
            unverified, keys, audience=self.own_issuer, max_age=self.max_assertion_age, now=now
        )
        return registered, assertion

    def _choose_resource(self, form: Form, assertion: IdJag) -> str | None:
        """Return what the token is to be for: as requested, else as asserted; both must be the same."""
        requested = one_resource(form.values("resource"))
        note("resource compared", requested=requested, expected=assertion.resource)
        if requested and assertion.resource and fold_resource(requested) != fold_resource(assertion.resource):
            raise InvalidTarget("resource is not the one of the identity assertion", reason="id_jag_resource")
        resource = requested or assertion.resource
        if resource is None and self.requires_resource:
            raise InvalidTarget("resource is required (xaa.require_resource=true)", reason="resource_required")
        return resource

    async def _decide(
        self,
        request: TokenRequest,
        idp: RegisteredIdp,
        assertion: IdJag,
        resource: str | None,
        *,
        client: Client,
        now: int,
    ) -> _Decision:
        """Check what the server alone knows; writes nothing but the proof."""
        requested = request.form.get("scope")
        note("scope compared", requested=requested, ceiling=client.scope, expected=_spell(assertion.scopes))
        ceiling = tuple(dict.fromkeys(client.scope.split()))
        scopes = choose_asserted_scopes(requested, ceiling=ceiling, asserted=assertion.scopes)  # 11
        target = None
        if resource is not None:  # 12
            target = await self._find_target(resource)
            note("resource found", matched=target.uri, catalog=target.scope_names)
            is_explicit = bool((requested or "").strip())
            scopes = choose_catalog_scopes(scopes, catalog=target.scope_names, is_explicit=is_explicit)
        uri = target.uri if target is not None else None
        _check_policy(idp, client=client, resource=uri, scopes=scopes)  # 13
        request = await self.proofs.check(request, client=client, now=now)  # 14
        if assertion.jkt is not None and assertion.jkt != request.jkt:
            raise InvalidGrant("identity assertion is bound to another key", reason="dpop_key_mismatch")
        subject = await self.subjects.resolve(assertion, idp.idp)  # 15
        return _Decision(
            assertion=assertion,
            subject=subject,
            scopes=scopes,
            resource_id=target.id if target is not None else None,
            resource=uri,
            jkt=request.jkt,
        )

    async def _find_target(self, resource: str) -> Resource:
        """Return the Resource with a URI.

        Raises:
            InvalidTarget: There is none, there are several, or its tokens are another server's.
        """
        try:
            found = await self.catalog.resolve_uri(resource)
        except InvalidTarget as exc:
            if exc.reason != "unknown_resource":
                raise
            raise InvalidTarget(f"unknown resource {quoted(resource)}", reason=exc.reason) from exc
        note("resource found", matched=found.slug, source=found.backend_kind)
        if found.backend_kind is not BackendKind.MINT:
            raise InvalidTarget(
                f"resource {quoted(resource)} does not take tokens of this server", reason="broker_resource"
            )
        return found

    async def _issue(self, request: TokenRequest, decision: _Decision, *, client: Client, now: int) -> TokenResponse:
        """Sign, then spend the assertion and write what comes of it in one transaction."""
        assertion, minted = decision.assertion, await self._mint(decision, client=client, now=now)
        event = AuditEvent(
            Action.JWT_BEARER_ISSUED,
            actor_id=subject_name(decision.subject),
            client_id=client.id,
            detail=detail(jti=minted.issuance.id, idp=assertion.issuer, scopes=decision.scopes),
        )

        async def issue(tx: Writer) -> bool:
            if not await _spend(tx, assertion, now=now):
                return False
            await append_issuance(tx, minted.issuance)
            await self.trail.append(tx, event, now=now)
            return True

        if not await self.proofs.write(request, issue, now=now):
            raise _replayed()
        TOKENS_ISSUED.inc(JWT_BEARER)
        note_agent(minted)
        _log.info(
            "token issued for an identity assertion",
            client_id=client.id,
            idp=assertion.issuer,
            idp_subject=subject_name(assertion.subject),
            token_type=minted.token_type,
        )
        return TokenResponse(
            access_token=minted.access_token,
            token_type=minted.token_type,
            expires_in=minted.expires_in,
            scope=build_scope(decision.scopes),
        )

    async def _mint(self, decision: _Decision, *, client: Client, now: int) -> Minted:
        spec = TokenSpec(
            kind=IssuanceKind.MACHINE,
            subject=decision.subject,
            client=client,
            scopes=decision.scopes,
            resource_id=decision.resource_id,
            resource=decision.resource,
            lifetime=self.token_lifetime,
            jkt=decision.jkt,
            act={"sub": decision.assertion.issuer},
        )
        return await self.issuer.mint(spec, now=now)

    async def _spend_and_refuse(self, exc: OAuthError, assertion: IdJag, *, client: Client, now: int) -> OAuthError:
        """Spend the assertion and record the refusal in one transaction; return the refusal, which is older's if it was spent."""

        async def spend(tx: Writer) -> OAuthError:
            refusal = exc if await _spend(tx, assertion, now=now) else _replayed()
            await self.trail.append(tx, _denial(refusal, client), now=now)
            return refusal

        refusal = await self.db.write(spend)
        refusal.audited = False
        return refusal


def _check_presenter(assertion: IdJag, client: Client) -> None:
    note("client compared", client_id=client.id, expected=assertion.client_id)
    if assertion.client_id != client.id:
        raise InvalidGrant("identity assertion client_id does not match authenticated client", reason="id_jag_client")


def _check_policy(idp: RegisteredIdp, *, client: Client, resource: str | None, scopes: tuple[str, ...]) -> None:
    policy = find_matching(idp.policies, client_id=client.id, resource=resource, scopes=scopes)
    note(
        "policies tried",
        registered=[each.name for each in idp.policies if each.enabled],
        matched=policy.name if policy else None,
        requested=scopes,
        resource=resource,
        client_id=client.id,
    )
    XAA_POLICY_EVALUATION.inc("denied" if policy is None else "allowed")
    if policy is None:
        raise AccessDenied("identity assertion denied by policy", reason="policy_denied")


async def _spend(tx: Writer, assertion: IdJag, *, now: int) -> bool:
    return await spend_assertion(tx, assertion.issuer, assertion.jti, expires_at=assertion.expires_at, now=now)


def _replayed() -> OAuthError:
    return InvalidGrant("identity assertion has already been used", reason="id_jag_replayed")


def _denial(exc: OAuthError, client: Client) -> AuditEvent:
    reason = _AUDITED.get(exc.reason, exc.audit_reason)
    client_id = "" if reason in _ABOUT_NOBODY else client.id
    return AuditEvent(
        Action.JWT_BEARER_DENIED,
        actor_id=client_id,
        client_id=client_id,
        detail=detail(reason=reason),
        reference=exc.reference,
    )


def _spell(scopes: frozenset[str] | None) -> str | None:
    return None if scopes is None else " ".join(sorted(scopes))


def _build(parts: GrantParts) -> JwtBearerGrant:
    section = parts.config.xaa
    return JwtBearerGrant(
        db=parts.db,
        issuer=parts.issuer,
        catalog=parts.catalog,
        idps=parts.idps,
        keys=ProviderKeys(parts.http, cache_ttl=section.jwks_cache_ttl),
        subjects=Subjects(db=parts.db, is_strict=section.subject_mode == "strict"),
        proofs=parts.proofs,
        trail=parts.trail,
        own_issuer=parts.config.server.issuer,
        token_lifetime=section.token_expiry,
        max_assertion_age=section.max_assertion_age,
        requires_resource=section.require_resource,
    )


ENTRY = GrantEntry(
    grant_type=JWT_BEARER,
    operation="JWTBearerService.Exchange",
    build=_build,
    switch=Switch(feature="jwt_bearer", key="xaa.enabled"),
)
