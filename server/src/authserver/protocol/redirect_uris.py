"""Redirect URIs: which may be registered, which requested one is a registered one, and how an answer is put on it."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import quote_plus

from authserver.protocol.errors import InvalidRedirectUri
from authserver.protocol.quoting import quoted
from authserver.protocol.uris import Uri, parse_uri

MAX_REDIRECT_URIS = 10
MAX_DOCUMENT_REDIRECT_URIS = 100
MAX_REDIRECT_URI_CHARACTERS = 2048

_UNESCAPED = re.compile(r"[A-Za-z0-9_.~-]*")
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

# Editors whose clients register a scheme without a dot. Any other private-use scheme must be a reversed domain name
# (RFC 8252 §7.1); that alone keeps out javascript, data, file, vbscript, blob, about and whatever browsers add.
_KNOWN_SCHEMES = frozenset({"cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed"})


def check_redirect_uri(uri: str, *, is_public: bool) -> None:
    """Check that a client may register a redirect URI (public API, 13.1).

    Args:
        uri: As sent.
        is_public: Whether the client is public: only then may the URI have a private-use scheme.

    Raises:
        InvalidRedirectUri: It may not; the description names the URI and the rule.
    """
    parts = parse_uri(uri)
    problem = "it is not an absolute URI" if parts is None else _find_problem(uri, parts, is_public=is_public)
    if problem is not None:
        raise InvalidRedirectUri(f"redirect_uri {quoted(uri)} is not allowed: {problem}")


def match_redirect_uri(requested: str, registered: Collection[str]) -> str | None:
    """Return the registered URI that a requested one stands for, or None (public API, 13.2).

    Equal is equal, byte for byte. Only on a loopback host the port does not count, in either direction (RFC 8252
    §7.3); hosts are not interchangeable. What may not be registered never matches, whatever is stored.
    """
    parts = parse_uri(requested)
    # Whether a private-use scheme fits the client was decided when it was registered.
    if parts is None or _find_problem(requested, parts, is_public=True) is not None:
        return None
    if requested in registered:
        return requested
    if not _is_loopback(parts):
        return None
    wanted = _without_port(parts)
    return next((uri for uri in registered if (known := parse_uri(uri)) and _without_port(known) == wanted), None)


def is_loopback(uri: str) -> bool:
    """Tell whether the answer goes to a program on the user's own computer, which any other there can claim to be."""
    parts = parse_uri(uri)
    return parts is not None and _is_loopback(parts)


def is_native(uri: str) -> bool:
    """Tell whether a redirect URI is that of a native application: loopback or a private-use scheme (RFC 8252)."""
    parts = parse_uri(uri)
    return parts is not None and (_is_loopback(parts) or _is_private_use(parts))


def redirect_host(uri: str) -> str:
    """Return who receives the answer, for a person to read; empty for what is no URI.

    The host as a browser understands it, so ``https://good.example@evil.example/cb`` is ``evil.example``. For a
    private-use scheme it is the scheme with its colon: the operating system goes by nothing else.
    """
    parts = parse_uri(uri)
    if parts is None:
        return ""
    return parts.host if parts.is_web else f"{parts.scheme}:"


def form_action_source(uri: str) -> str:
    """Return the source expression that lets a form's redirect chain reach this URI (CSP ``form-action``, ruling R45).

    The origin; or the scheme, where a source expression cannot say the origin: private-use schemes, and IP addresses
    other than 127.0.0.1 (Content Security Policy 3, host-part matching). Empty for what is no URI.
    """
    parts = parse_uri(uri)
    if parts is None:
        return ""
    is_address = parts.host.startswith("[") or parts.host.rpartition(".")[2].isdecimal()
    if not parts.is_web or (is_address and parts.host != "127.0.0.1"):
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.host}" + (f":{parts.port}" if parts.port else "")


def add_query(uri: str, parameters: Mapping[str, str]) -> str:
    """Return a redirect URI with response parameters added to the query it has, their values form-encoded."""
    encoded = [f"{name}={form_encoded(value)}" for name, value in parameters.items()]
    return uri + ("&" if "?" in uri else "?") + "&".join(encoded)


def form_encoded(value: str) -> str:
    """Return the value of a parameter as it stands in a form or a query."""
    # Codes and most states are base64url.
    return value if _UNESCAPED.fullmatch(value) else quote_plus(value)


def _find_problem(uri: str, parts: Uri, *, is_public: bool) -> str | None:
    """Return the rule of public API 13.1 that a URI breaks, or None."""
    if len(uri) > MAX_REDIRECT_URI_CHARACTERS:
        return f"it is longer than {MAX_REDIRECT_URI_CHARACTERS} characters"
    if parts.fragment is not None:
        return "it has a fragment"
    if parts.userinfo is not None:
        return "it has user information"
    if "*" in uri:
        return "it has a wildcard"
    if parts.scheme in {"http", "https"}:
        return _find_web_problem(parts)
    if not _is_private_use(parts):
        return "its scheme is not allowed"
    if not is_public:
        return "a private-use scheme is for public clients only"
    return None


def _find_web_problem(parts: Uri) -> str | None:
    if not parts.is_web:
        return "it names no host"
    if parts.scheme == "http" and not _is_loopback(parts):
        return "http is for localhost, 127.0.0.1 and [::1] only"
    return None


def _is_loopback(parts: Uri) -> bool:
    return parts.scheme in {"http", "https"} and parts.host in _LOOPBACK_HOSTS


def _is_private_use(parts: Uri) -> bool:
    return "." in parts.scheme or parts.scheme in _KNOWN_SCHEMES


def _without_port(parts: Uri) -> tuple[str, str | None, str, str, str | None]:
    return parts.scheme, parts.userinfo, parts.host, parts.path, parts.query
