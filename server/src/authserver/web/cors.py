"""Which pages of other origins may read our answers (public API §1.5). Never with credentials."""

from collections.abc import Sequence

from authserver.web.http import Cors, HttpRequest, HttpResponse

Headers = tuple[tuple[bytes, bytes], ...]

_EXPOSED = (b"access-control-expose-headers", b"DPoP-Nonce, WWW-Authenticate, Retry-After")
_ANY: Headers = ((b"access-control-allow-origin", b"*"), _EXPOSED)
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"Content-Type, Authorization, DPoP, MCP-Protocol-Version"),
    (b"access-control-max-age", b"86400"),
)


class CorsPolicy:
    """``server.allowed_origins``; empty or ``*`` is any."""

    def __init__(self, allowed_origins: Sequence[str]) -> None:
        self._any = not allowed_origins or "*" in allowed_origins
        self._listed = frozenset(allowed_origins)

    def headers(self, request: HttpRequest, cors: Cors) -> Headers:
        """Return the headers that let a page read the answer; none when it may not."""
        if cors is Cors.PUBLIC or self._any:
            return _ANY
        origin = request.header(b"origin")
        if origin is None or origin not in self._listed:
            # Caches must not hand the answer for one origin to another.
            return ((b"vary", b"Origin"),)
        return ((b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin"), _EXPOSED)

    def preflight(self, request: HttpRequest, cors: Cors) -> HttpResponse:
        """Answer a preflight. The headers of ``headers`` are added by the server as to any answer."""
        origin = request.header(b"origin")
        allowed = cors is Cors.PUBLIC or self._any or origin in self._listed
        return HttpResponse(204, b"", _PREFLIGHT if allowed else ())
