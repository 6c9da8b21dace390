"""``/device``: a user enters the code that a device shows, sees what it asks for, and answers (RFC 8628 §3.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from authserver.authorization.answers import redirect
from authserver.authorization.device_limits import DeviceLimits
from authserver.authorization.devices import Devices
from authserver.authorization.records import DeviceRequest
from authserver.authorization.showing import document_host, get_shown_resource, in_catalog_order, note_user
from authserver.clients.records import Client
from authserver.clients.store import find_client
from authserver.login.records import LoginSession
from authserver.login.routes import login_path
from authserver.login.sessions import Sessions, describe_account
from authserver.login.site import Site
from authserver.protocol.errors import OAuthError, PageRefusal, SlowDown
from authserver.protocol.identifiers import parse_id, spell_id
from authserver.protocol.user_codes import LONGEST_ENTRY, parse_user_code, spell_user_code
from authserver.resources.catalog import ResourceCatalog
from authserver.telemetry.notes import note
from authserver.users.records import Account
from authserver.web.errors import report_refusal, retry_after_header
from authserver.web.forms import Form, parse_query, read_form
from authserver.web.http import ErrorShape, HttpRequest, HttpResponse, Route
from authserver.web.pages import page

PATH = "/device"

_CODE_FORM = "device"
_ON_THE_DEVICE = "Start again on the device."
_UNREADABLE = "The form could not be read."
_EXPIRED = "This device was answered already, or its code has expired. Start again on the device."


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePages:
    """The page for the code, the question, and what was decided. No address that brings a code approves anything."""

    site: Site
    clock: Callable[[], int]
    devices: Devices
    sessions: Sessions
    catalog: ResourceCatalog
    limits: DeviceLimits

    def routes(self) -> list[Route]:
        """Mount the pages."""
        return [
            Route(
                path=PATH,
                endpoints={"GET": self.show, "POST": self.take},
                errors=ErrorShape.PAGE,
                operations={"GET": "DeviceService.Show", "POST": "DeviceService.Decide"},
            )
        ]

    async def show(self, request: HttpRequest) -> HttpResponse:
        """Show the page for the code, to somebody who is signed in: nobody else may try codes."""
        given = _read_given(request)
        found = await self.sessions.find(request, now=self.clock())
        if found is None:
            answer = redirect(login_path(self.site, self._own_path(given)))
            return HttpResponse(answer.status, answer.body, (*answer.headers, *self.sessions.clear_if_sent(request)))
        return self._code_page(request, found[1], given=given)

    async def take(self, request: HttpRequest) -> HttpResponse:
        """Take a code, or the answer to what its device asks for."""
        now = self.clock()
        form = await _read_post(request)
        found = await self.sessions.find(request, now=now)
        if found is None:
            raise PageRefusal(
                "Not Authenticated", "You are not signed in any more.", status=401, next_step=_ON_THE_DEVICE
            )
        session, user = found
        note_user(user)
        session_id = form.get("session_id")
        if not self.sessions.is_own_form(request, session_id or _CODE_FORM, form.get("csrf_token")):
            raise PageRefusal("Invalid Request", "This answer did not come from our page.", status=403, reason="csrf")
        if session_id is None:
            return await self._ask(request, form, user, now=now)
        return await self._answer(form, session_id, session, now=now)

    async def _ask(self, request: HttpRequest, form: Form, user: Account, *, now: int) -> HttpResponse:
        """Show what the device with this code asks for."""
        entered = (form.get("user_code") or "")[:LONGEST_ENTRY]
        user_code = parse_user_code(entered)
        if user_code is None:
            return self._rejected(request, user, entered, _malformed())
        try:
            self.limits.check_guess(user.id, request.client_address)
        except SlowDown as exc:
            return self._rejected(request, user, entered, _too_many(exc), retry_after=exc.retry_after)
        waiting = await self.devices.find_waiting(user_code, now=now)
        if waiting is None:
            return self._rejected(request, user, entered, _unknown())
        client = await self._get_client(waiting)
        resource = await get_shown_resource(self.catalog, waiting.resource_id)
        earlier = await self.devices.find_earlier(waiting, user_id=user.id)
        granted = earlier.scopes if earlier else ()
        kept = tuple(scope for scope in granted if scope not in waiting.scopes)
        session_id = spell_id(waiting.id)
        return page(
            "authorization/device_consent.html",
            user_code=spell_user_code(user_code),
            client_name=client.name,
            client_id=client.id,
            client_host=document_host(client),
            resource=resource,
            scopes=in_catalog_order(waiting.scopes, resource),
            granted=granted,
            kept=in_catalog_order(kept, resource),
            account=describe_account(user),
            restart_path=self._own_path(spell_user_code(user_code)),
            session_id=session_id,
            csrf_token=self.sessions.csrf_token(request, session_id),
        )

    async def _answer(self, form: Form, session_id: str, session: LoginSession, *, now: int) -> HttpResponse:
        """Write the user's yes or no, in the order of the consent page (public API §6.2)."""
        identifier = parse_id(session_id)
        waiting = None if identifier is None else await self.devices.find_shown(identifier, now=now)
        action = form.get("action")
        if action not in {"allow", "deny"}:
            raise PageRefusal("Invalid Form", _UNREADABLE, next_step=_ON_THE_DEVICE)
        if waiting is None:
            raise PageRefusal("Consent Error", _EXPIRED, reason="device_answered", next_step=_ON_THE_DEVICE)
        if action == "deny":
            if not await self.devices.deny(waiting, user_id=session.user_id, now=now):
                raise PageRefusal("Consent Error", _EXPIRED, reason="device_answered", next_step=_ON_THE_DEVICE)
            return page("authorization/device_done.html", is_allowed=False)
        ticked = tuple(form.values("scopes"))
        note("answer compared", result=ticked, requested=waiting.scopes)
        if not ticked:
            raise PageRefusal("No Permissions Selected", "Tick at least one permission, or deny the request.")
        if not set(ticked) <= set(waiting.scopes):
            raise PageRefusal("Consent Error", _EXPIRED, reason="scope_not_asked_for")
        await self._get_client(waiting)
        await get_shown_resource(self.catalog, waiting.resource_id)
        approved = tuple(scope for scope in waiting.scopes if scope in ticked)
        await self.devices.approve(waiting, approved, session, now=now)
        return page("authorization/device_done.html", is_allowed=True)

    async def _get_client(self, waiting: DeviceRequest) -> Client:
        client = await find_client(self.devices.db, waiting.client_id)
        if client is None or not client.is_active:
            raise PageRefusal(
                "Client Suspended",
                "This application may not act for people.",
                status=403,
                reason="client_not_active",
                next_step=_ON_THE_DEVICE,
            )
        return client

    def _rejected(
        self, request: HttpRequest, user: Account, entered: str, exc: PageRefusal, *, retry_after: int | None = None
    ) -> HttpResponse:
        """Show the form again, with what was wrong and the reference id of it."""
        report_refusal(exc)
        answer = self._code_page(request, user, given=entered, refusal=exc)
        if retry_after is None:
            return answer
        return answer.with_headers(retry_after_header(retry_after))

    def _code_page(
        self, request: HttpRequest, user: Account, *, given: str, refusal: PageRefusal | None = None
    ) -> HttpResponse:
        return page(
            "authorization/device_code.html",
            status=refusal.status if refusal else 200,
            user_code=given,
            is_given=bool(given) and refusal is None,
            error=refusal.message if refusal else "",
            reference=refusal.reference if refusal else "",
            account=describe_account(user),
            restart_path=self._own_path(given),
            csrf_token=self.sessions.csrf_token(request, _CODE_FORM),
        )

    def _own_path(self, given: str) -> str:
        """Return this page as a browser gets back to it, with the code that was given if it can be one."""
        user_code = parse_user_code(given)
        query = f"?{urlencode({'user_code': spell_user_code(user_code)})}" if user_code else ""
        return self.site.path(PATH) + query


