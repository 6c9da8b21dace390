"""Which route a path leads to."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import httptools

from authserver.web.http import Cors, Endpoint, ErrorShape, Route

_WELL_KNOWN = "/.well-known/"
_UNMATCHED = "unmatched"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path leads to, with what is computed once.

    Attributes:
        endpoints: Method to endpoint, ``HEAD`` included.
        template: For metrics.
        allowed: The methods, as ``Allow`` lists them; empty when there is nothing at the path.
        operations: Method to the name of what is done, for spans.
    """

    endpoints: Mapping[str, Endpoint]
    template: str
    allowed: str
    cors: Cors = Cors.NEVER
    errors: ErrorShape = ErrorShape.PLAIN
    is_limited: bool = True
    operations: Mapping[str, str] = field(default_factory=dict)


_NOWHERE = Target(endpoints={}, template=_UNMATCHED, allowed="")
# Browser clients look for documents under several names; without CORS the 404 that sends them on is unreadable to them.
_NO_DOCUMENT = Target(endpoints={}, template=_UNMATCHED, allowed="", cors=Cors.PUBLIC)


class RouteTable:
    """The routes of a listener: one look-up by the exact path, then the few prefixes."""

    def __init__(self, routes: Iterable[Route], *, base_path: str) -> None:
        """Compute every target once.

        Args:
            routes: What is served.
            base_path: May stand in front of every path: not every proxy takes it away. Without a slash at its end.

        Raises:
            ValueError: Two routes have the same path.
        """
        self._base_path = base_path
        self._exact: dict[str, Target] = {}
        prefixes: dict[str, Target] = {}
        is_public = False
        for route in routes:
            targets = prefixes if route.is_prefix else self._exact
            if route.path in targets:
                raise ValueError(f"two routes answer at {route.path}")
            targets[route.path] = _target(route)
            is_public = is_public or route.cors is Cors.PUBLIC
        self._plain = {path.encode(): (target, path, "") for path, target in self._exact.items()}
        self._prefixes = sorted(prefixes.items(), key=lambda item: len(item[0]), reverse=True)
        self._no_document = _NO_DOCUMENT if is_public else _NOWHERE

    def find_raw(self, raw: bytes) -> tuple[Target, str, str]:
        """As ``find``, for a path as it was sent."""
        return self._plain.get(raw) or self.find(decode_path(raw))

    def find(self, path: str) -> tuple[Target, str, str]:
        """Return the target of a path, the path below the issuer's own, and what follows a prefix.

        A prefix route wants something after its prefix.
        """
        target = self._exact.get(path)
        if target is not None:
            return target, path, ""
        if self._base_path and path.startswith(self._base_path + "/"):
            path = path[len(self._base_path) :]
            target = self._exact.get(path)
            if target is not None:
                return target, path, ""
        for prefix, target in self._prefixes:
            if path.startswith(prefix) and len(path) > len(prefix):
                return target, path, path[len(prefix) :]
        return (self._no_document if path.startswith(_WELL_KNOWN) else _NOWHERE), path, ""


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target, in the form that names the server, too (RFC 9112 §3.2).

    Raises:
        ValueError: The path is not what a path is made of.
        httptools.HttpParserInvalidURLError: It is none at all.
    """
    # To look for bytes with `in` costs an exception, raised and dropped.
    if target.startswith(b"/") and target.find(b"#") < 0:
        path, _, query = target.partition(b"?")
    else:
        parsed = httptools.parse_url(target)
        path, query = parsed.path or b"/", parsed.query or b""
    if not path.isascii():
        raise ValueError("not a path")
    return path, query


def decode_path(raw: bytes) -> str:
    """Return the path; one that no route has when it is not UTF-8, holds a broken escape or hides a NUL."""
    if b"%" in raw:
        if _BROKEN_ESCAPE.search(raw):
            return ""
        raw = unquote_to_bytes(raw)
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in path else path


def _target(route: Route) -> Target:
    endpoints = dict(route.endpoints)
    if "GET" in endpoints:
        endpoints["HEAD"] = endpoints["GET"]
    return Target(
        endpoints=endpoints,
        template=route.template or route.path,
        allowed=", ".join(sorted(endpoints)),
        cors=route.cors,
        errors=route.errors,
        is_limited=route.is_limited,
        operations=route.operations,
    )
