"""The ``resource`` parameter (RFC 8707) and the slugs that may stand in its place."""

import re
from collections.abc import Sequence

from authserver.protocol.errors import InvalidTarget

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_WEB_URI = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<userinfo>[^/?#@]*@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
    r"(?P<port>:[0-9]+)?"
    r"(?P<path>/[^?#]*)?"
    r"(?P<rest>[?#].*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


def one_resource(values: Sequence[str]) -> str | None:
    """Return the one value of a request's ``resource`` parameters, or None (ruling R5).

    Args:
        values: As sent, in any number; empty ones count as omitted, equal ones once.

    Raises:
        InvalidTarget: They differ, or the value has a fragment (RFC 8707 §2).
    """
    resource = None
    for value in values:
        if value and value != resource:
            if resource is not None:
                raise InvalidTarget("only one resource per request", reason="multiple_resources")
            resource = value
    if resource is not None and "#" in resource:
        raise InvalidTarget("resource must not have a fragment", reason="resource_has_fragment")
    return resource


def fold_resource(value: str) -> str:
    """Return what a resource's URI is compared by when no registered one is equal byte for byte (public API, 9.1).

    Scheme and host in lower case, no default port, no lone ``/`` as path. Nothing else changes, and a slug, or
    anything that is not an http(s) URI, stays as it is. Folding twice is folding once.
    """
    match = _WEB_URI.fullmatch(value)
    if match is None:
        return value
    parts = match.groupdict(default="")
    scheme = parts["scheme"].lower()
    port = "" if parts["port"] == _DEFAULT_PORTS[scheme] else parts["port"]
    path = "" if parts["path"] == "/" else parts["path"]
    return f"{scheme}://{parts['userinfo']}{parts['host'].lower()}{port}{path}{parts['rest']}"


def is_slug(text: str) -> bool:
    """Tell whether ``text`` may be a slug: 1 to 64 of ``a-z0-9-``, not beginning with the hyphen."""
    return _SLUG.fullmatch(text) is not None