def _malformed() -> PageRefusal:
    return PageRefusal(
        "Connect a device", "This is not a code: codes have eight letters.", status=422, reason="user_code_malformed"
    )


def _too_many(exc: SlowDown) -> PageRefusal:
    return PageRefusal(
        "Connect a device",
        "Too many codes were entered. Wait a minute, then enter the code again.",
        status=exc.status,
        reason=exc.reason,
    )


def _unknown() -> PageRefusal:
    return PageRefusal(
        "Connect a device",
        "No device waits with this code. It may have expired.",
        status=422,
        reason="user_code_unknown",
    )


def _read_given(request: HttpRequest) -> str:
    """Return the code that the address brings, as it is spelled; nothing when it brings none."""
    try:
        user_code = parse_user_code(parse_query(request.query, skip_unreadable=True).get("user_code") or "")
    except OAuthError:
        return ""
    return spell_user_code(user_code) if user_code else ""


async def _read_post(request: HttpRequest) -> Form:
    try:
        form = await read_form(request)
    except OAuthError as exc:
        raise PageRefusal("Invalid Form", _UNREADABLE, next_step=_ON_THE_DEVICE) from exc
    if any(name != "scopes" for name in form.repeated()):
        raise PageRefusal("Invalid Form", _UNREADABLE, next_step=_ON_THE_DEVICE)
    return form
