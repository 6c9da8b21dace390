"""What pages that ask for consent show, whoever waits for the answer."""

from urllib.parse import urlsplit

from authserver.clients.records import Client, RegistrationSource
from authserver.protocol.errors import PageRefusal
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import BackendKind, Resource, ResourceScope
from authserver.telemetry.notes import identified, note
from authserver.users.records import Account


def note_user(user: Account) -> None:
    """Note who is signed in."""
    identified()
    note("signed in", user_id=user.id)


async def get_shown_resource(catalog: ResourceCatalog, resource_id: str | None) -> Resource | None:
    """Return the Resource that a request names, which may have gone or changed since; None when it names none.

    Raises:
        PageRefusal: It is gone, or no tokens are made for it any more.
    """
    if resource_id is None:
        return None
    resource = await catalog.get(resource_id)
    if resource is None:
        raise PageRefusal("Unknown Resource", "The server that the application asked for is not there any more.")
    if resource.backend_kind is not BackendKind.MINT:
        raise PageRefusal("Invalid Resource", "Access to this server cannot be allowed here.")
    return resource


def is_from_document(client: Client) -> bool:
    """Whether a client is known by its metadata document."""
    return client.registration_source is RegistrationSource.CIMD


def document_host(client: Client) -> str:
    """Return the host that vouches for a client known by its metadata document, else nothing (UI-01)."""
    return (urlsplit(client.id).hostname or "") if is_from_document(client) else ""


def in_catalog_order(scopes: tuple[str, ...], resource: Resource | None) -> tuple[ResourceScope, ...]:
    """Return scopes with their descriptions, in the order of the Resource's catalogue, unknown ones last."""
    known = {scope.name: scope for scope in resource.scopes} if resource else {}
    listed = tuple(scope for scope in known.values() if scope.name in scopes)
    return (*listed, *(ResourceScope(name=name) for name in scopes if name not in known))
