"""What a user allowed an agent client, and the refusals that a user can mend (token exchange, sections 5 and 14)."""

from collections.abc import Sequence
from dataclasses import dataclass

from authserver.audit.trail import subject_name
from authserver.authorization.consent_store import find_consent
from authserver.authorization.records import ActiveConsent
from authserver.authorization.tickets import ConsentLinks
from authserver.clients.records import Client
from authserver.protocol.errors import AccessDenied, ConsentRequired
from authserver.protocol.scopes import keep_scopes
from authserver.resources.policy import passes_allow_list
from authserver.resources.records import Resource
from authserver.storage.database import Database
from authserver.telemetry.notes import note
from authserver.tokens.exchange.faults import fault_is
from authserver.tokens.exchange.records import Exchange

NOT_AUTHORIZED = "client is not authorized to exchange this token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consents:
    """Looks consents up, always those of the agent client and never the caller's, and says how one is given."""

    db: Database
    links: ConsentLinks

    async def find(self, exchange: Exchange, resource: Resource, *, fault: str) -> ActiveConsent | None:
        """Return what the subject allowed the agent client at a Resource, or None.

        Args:
            exchange: The exchange.
            resource: Where.
            fault: The reason of a fault.
        """
        subject = exchange.subject
        with fault_is(fault):
            consent = await find_consent(
                self.db, user_id=subject.subject, client_id=subject.client_id, resource_id=resource.id
            )
        note(
            "consent looked for",
            found="the user never allowed it, or took it back" if consent is None else "a consent",
            user_id=subject.subject,
            expected=subject.client_id,
            resource=resource.slug,
            result=() if consent is None else consent.scopes,
        )
        return consent

    def missing(self, exchange: Exchange, resource: Resource, *, reason: str, now: int) -> ConsentRequired:
        """Return the refusal for an agent client that the user never allowed at a Resource."""
        return ConsentRequired(
            f"Authorize access to {resource.slug}",
            reason=reason,
            cause="consent_missing",
            consent_url=self._link(exchange, resource, exchange.requested, now=now),
        )

    def insufficient(
        self, exchange: Exchange, resource: Resource, missing: Sequence[str], *, reason: str, now: int
    ) -> ConsentRequired:
        """Return the refusal for scopes that the user did not allow the agent client at a Resource."""
        return ConsentRequired(
            f"Authorize access to {resource.slug}",
            reason=reason,
            cause="scope_insufficient",
            consent_url=self._link(exchange, resource, missing, missing=tuple(missing), now=now),
        )

    def _link(
        self,
        exchange: Exchange,
        resource: Resource,
        wanted: Sequence[str],
        *,
        missing: tuple[str, ...] = (),
        now: int,
    ) -> str:
        """Return where the user can agree. The page shows what is wanted of the catalogue; or all, when nothing is."""
        subject = exchange.subject
        shown = keep_scopes(wanted, within=resource.scope_names)
        shown = shown or keep_scopes(resource.scope_names, within=subject.scopes) or resource.scope_names
        # A provider's name for somebody is nobody's id here, and no address belongs into a URL (errors.md §7.3).
        return self.links.build(
            resource,
            user_id=subject_name(subject.subject),
            client_id=subject.client_id,
            scopes=shown,
            missing=missing,
            now=now,
        )


def check_operator_gate(target: Resource, caller: Client) -> None:
    """Check that the list of who may exchange for a Resource, unless empty, has the caller (steps M1 and B2).

    Raises:
        AccessDenied: It has not.
    """
    note(
        "who may exchange compared",
        client_id=caller.id,
        resource=target.slug,
        registered=target.policy.exchange_allowed_client_ids,
    )
    if not passes_allow_list(target, caller.id):
        raise AccessDenied(NOT_AUTHORIZED, reason="operator_gate_denied")
