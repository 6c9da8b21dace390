"""The login nonce: ties a login form to the browser it was shown in, before there is a session (public API, 20.2)."""

import re
import secrets

from authserver.config.sections.listeners import SessionConfig
from authserver.login.cookies import Cookie, Header
from authserver.login.macs import Mac
from authserver.login.site import Site
from authserver.web.http import HttpRequest

_NAME = "authserver_login_nonce"
_MAX_AGE = 12 * 60 * 60
_VALUE = re.compile(r"(?P<nonce>[0-9a-f]{32})\|(?P<code>[A-Za-z0-9_-]{43})")


class LoginNonces:
    """Mints nonces and recognises its own; what the server did not mint is never signed."""

    def __init__(self, config: SessionConfig, *, site: Site) -> None:
        """Take the section ``session``, its secret filled in.

        Raises:
            ValueError: The secret is empty.
        """
        secret = config.secret.reveal().encode()
        self._cookie_mac = Mac(secret, "login_nonce")
        self._form_mac = Mac(secret, "login_csrf")
        self._cookie = Cookie(
            name=_NAME,
            path=site.path("") or "/",
            max_age=_MAX_AGE,
            is_secure=config.secure,
            same_site=config.same_site,
        )

    def csrf_token(self, request: HttpRequest) -> tuple[str, tuple[Header, ...]]:
        """Return the token of a login form, and the headers that give the browser the nonce it belongs to.

        A browser keeps its nonce, so that forms in several of its tabs work.
        """
        nonce = self._find(request)
        if nonce is not None:
            return self._form_mac.sign(nonce), ()
        nonce = secrets.token_hex(16)
        return self._form_mac.sign(nonce), (self._cookie.set(f"{nonce}|{self._cookie_mac.sign(nonce)}"),)

    def is_own_form(self, request: HttpRequest, csrf_token: str | None) -> bool:
        """Whether the form was shown in this browser."""
        nonce = self._find(request)
        return nonce is not None and self._form_mac.is_valid(nonce, csrf_token or "")

    def clear(self) -> Header:
        """Return the header that takes the nonce back."""
        return self._cookie.clear()

    def _find(self, request: HttpRequest) -> str | None:
        match = _VALUE.fullmatch(self._cookie.read(request) or "")
        if match is None or not self._cookie_mac.is_valid(match["nonce"], match["code"]):
            return None
        return match["nonce"]
