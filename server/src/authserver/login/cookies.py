"""Cookies: read from a request, set and taken back with the same attributes."""

from dataclasses import dataclass

from authserver.web.http import HttpRequest

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """A cookie of ours: only its value changes.

    Attributes:
        path: The path of the issuer.
        max_age: Seconds.
        is_secure: Whether it is sent over TLS only.
        same_site: ``lax``, ``strict`` or ``none``.
    """

    name: str
    path: str
    max_age: int
    is_secure: bool
    same_site: str

    def read(self, request: HttpRequest) -> str | None:
        """Return the value that the browser sent, or None."""
        for header in request.header_values(b"cookie"):
            for pair in header.split(";"):
                name, _, value = pair.strip(" \t").partition("=")
                if name == self.name and value:
                    return value
        return None

    def set(self, value: str) -> Header:
        """Return the header that stores a value."""
        return self._header(value, self.max_age)

    def clear(self) -> Header:
        """Return the header that takes the cookie back."""
        return self._header("", 0)

    def _header(self, value: str, max_age: int) -> Header:
        secure = "; Secure" if self.is_secure else ""
        attributes = f"Path={self.path}; Max-Age={max_age}; HttpOnly{secure}; SameSite={self.same_site.capitalize()}"
        return b"set-cookie", f"{self.name}={value}; {attributes}".encode("latin-1")
