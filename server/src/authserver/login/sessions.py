"""The browser session: a cookie that names a user, believed only as far as the user's row agrees.

Nothing is stored. The cookie holds ``user id | session epoch | sign-in id | when signed in | expiry | code``; raising
the epoch of a user ends every copy of every cookie made before.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from authserver.config.sections.listeners import SessionConfig
from authserver.login.cookies import Cookie, Header
from authserver.login.macs import Mac
from authserver.login.records import LoginSession
from authserver.login.site import Site
from authserver.storage.database import Reader, StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.users.records import Account, User
from authserver.users.store import find_signed_in
from authserver.web.http import HttpRequest

T = TypeVar("T")

_log = get_logger("login")

_NUMBER = "0|[1-9][0-9]{0,18}"
_PAYLOAD = re.compile(
    rf"([^|]+)\|({_NUMBER})\|([0-9a-f]{{16}})\|({_NUMBER})\|({_NUMBER})",
    re.ASCII,
)


class Sessions:
    """Begins, recognises and ends browser sessions, and protects the forms shown in them."""

    def __init__(self, db: Reader, config: SessionConfig, *, site: Site) -> None:
        """Take where users are looked up and the section ``session``, its secret filled in.

        Raises:
            ValueError: The secret is empty.
        """
        self._db = db
        self._fail_closed = config.fail_closed
        self._site = site
        secret = config.secret.reveal().encode()
        self._session_mac = Mac(secret, "session")
        self._form_mac = Mac(secret, "consent_csrf")
        self._cookie = Cookie(
            name=config.cookie_name,
            path=site.path("") or "/",
            max_age=config.max_age,
            is_secure=config.secure,
            same_site=config.same_site,
        )

    def issue(self, user: User, *, now: int) -> Header:
        """Return the header that signs a user in."""
        sign_in_id = secrets.token_hex(8)
        payload = f"{user.id}|{user.session_epoch}|{sign_in_id}|{now}|{now + self._cookie.max_age}"
        return self._cookie.set(f"{payload}|{self._session_mac.sign(payload)}")

    def clear(self) -> Header:
        """Return the header that signs the browser out."""
        return self._cookie.clear()

    def clear_if_sent(self, request: HttpRequest) -> tuple[Header, ...]:
        """Return the headers for a browser in which nobody is signed in: they take back a cookie that is no longer good."""
        return () if self._cookie.read(request) is None else (self._cookie.clear(),)

    async def find(self, request: HttpRequest, *, now: int) -> tuple[LoginSession, Account] | None:
        """Return who is signed in, or None. The user is read anew each time.

        Raises:
            StorageUnavailable: As ``find_by``.
        """
        return await self.find_by(
            lambda session: find_signed_in(self._db, session.user_id, epoch=session.epoch), request, now=now
        )

    async def find_by(
        self, look_up: Callable[[LoginSession], Awaitable[T | None]], request: HttpRequest, *, now: int
    ) -> tuple[LoginSession, T] | None:
        """Return who is signed in, as ``find``, with more that the same read tells.

        Args:
            look_up: Returns what is known of the user of a session, or None when it is not good any more.
            request: The request.
            now: Seconds since the epoch.

        Raises:
            StorageUnavailable: The user cannot be looked up, and ``session.fail_closed`` is false: the session outlives
                the outage, which with ``true`` ends it.
        """
        session = self._verify(self._cookie.read(request), now=now)
        if session is None:
            return None
        try:
            found = await look_up(session)
        except StorageUnavailable as exc:
            fail_mode = "closed" if self._fail_closed else "open"
            _log.error(
                "session: user existence check failed", fail_mode=fail_mode, user_id=session.user_id, error=str(exc)
            )
            if self._fail_closed:
                return None
            raise
        return None if found is None else (session, found)

    def csrf_token(self, request: HttpRequest, form_id: str) -> str:
        """Return the token of one form in this browser session (public API, 20.3).

        Args:
            request: One for which ``find`` returned a session.
            form_id: What the form is about, such as the id of the pending authorization.
        """
        return self._form_mac.sign(f"{self._cookie.read(request)}\n{form_id}")

    def is_own_form(self, request: HttpRequest, form_id: str, csrf_token: str | None) -> bool:
        """Whether a form was filled in where we showed it: same browser session, same form, our own origin."""
        text = f"{self._cookie.read(request)}\n{form_id}"
        return not is_cross_site(request, self._site) and self._form_mac.is_valid(text, csrf_token or "")

    def _verify(self, value: str | None, *, now: int) -> LoginSession | None:
        """Return what a cookie says once its code is proven, or None."""
        if value is None:
            return None
        payload, _, code = value.rpartition("|")
        match = _PAYLOAD.fullmatch(payload)
        if not self._session_mac.is_valid(payload, code) or match is None:
            return None
        user_id, epoch, sign_in_id, authenticated_at, expires_at = match.groups()
        if int(expires_at) <= now:
            return None
        return LoginSession(user_id, int(epoch), sign_in_id, int(authenticated_at), int(expires_at))


def is_cross_site(request: HttpRequest, site: Site) -> bool:
    """Whether a form was sent by a page of somebody else, as far as the browser says (ruling R46).

    ``Referrer-Policy: no-referrer`` makes browsers send ``Origin: null`` with our own forms.
    """
    fetch_site = request.header(b"sec-fetch-site")
    if fetch_site == "cross-site":
        return True
    origin = request.header(b"origin")
    if origin == "null":
        return fetch_site not in {None, "same-origin"}
    return origin is not None and origin != site.origin


def describe_account(user: Account | User) -> str:
    """Return how a person knows an account: its address, else its name, else its id."""
    return user.email or user.name or user.id
