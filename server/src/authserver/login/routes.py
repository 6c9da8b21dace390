"""``/login``, ``/logout`` and ``/``: forms in, redirects and pages out."""

from collections.abc import Callable
from urllib.parse import urlencode

from authserver.login.cookies import Header
from authserver.login.local import LocalLogin, LockedOut
from authserver.login.nonces import LoginNonces
from authserver.login.sessions import Sessions, describe_account, is_cross_site
from authserver.login.site import Site
from authserver.protocol.errors import InvalidRedirectUri, InvalidRequest, PageRefusal
from authserver.protocol.redirect_uris import check_redirect_uri, form_action_source
from authserver.protocol.safe_redirect import safe_redirect
from authserver.telemetry.notes import note
from authserver.users.accounts import MAX_EMAIL_BYTES
from authserver.web.errors import page_refusal, report_refusal
from authserver.web.forms import Form, parse_query, read_form
from authserver.web.http import ErrorShape, HttpRequest, HttpResponse, Route
from authserver.web.pages import page

_AUTHORIZE_PATHS = ("/oauth/authorize", "/authorize")

_UNREADABLE = "Invalid form data"
_NOT_OUR_FORM = "Invalid request. Please try again."
_REJECTED = "Invalid email or password"
_LOCKED_OUT = "Too many failed attempts. Please try again later."


class LoginPages:
    """The endpoints of signing in and out."""

    def __init__(
        self,
        login: LocalLogin | None,
        sessions: Sessions,
        nonces: LoginNonces,
        *,
        site: Site,
        clock: Callable[[], int],
    ) -> None:
        """Take the parts; ``login`` is None when ``oidc.show_local_login`` is false: there is no form then."""
        self._login = login
        self._sessions = sessions
        self._nonces = nonces
        self._site = site
        self._clock = clock

    def routes(self) -> list[Route]:
        """Mount the pages."""
        return [
            Route(
                path="/login",
                endpoints={"GET": self.show, "POST": self.sign_in},
                errors=ErrorShape.PAGE,
                operations={"POST": "LoginService.SignIn"},
            ),
            Route(
                path="/logout",
                endpoints={"POST": self.sign_out},
                errors=ErrorShape.PAGE,
                operations={"POST": "LoginService.SignOut"},
            ),
            Route(path="/", endpoints={"GET": self.home}, errors=ErrorShape.PAGE),
        ]

    async def show(self, request: HttpRequest) -> HttpResponse:
        """Answer ``GET /login`` with the form, whether or not somebody is signed in."""
        redirect = safe_redirect(parse_query(request.query).get("redirect"))
        signed_in = await self._sessions.find(request, now=self._clock())
        return self._form(request, redirect, headers=() if signed_in else self._sessions.clear_if_sent(request))

    async def sign_in(self, request: HttpRequest) -> HttpResponse:
        """Answer ``POST /login``, in the order of the specification (public API, 5.2)."""
        if self._login is None:  # 1
            raise PageRefusal("Sign in", "Passwords are not taken here.", status=404, reason="local_login_off")
        form = await _read_form(request)  # 2
        if form is None:
            return self._rejected(
                request, None, PageRefusal("Sign in", _UNREADABLE, status=422, reason="form_unreadable")
            )
        redirect = safe_redirect(form.get("redirect"))
        if is_cross_site(request, self._site) or not self._nonces.is_own_form(request, form.get("csrf_token")):  # 3
            note("form looked at", found="not of this browser, expired, or sent by another site")
            return self._rejected(request, redirect, PageRefusal("Sign in", _NOT_OUR_FORM, status=422, reason="csrf"))
        rejection = PageRefusal("Sign in", _REJECTED, status=422, reason="credentials_rejected")
        email, password = form.get("email") or "", form.get("password") or ""
        if len(email.encode()) > MAX_EMAIL_BYTES:  # 4
            return self._rejected(request, redirect, rejection)
        now = self._clock()
        try:
            user = await self._login.sign_in(
                email, password, client_address=request.client_address, reference=rejection.reference, now=now
            )
        except LockedOut as exc:  # 5
            retry_after = (b"retry-after", str(exc.retry_after).encode())
            note(
                "failures counted", seconds=exc.retry_after, setting="rate_limit.auth_fail_max, rate_limit.auth_lockout"
            )
            refusal = PageRefusal("Sign in", _LOCKED_OUT, status=429, reason="locked_out")
            return self._rejected(request, redirect, refusal, retry_after)
        if user is None:  # 6
            return self._rejected(request, redirect, rejection)
        return _see_other(redirect or self._site.path("/"), self._sessions.issue(user, now=now))

    async def sign_out(self, request: HttpRequest) -> HttpResponse:
        """Answer ``POST /logout``: forget who is signed in, and offer to sign in again.

        A form may name a ``redirect`` to come back to, as somebody else.
        """
        if is_cross_site(request, self._site):
            exc = PageRefusal(
                "Invalid Request",
                "Another site asked to sign you out. You are still signed in.",
                status=403,
                reason="cross_site",
                next_step="You may close this window.",
            )
            return page_refusal(exc, request)
        form = await _read_form(request)
        redirect = safe_redirect(form.get("redirect")) if form else None
        return _see_other(login_path(self._site, redirect), self._sessions.clear(), self._nonces.clear())

    async def home(self, request: HttpRequest) -> HttpResponse:
        """Answer ``GET /``: where a login ends that was not on the way to somewhere."""
        found = await self._sessions.find(request, now=self._clock())
        if found is None:
            return _see_other(login_path(self._site), *self._sessions.clear_if_sent(request))
        return page("login/signed_in.html", account=describe_account(found[1]))

    def _rejected(self, request: HttpRequest, redirect: str | None, exc: PageRefusal, *headers: Header) -> HttpResponse:
        """Show the form again, with what was wrong and the reference id of it."""
        report_refusal(exc)
        return self._form(
            request, redirect, status=exc.status, error=exc.message, reference=exc.reference, headers=headers
        )

    def _form(
        self,
        request: HttpRequest,
        redirect: str | None,
        *,
        status: int = 200,
        error: str = "",
        reference: str = "",
        headers: tuple[Header, ...] = (),
    ) -> HttpResponse:
        csrf_token, nonce_headers = self._nonces.csrf_token(request) if self._login is not None else ("", ())
        return page(
            "login/login.html",
            status=status,
            csp_form_action=_find_form_action(redirect, self._site),
            headers=(*nonce_headers, *headers),
            error=error,
            reference=reference,
            error_is_credentials=error == _REJECTED,
            email=_find_login_hint(redirect, self._site),
            issuer_host=self._site.host,
            csrf_token=csrf_token,
            redirect=redirect or "",
        )


