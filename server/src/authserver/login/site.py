"""Where this server is, as browsers see it."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The issuer's address in its parts.

    Attributes:
        origin: As browsers spell it in ``Origin``.
        host: With the port when it is not the scheme's own.
        base_path: The issuer's path, without a slash at its end; empty for most.
    """

    origin: str
    host: str
    base_path: str

    def path(self, path: str) -> str:
        """Return the path by which a browser reaches a route."""
        return self.base_path + path


def site_of(issuer: str) -> Site:
    """Return where the server of this issuer is."""
    parts = urlsplit(issuer)
    own_port = {"http": 80, "https": 443}.get(parts.scheme)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    host = name if parts.port in {None, own_port} else f"{name}:{parts.port}"
    return Site(origin=f"{parts.scheme}://{host}", host=host, base_path=parts.path.rstrip("/"))
