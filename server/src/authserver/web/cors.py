"""Which pages of other origins may read our answers (public API §1.5). Never with credentials."""

from collections.abc import Sequence

from authserver.web.http import Cors, HttpRequest, HttpResponse

Headers = tuple[tuple[bytes, bytes], ...]

_EXPOSED = (b"access-control-expose-headers", b"DPoP-Nonce, WWW-Authenticate, Retry-After")
_ANY: Headers = ((b"access-control-allow-origin", b"*"), _EXPOSED)
_VARY: Headers = ((b"vary", b"Origin"),)


class CorsPolicy:
    """``server.allowed_origins``; empty or ``*`` is any.

    Attributes:
        preflight: The answer to a preflight that ``may_ask``. What the others return is added as to any answer.
        varies: Whether answers of routes for the listed origins depend on who asks.
    """

    preflight = HttpResponse(
        204,
        b"",
        (
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-allow-headers", b"Content-Type, Authorization, DPoP, MCP-Protocol-Version"),
            (b"access-control-max-age", b"86400"),
        ),
    )

    def __init__(self, allowed_origins: Sequence[str]) -> None:
        self._is_any = not allowed_origins or "*" in allowed_origins
        self._listed = frozenset(allowed_origins)
        self.varies = not self._is_any

    def may_ask(self, request: HttpRequest, cors: Cors) -> bool:
        """Whether a page of this origin is told what it may send; one that may not is treated as any other caller."""
        if cors is Cors.NEVER:
            return False
        return cors is Cors.PUBLIC or self._is_any or request.header(b"origin") in self._listed

    def constant(self, cors: Cors) -> Headers:
        """Return the headers of every answer of a route that do not depend on who asks."""
        return _ANY if cors is Cors.PUBLIC or (cors is Cors.LISTED and self._is_any) else ()

    def headers(self, request: HttpRequest) -> Headers:
        """Return the others, of a route for the listed origins if it ``varies``: they let a page read what it may."""
        origin = request.header(b"origin")
        if origin is None or origin not in self._listed:
            # Caches must not hand the answer for one origin to another.
            return _VARY
        return ((b"access-control-allow-origin", origin.encode("latin-1")), *_VARY, _EXPOSED)