def login_path(site: Site, redirect: str | None = None) -> str:
    """Return where somebody signs in, and goes on from there.

    Args:
        site: Where this server is.
        redirect: A path of this origin, query and all, as a browser spells it.
    """
    path = site.path("/login")
    return path if redirect is None else f"{path}?{urlencode({'redirect': redirect})}"


def _find_form_action(redirect: str | None, site: Site) -> str | None:
    """Return where the redirect chain of the login form may end besides here (ruling R45).

    A user who has consented before goes from the form straight to the client. The redirect URI is nobody's yet: it only
    widens the policy of this page, and only if it is one that a client might have registered.
    """
    try:
        redirect_uri = _read_pending(redirect, site).required("redirect_uri")
        check_redirect_uri(redirect_uri, is_public=True)
    except (InvalidRequest, InvalidRedirectUri):
        return None
    return form_action_source(redirect_uri)


def _find_login_hint(redirect: str | None, site: Site) -> str:
    """Return the address that the application thinks its user has, to be filled in; it is not believed otherwise."""
    hint = _read_pending(redirect, site).get("login_hint") or ""
    return hint if hint.isprintable() and len(hint.encode()) <= MAX_EMAIL_BYTES else ""


def _read_pending(redirect: str | None, site: Site) -> Form:
    """Return the parameters of the authorization request that waits for the sign-in; none when there is no such."""
    path, _, query = (redirect or "").partition("?")
    if path not in {site.path(authorize) for authorize in _AUTHORIZE_PATHS} or not query.isascii():
        return Form({})
    try:
        return parse_query(query.encode("ascii"), skip_unreadable=True)
    except InvalidRequest:
        return Form({})


async def _read_form(request: HttpRequest) -> Form | None:
    """Return the form that was posted, or None when it cannot be read or says something twice."""
    try:
        form = await read_form(request)
    except InvalidRequest:
        return None
    return None if form.repeated() else form


def _see_other(location: str, *headers: Header) -> HttpResponse:
    return HttpResponse(303, b"", ((b"location", location.encode("ascii")), (b"cache-control", b"no-store"), *headers))
