"""Client identifiers that are the URL of a metadata document (CIMD; public API, 12.2)."""

from urllib.parse import unquote

from authserver.protocol.errors import InvalidClientMetadata
from authserver.protocol.uris import parse_uri

MAX_CLIENT_ID_URL_CHARACTERS = 2048

_DOT_SEGMENTS = frozenset({".", ".."})


def is_client_id_url(client_id: str) -> bool:
    """Tell whether a client identifier names a metadata document; ours never do."""
    return client_id.startswith(("https://", "http://"))


def check_client_id_url(url: str, *, require_https: bool) -> None:
    """Check that a client identifier may be fetched as a metadata document (CM-01).

    Args:
        url: The ``client_id`` as sent.
        require_https: ``cimd.require_https``; False lets ``http`` pass too.

    Raises:
        InvalidClientMetadata: It may not; the description is for the log.
    """
    problem = _find_problem(url, require_https=require_https)
    if problem is not None:
        raise InvalidClientMetadata(f"client_id {problem}")


def _find_problem(url: str, *, require_https: bool) -> str | None:
    uri = parse_uri(url) if len(url) <= MAX_CLIENT_ID_URL_CHARACTERS else None
    if uri is None or not uri.is_web:
        return "is not an http(s) URL"
    if require_https and uri.scheme != "https":
        return "must be an https URL"
    if uri.fragment is not None or uri.userinfo is not None:
        return "must have neither fragment nor user information"
    segments = [unquote(segment) for segment in uri.path.split("/")]
    if not _DOT_SEGMENTS.isdisjoint(segments):
        return "must have no dot segments"
    if not any(segments):
        return "must have a path"
    return None
