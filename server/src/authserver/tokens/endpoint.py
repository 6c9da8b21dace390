"""The token endpoint: the phases that every grant shares, in their order."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.authentication import ClientAuthenticator, parse_client_credentials
from authserver.clients.records import Client
from authserver.protocol.errors import InvalidClient, InvalidRequest, OAuthError, ServerError, UnsupportedGrantType
from authserver.protocol.quoting import quoted
from authserver.telemetry.metrics import TOKEN_ISSUANCE_DURATION
from authserver.telemetry.notes import fault_reference, note
from authserver.tokens.records import TokenRequest, TokenResponse
from authserver.web.forms import Form

_REPEATABLE = frozenset({"resource", "audience"})


class Grant(Protocol):
    """A handler of one ``grant_type``.

    Attributes:
        grant_type: The value on the wire.
        required_parameters: Refused as ``invalid_request`` when absent, before anything is looked at.
        allows_public_clients: Whether a client without a secret or keys may use it.
        denied: The audit action of a refusal.
    """

    @property
    def grant_type(self) -> str: ...  # noqa: D102  stated above
    @property
    def required_parameters(self) -> tuple[str, ...]: ...  # noqa: D102  stated above
    @property
    def allows_public_clients(self) -> bool: ...  # noqa: D102  stated above
    @property
    def denied(self) -> Action: ...  # noqa: D102  stated above

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Serve a request of an authenticated client, or refuse it. What it returns has been committed.

        Raises:
            OAuthError: The request is refused.
            StorageUnavailable: Nothing was spent or written.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedOff:
    """A grant that this server knows and that its operator switched off.

    Attributes:
        feature: Its name in the refusal.
        key: The configuration key that switches it on.
    """

    grant_type: str
    feature: str
    key: str


GrantTable = Mapping[str, Grant | SwitchedOff]


def table_of(*entries: Grant | SwitchedOff) -> GrantTable:
    """Return the table of grants by their wire names."""
    return {entry.grant_type: entry for entry in entries}


def served_grants(table: GrantTable) -> tuple[str, ...]:
    """Return the grants that are on, in the table's order: what metadata advertises and registration accepts."""
    return tuple(name for name, entry in table.items() if not isinstance(entry, SwitchedOff))


def check_form(form: Form) -> None:
    """Check that no parameter but ``resource`` and ``audience`` is given twice (RFC 6749 §3.2), and none is too long.

    Raises:
        InvalidRequest: One is.
    """
    for name in form.repeated():
        if name not in _REPEATABLE:
            raise InvalidRequest(f"{quoted(name)} is given more than once", reason="parameter_repeated")
    form.check_lengths()


async def authenticate(
    authenticator: ClientAuthenticator, form: Form, authorization: str | None, *, require_confidential: bool, now: int
) -> Client:
    """Return the client that a form and its ``Authorization`` header prove; see ``ClientAuthenticator``."""
    credentials = parse_client_credentials(
        authorization,
        form.get("client_id"),
        form.get("client_secret"),
        assertion_type=form.get("client_assertion_type"),
        assertion=form.get("client_assertion"),
    )
    return await authenticator.authenticate(credentials, require_confidential=require_confidential, now=now)


class TokenEndpoint:
    """``POST /oauth/token``."""

    def __init__(self, grants: GrantTable, authenticator: ClientAuthenticator, trail: AuditTrail) -> None:
        self._grants = grants
        self._served = served_grants(grants)
        self._authenticator = authenticator
        self._trail = trail

    async def handle(self, form: Form, *, authorization: str | None, now: int) -> TokenResponse:
        """Serve one request.

        Args:
            form: The body.
            authorization: The header of that name.
            now: Seconds since the epoch.

        Raises:
            OAuthError: The request is refused; the refusal is in the audit trail.
            StorageUnavailable: The database is away; nothing was spent.
        """
        started = time.perf_counter()
        check_form(form)
        grant = self._choose(form)
        for name in grant.required_parameters:
            form.required(name)
        client: Client | None = None
        try:
            client = await authenticate(
                self._authenticator,
                form,
                authorization,
                require_confidential=not grant.allows_public_clients,
                now=now,
            )
            request = TokenRequest(form=form, grant_type=grant.grant_type)
            response = await grant.issue(request, client=client, now=now)
        except OAuthError as exc:
            await self._record_denial(grant, client, exc, now=now)
            raise
        except Exception:
            # A fault is answered elsewhere; that nothing was issued stands in the trail all the same (errors.md §9).
            await self._record_denial(
                grant, client, ServerError(reason="internal_error", reference=fault_reference()), now=now
            )
            raise
        TOKEN_ISSUANCE_DURATION.observe(time.perf_counter() - started, grant.grant_type)
        return response

    def _choose(self, form: Form) -> Grant:
        grant_type = form.required("grant_type")
        entry = self._grants.get(grant_type)
        note("grant asked for", grant_type=grant_type, grant_types=self._served)
        if entry is None:
            raise UnsupportedGrantType(f"grant_type {quoted(grant_type)} is not supported")
        if isinstance(entry, SwitchedOff):
            note("grant is switched off", setting=f"{entry.key}=false")
            raise UnsupportedGrantType(
                f"feature {entry.feature} is disabled (set {entry.key}=true to enable)", reason="grant_switched_off"
            )
        return entry

    async def _record_denial(self, grant: Grant, client: Client | None, exc: OAuthError, *, now: int) -> None:
        """Leave one row for a refusal, unless anybody could cause it for free (errors.md §9; threat X7).

        Free is also what a public client invents as code or token: anybody can say to be that client.
        """
        if not exc.audited or (client is None and not isinstance(exc, InvalidClient)):
            return
        event = AuditEvent(
            grant.denied,
            client_id=client.id if client else exc.client_id if isinstance(exc, InvalidClient) else "",
            detail=detail(reason=exc.error),
            reference=exc.reference,
        )
        await self._trail.record(event, now=now)
