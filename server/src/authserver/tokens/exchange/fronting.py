"""The link that an exchange goes along, if there is one (token exchange, step M2)."""

from dataclasses import dataclass

from authserver.clients.records import Client
from authserver.protocol.errors import AccessDenied
from authserver.protocol.quoting import quoted
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.fronting import FrontingLinks
from authserver.resources.policy import is_gateway
from authserver.resources.records import BackendKind, Resource
from authserver.telemetry.notes import note
from authserver.tokens.exchange.faults import fault_is
from authserver.tokens.exchange.records import Fronting, PresentedToken


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontingFinder:
    """Finds the source of a subject token and the link from there to a target. Nothing is read but memory."""

    catalog: ResourceCatalog
    links: FrontingLinks
    issuer: str

    async def find_source(self, subject: PresentedToken) -> Resource | None:
        """Return the Mint Resource that a subject token is for, or None: its audience is the issuer, or nobody's."""
        with fault_is("fronting_lookup_failed"):
            if subject.audience == self.issuer:
                return None
            named = [
                each for each in await self.catalog.matches(subject.audience) if each.backend_kind is BackendKind.MINT
            ]
        # A URI may be shared; which of them the token was issued for is on record.
        recorded = [each for each in named if each.id == subject.issuance.resource_id]
        found = recorded or named
        return found[0] if len(found) == 1 else None

    async def find(self, source: Resource | None, target: Resource) -> Fronting | None:
        """Return the link between two Resources, or None: the exchange is direct."""
        if source is None or source.id == target.id:
            return None
        with fault_is("fronting_lookup_failed"):
            link = await self.links.find(source, target)
        note("fronting link looked up", source=source.slug, resource=target.slug, found="a link" if link else "no link")
        return None if link is None else Fronting(link=link, source=source)


def check_gateway(fronting: Fronting, target: Resource, caller: Client) -> None:
    """Check that the caller is the gateway of a link (steps M3 and F1).

    Raises:
        AccessDenied: It is not.
    """
    source = fronting.source
    note("gateway compared", client_id=caller.id, source=source.slug, registered=source.policy.runtime_client_ids)
    if not is_gateway(source, target, caller.id):
        raise AccessDenied(
            "client is not authorized to exchange this token: it is neither in policy.runtime.client_ids of"
            f" {quoted(source.slug)} nor in policy.exchange.allowed_client_ids of {quoted(target.slug)}",
            reason="fronting_caller_not_authorized",
        )
