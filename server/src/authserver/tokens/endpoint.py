"""The token endpoint: the phases that every grant shares, in their order."""

import time
from collections.abc import Awaitable, Mapping
from functools import partial

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.authentication import ClientAuthenticator, FindClient, parse_client_credentials
from authserver.clients.records import Client
from authserver.protocol.errors import (
    InvalidClient,
    InvalidRequest,
    OAuthError,
    ServerError,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from authserver.protocol.quoting import quoted
from authserver.telemetry.metrics import TOKEN_ISSUANCE_DURATION
from authserver.telemetry.notes import fault_reference, note
from authserver.telemetry.spans import span
from authserver.tokens.grants.entry import Grant, ReadsWithClient
from authserver.tokens.grants.table import GRANTS, METRIC_LABELS
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import TokenRequest, TokenResponse
from authserver.web.forms import Form

_REPEATABLE = frozenset({"resource", "audience"})
# The rows of the two oldest grants say the OAuth code where all others say the exact reason (errors.md §9). Assertions have
# a vocabulary of their own, whose words for what is refused here are the codes.
_TELL_CODE = frozenset({Action.TOKEN_ISSUE_DENIED, Action.TOKEN_REFRESH_DENIED, Action.JWT_BEARER_DENIED})
# Whose rows have the client for their actor.
_CLIENT_ACTS = frozenset({Action.TOKEN_EXCHANGE_DENIED, Action.JWT_BEARER_DENIED})
# What the phases that all grants share refuse is one reason each in the rows of exchanges (token exchange, section 14).
_EXCHANGE_REASONS = {
    "invalid_client": "invalid_client",
    "unauthorized_client": "unauthorized_client",
    "invalid_dpop_proof": "invalid_dpop_proof",
    "use_dpop_nonce": "invalid_dpop_proof",
}


def check_form(form: Form) -> None:
    """Check that no parameter but ``resource`` and ``audience`` is given twice (RFC 6749 §3.2), and none is too long.

    Raises:
        InvalidRequest: One is.
    """
    for name in form.repeated():
        if name not in _REPEATABLE:
            raise InvalidRequest(f"{quoted(name)} is given more than once", reason="parameter_repeated")
    form.check_lengths()


def authenticate(
    authenticator: ClientAuthenticator,
    form: Form,
    authorization: str | None,
    *,
    require_confidential: bool,
    find: FindClient | None = None,
    now: int,
) -> Awaitable[Client]:
    """Return the client that a form and its ``Authorization`` header prove; see ``ClientAuthenticator``."""
    credentials = parse_client_credentials(
        authorization,
        form.get("client_id"),
        form.get("client_secret"),
        assertion_type=form.get("client_assertion_type"),
        assertion=form.get("client_assertion"),
    )
    return authenticator.authenticate(credentials, require_confidential=require_confidential, find=find, now=now)


class TokenEndpoint:
    """``POST /oauth/token``."""

    def __init__(
        self,
        grants: Mapping[str, Grant],
        authenticator: ClientAuthenticator,
        proofs: ProofChecker,
        trail: AuditTrail,
    ) -> None:
        self.proofs = proofs
        self._grants = grants
        self._finders = {
            name: grant.find_client for name, grant in grants.items() if isinstance(grant, ReadsWithClient)
        }
        self._served = tuple(grants)
        self._authenticator = authenticator
        self._trail = trail

    async def handle(
        self, form: Form, *, authorization: str | None, proofs: tuple[str, ...], host: str, now: int
    ) -> TokenResponse:
        """Serve one request.

        Args:
            form: The body.
            authorization: The header of that name.
            proofs: The values of the ``DPoP`` headers.
            host: The ``Host`` header.
            now: Seconds since the epoch.

        Raises:
            OAuthError: The request is refused; the refusal is in the audit trail.
            StorageUnavailable: The database is away; nothing was spent.
        """
        started = time.perf_counter()
        check_form(form)
        grant_type, grant = self._choose(form)
        grant.check_form(form)
        request = TokenRequest(form, grant_type, proofs, host)
        with span(GRANTS[grant_type].operation, grant_type=grant_type):
            response = await self._issue(grant, request, authorization=authorization, now=now)
        TOKEN_ISSUANCE_DURATION.observe(time.perf_counter() - started, METRIC_LABELS.get(grant_type, grant_type))
        return response

    async def _issue(
        self, grant: Grant, request: TokenRequest, *, authorization: str | None, now: int
    ) -> TokenResponse:
        """Authenticate the client and have its grant served; a refusal is recorded."""
        client: Client | None = None
        find_client = self._finders.get(request.grant_type)
        try:
            client = await authenticate(
                self._authenticator,
                request.form,
                authorization,
                require_confidential=not grant.allows_public_clients,
                find=partial(find_client, request) if find_client else None,
                now=now,
            )
            if grant.needs_registration:
                check_registered(client, request.grant_type)
            response = await grant.issue(request, client=client, now=now)
            if request.proofs and not request.is_proof_spent:
                # For an answer that nothing was written for.
                await self.proofs.settle(request, now=now)
        except OAuthError as exc:
            refusal = await self.proofs.settle_refused(request, exc, now=now)
            try:
                await self._record_denial(grant, client, refusal, now=now)
                raise refusal from exc.__cause__
            finally:
                # It holds this frame, with the form: only a search for garbage would free a ring of both.
                del refusal
        except Exception:
            # A fault is answered elsewhere; that nothing was issued stands in the trail all the same (errors.md §9).
            await self._record_denial(
                grant, client, ServerError(reason="internal_error", reference=fault_reference()), now=now
            )
            raise
        return response

    def _choose(self, form: Form) -> tuple[str, Grant]:
        grant_type = form.required("grant_type")
        note("grant asked for", grant_type=grant_type, grant_types=self._served)
        if (grant := self._grants.get(grant_type)) is not None:
            return grant_type, grant
        entry = GRANTS.get(grant_type)
        if entry is None or entry.switch is None:
            raise UnsupportedGrantType(f"grant_type {quoted(grant_type)} is not supported")
        note("grant is switched off", setting=f"{entry.switch.key}=false")
        raise UnsupportedGrantType(
            f"feature {entry.switch.feature} is disabled (set {entry.switch.key}=true to enable)",
            reason="grant_switched_off",
        )

    async def _record_denial(self, grant: Grant, client: Client | None, exc: OAuthError, *, now: int) -> None:
        """Count a refusal and leave one row for it, unless anybody could cause it for free (errors.md §9; threat X7).

        Free is also what a public client invents as code or token: anybody can say to be that client.
        """
        reason = _audit_reason(grant, exc)
        if grant.denied_total is not None:
            grant.denied_total.inc(reason)
        if not exc.audited or (client is None and not isinstance(exc, InvalidClient)):
            return
        event = AuditEvent(
            grant.denied,
            actor_id=client.id if client and grant.denied in _CLIENT_ACTS else "",
            client_id=client.id if client else exc.client_id if isinstance(exc, InvalidClient) else "",
            detail=detail(reason=reason),
            reference=exc.reference,
        )
        await self._trail.record(event, now=now)


def _audit_reason(grant: Grant, exc: OAuthError) -> str:
    """Return what the audit row of a refusal says, and the label it is counted under."""
    if grant.denied in _TELL_CODE:
        return exc.error
    if grant.denied is Action.TOKEN_EXCHANGE_DENIED:
        return _EXCHANGE_REASONS.get(exc.error, exc.audit_reason)
    return exc.audit_reason


def check_registered(client: Client, grant_type: str) -> None:
    """Check that a client is registered for a grant.

    Raises:
        UnauthorizedClient: It is not.
    """
    if not client.has_grant(grant_type):
        raise UnauthorizedClient(
            f"client is not authorized for this grant type: the client is not registered for {grant_type}",
            reason="grant_not_registered",
            audited=not client.is_public,
        )
