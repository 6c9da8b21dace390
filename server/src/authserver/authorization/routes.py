"""The authorization endpoint and the consent page: parameters in, a redirect or a page out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urlencode

from authserver.authorization.answers import code_answer, error_answer, redirect
from authserver.authorization.consent import is_covered
from authserver.authorization.decisions import Decisions
from authserver.authorization.linked import LinkedConsent, link_expired
from authserver.authorization.records import ActiveConsent, AuthorizationRequest, PendingAuthorization
from authserver.authorization.request import RequestChecker
from authserver.authorization.showing import (
    document_host,
    get_shown_resource,
    in_catalog_order,
    is_from_document,
    note_user,
)
from authserver.authorization.sign_in import SignInDemands
from authserver.clients.lookup import ClientResolver
from authserver.clients.records import Client
from authserver.clients.store import find_client
from authserver.login.records import LoginSession
from authserver.login.sessions import Sessions, describe_account
from authserver.login.site import Site
from authserver.protocol.client_id_urls import is_client_id_url
from authserver.protocol.errors import (
    AccessDenied,
    ConsentRequired,
    InvalidRequest,
    LoginRequired,
    OAuthError,
    PageRefusal,
    ServerError,
    TemporarilyUnavailable,
)
from authserver.protocol.identifiers import parse_id, spell_id
from authserver.protocol.redirect_uris import form_action_source, is_loopback, match_redirect_uri, redirect_host
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import Resource
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.telemetry.notes import note
from authserver.telemetry.spans import annotate
from authserver.users.records import Account
from authserver.web.forms import LONGEST, Form, parse_query, read_form
from authserver.web.http import MAX_TARGET_BYTES, ErrorShape, HttpRequest, HttpResponse, Route
from authserver.web.pages import page

_log = get_logger("authorization")

_LONGEST_SESSION_ID = 64
_UNREADABLE = "The form could not be read."
_EXPIRED = "This request has expired or belongs to somebody else. Start again from your application."


# What spans call it.
_AUTHORIZE, _DECIDE = "AuthorizationService.Authorize", "ConsentService.Decide"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationPages:
    """``/oauth/authorize`` and ``/consent``."""

    issuer: str
    site: Site
    clock: Callable[[], int]
    clients: ClientResolver
    checker: RequestChecker
    decisions: Decisions
    sessions: Sessions
    demands: SignInDemands
    catalog: ResourceCatalog
    linked: LinkedConsent

    def routes(self) -> list[Route]:
        """Mount them; ``/authorize`` is what clients guess that do not read the metadata (ruling R12)."""
        return [
            Route(
                path="/oauth/authorize",
                endpoints={"GET": self.authorize},
                errors=ErrorShape.PAGE,
                operations={"GET": _AUTHORIZE},
            ),
            Route(
                path="/authorize",
                endpoints={"GET": self.alias, "POST": self.linked.answer},
                errors=ErrorShape.PAGE,
                operations={"GET": _AUTHORIZE, "POST": _DECIDE},
            ),
            Route(
                path="/consent",
                endpoints={"GET": self.ask, "POST": self.answer},
                errors=ErrorShape.PAGE,
                operations={"GET": "ConsentService.Show", "POST": _DECIDE},
            ),
        ]

    async def authorize(self, request: HttpRequest) -> HttpResponse:
        """Serve an authorization request (public API §4.2). Nothing redirects before the redirect URI is the client's."""
        now = self.clock()
        form = parse_query(request.query, skip_unreadable=True)
        client = await self._find_client(form, address=request.client_address, now=now)  # 1, 2
        redirect_uri = _trusted_redirect(form, client)  # 3
        try:
            asked = await self.checker.check(form, client=client, redirect_uri=redirect_uri)  # 4 to 9
            return await self._continue(request, form, asked, now=now)  # 10 to 13
        except OAuthError as exc:
            return self._refuse(redirect_uri, form, exc, client_id=client.id)
        except StorageUnavailable:
            refusal = TemporarilyUnavailable("the server is temporarily unavailable", reason="database_unavailable")
            return self._refuse(redirect_uri, form, refusal, client_id=client.id)
        except Exception:  # noqa: BLE001  a client waits at its redirect URI: it is told there, as RFC 6749 §4.1.2.1 has it
            fault = ServerError(reason="internal_error")
            _log.exception("authorization request failed", client_id=client.id, reference=fault.reference)
            return self._refuse(redirect_uri, form, fault, client_id=client.id)

    async def alias(self, request: HttpRequest) -> HttpResponse:
        """Serve ``/authorize``: the same endpoint, unless a link of ours was opened."""
        form = parse_query(request.query, skip_unreadable=True)
        if form.get("ticket"):
            return await self.linked.ask(request)
        if not (form.get("response_type") or form.get("client_id")):
            raise link_expired()
        return await self.authorize(request)

    async def _find_client(self, form: Form, *, address: str, now: int) -> Client:
        client_id = form.get("client_id")
        note("parameters read", client_id=client_id or "")
        repeated = form.repeated()
        if "client_id" in repeated or "redirect_uri" in repeated:
            raise PageRefusal(
                "Authorization Error", "The application sent a parameter twice.", reason="parameter_repeated"
            )
        client = await self.clients.resolve(client_id, address=address, now=now) if client_id else None
        if client is None:
            raise PageRefusal(
                "Invalid Client",
                "This server does not know the application, or could not read the document that describes it.",
                reason="client_document_unusable" if is_client_id_url(client_id or "") else "client_unknown",
            )
        annotate(client_id=client.id)
        if not client.is_active:
            raise PageRefusal(
                "Client Suspended", "This application may not sign people in.", status=403, reason="client_not_active"
            )
        return client

    async def _continue(
        self, request: HttpRequest, form: Form, asked: AuthorizationRequest, *, now: int
    ) -> HttpResponse:
        """Find out who is signed in and whether they need to be asked."""
        demand = self.demands.read(form)
        prompt = demand.prompt
        found = await self.sessions.find_by(partial(self.decisions.find_signed_in, asked), request, now=now)
        if found is None or not demand.is_met(found[0], now=now):  # 10, 11
            if "none" in prompt:
                reason = "nobody is signed in" if found is None else "the user signed in too long ago"
                note("sign-in looked for", found=reason)
                raise LoginRequired(reason)
            return self._to_login(request, form, found[0] if found else None, now=now)
        session, (user, consent) = found
        note_user(user)
        # A redirect of ours can stand between another site and this request, so only a browser that says that its user
        # came directly, or says nothing at all, is taken to have done so (ruling R27).
        cross_site = request.header(b"sec-fetch-site") not in {None, "none"}
        if "consent" not in prompt and is_covered(asked, consent, cross_site=cross_site):  # 12
            code = await self.decisions.issue_code(asked, session, now=now)  # 13
            return code_answer(asked.redirect_uri, code=code, state=asked.state, issuer=self.issuer)
        if "none" in prompt:
            note("consent looked for", found="none that covers these scopes and this redirect URI", result=asked.scopes)
            raise ConsentRequired("the user has not agreed yet")
        session_id = await self.decisions.open(asked, session, now=now)
        return redirect(self.site.path(f"/consent?session_id={spell_id(session_id)}"))

    def _to_login(self, request: HttpRequest, form: Form, seen: LoginSession | None, *, now: int) -> HttpResponse:
        """Send the browser to sign in and back to this request; a session that is good, but too old, stays until then."""
        target = self.site.path(f"{request.path}?{self.demands.mark(request.query, form, seen=seen, now=now)}")
        location = self.site.path(f"/login?redirect={quote(target, safe='')}")
        if len(location) > MAX_TARGET_BYTES:
            raise InvalidRequest("the request is too long to be kept through a sign-in", reason="request_too_long")
        answer = redirect(location)
        return answer if seen else self._signed_out(request, answer)

    def _signed_out(self, request: HttpRequest, answer: HttpResponse) -> HttpResponse:
        """Return an answer that also takes back a cookie which is no longer good."""
        return HttpResponse(answer.status, answer.body, (*answer.headers, *self.sessions.clear_if_sent(request)))

    def _refuse(self, redirect_uri: str, form: Form, exc: OAuthError, *, client_id: str) -> HttpResponse:
        state = form.get("state") or ""
        # One beyond the limit is what is refused: nothing that long is sent anywhere.
        kept = state if len(state) <= LONGEST["state"] else ""
        return error_answer(redirect_uri, exc, client_id=client_id, state=kept, issuer=self.issuer)

    async def ask(self, request: HttpRequest) -> HttpResponse:
        """Show the consent page (public API §6.1)."""
        now = self.clock()
        form = parse_query(request.query)
        session_id = form.get("session_id")
        if session_id is None or len(session_id) > _LONGEST_SESSION_ID or form.repeated():
            raise PageRefusal(
                "Missing Session", "This page needs a request to show. Start again from your application."
            )
        found = await self.sessions.find(request, now=now)
        if found is None:
            target = self.site.path(f"/consent?session_id={quote(session_id, safe='')}")
            return self._signed_out(request, redirect(self.site.path(f"/login?redirect={quote(target, safe='')}")))
        _, user = found
        note_user(user)
        pending = await self._find_pending(session_id, user, now=now)
        if pending is None:
            raise PageRefusal("Invalid Session", _EXPIRED)
        client = await find_client(self.decisions.db, pending.client_id)
        if client is None or not client.is_active:
            raise PageRefusal(
                "Client Suspended", "This application may not sign people in.", status=403, reason="client_not_active"
            )
        resource = await get_shown_resource(self.catalog, pending.resource_id)
        earlier = await self.decisions.find_earlier(pending)
        return self._consent_page(request, pending, client=client, user=user, resource=resource, earlier=earlier)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Take the user's answer (public API §6.2)."""
        now = self.clock()
        try:
            form = await read_form(request)  # 1
        except OAuthError as exc:
            raise PageRefusal("Invalid Form", _UNREADABLE) from exc
        if any(name != "scopes" for name in form.repeated()):
            raise PageRefusal("Invalid Form", _UNREADABLE)
        session_id = form.get("session_id") or ""
        found = await self.sessions.find(request, now=now)  # 2
        if found is None:
            raise PageRefusal("Not Authenticated", "You are not signed in any more.", status=401)
        session, user = found
        note_user(user)
        if not self.sessions.is_own_form(request, session_id, form.get("csrf_token")):  # 3
            raise PageRefusal("Invalid Request", "This answer did not come from our page.", status=403, reason="csrf")
        pending = await self._find_pending(session_id, user, now=now)
        if form.get("action") == "deny":  # 4
            return await self._denied(pending, now=now)
        if form.get("action") != "allow":  # 5
            raise PageRefusal("Invalid Form", _UNREADABLE)
        return await self._approved(pending, tuple(form.values("scopes")), session, now=now)

    async def _denied(self, pending: PendingAuthorization | None, *, now: int) -> HttpResponse:
        refusal = AccessDenied("the user denied the request", reason="user_denied")
        if pending is None or not await self.decisions.deny(pending, reference=refusal.reference, now=now):
            raise PageRefusal("Invalid Session", _EXPIRED)
        return error_answer(
            pending.redirect_uri, refusal, client_id=pending.client_id, state=pending.state, issuer=self.issuer
        )

    async def _approved(
        self, pending: PendingAuthorization | None, ticked: tuple[str, ...], session: LoginSession, *, now: int
    ) -> HttpResponse:
        note("answer compared", result=ticked, requested=pending.scopes if pending else None)
        if not ticked:  # 6
            raise PageRefusal("No Permissions Selected", "Tick at least one permission, or deny the request.")
        if pending is None:  # 8
            raise PageRefusal("Consent Error", _EXPIRED, reason="invalid_session")
        if not set(ticked) <= set(pending.scopes):
            raise PageRefusal("Consent Error", _EXPIRED, reason="scope_not_asked_for")
        client = await find_client(self.decisions.db, pending.client_id)
        if client is None or not client.is_active:
            raise PageRefusal("Consent Error", "This application may not sign people in.", reason="client_not_active")
        try:
            await get_shown_resource(self.catalog, pending.resource_id)
        except PageRefusal as exc:
            raise PageRefusal("Consent Error", exc.message, reason=exc.reason) from exc
        approved = tuple(scope for scope in pending.scopes if scope in ticked)
        code = await self.decisions.approve(pending, approved, session, now=now)
        return code_answer(pending.redirect_uri, code=code, state=pending.state, issuer=self.issuer)

    async def _find_pending(self, session_id: str, user: Account, *, now: int) -> PendingAuthorization | None:
        identifier = parse_id(session_id)
        pending = None if identifier is None else await self.decisions.find(identifier, user_id=user.id, now=now)
        if pending is None:
            note("pending request looked up", found="none that waits for this user: unknown, answered or expired")
        else:
            note("pending request looked up", found="it waits", client_id=pending.client_id)
            annotate(client_id=pending.client_id)
        return pending

    def _consent_page(
        self,
        request: HttpRequest,
        pending: PendingAuthorization,
        *,
        client: Client,
        user: Account,
        resource: Resource | None,
        earlier: ActiveConsent | None,
    ) -> HttpResponse:
        session_id = spell_id(pending.id)
        granted = earlier.scopes if earlier else ()
        kept = tuple(scope for scope in granted if scope not in pending.scopes)
        return page(
            "authorization/consent.html",
            csp_form_action=form_action_source(pending.redirect_uri),
            client_name=client.name,
            client_id=client.id,
            client_host=document_host(client),
            resource=resource,
            scopes=in_catalog_order(pending.scopes, resource),
            granted=granted,
            kept=in_catalog_order(kept, resource),
            redirect_host=redirect_host(pending.redirect_uri),
            is_loopback=is_loopback(pending.redirect_uri),
            account=describe_account(user),
            restart_path=self.site.path(f"/oauth/authorize?{_restate(pending, resource)}"),
            form_action="consent",
            form_id_name="session_id",
            form_id=session_id,
            csrf_token=self.sessions.csrf_token(request, session_id),
        )


def _trusted_redirect(form: Form, client: Client) -> str:
    """Return the redirect URI when it is the client's; before that nothing may redirect (threat-model T6)."""
    redirect_uri = form.get("redirect_uri")
    matched = None if redirect_uri is None else match_redirect_uri(redirect_uri, client.redirect_uris)
    note("redirect URI compared", redirect_uri=redirect_uri, registered=client.redirect_uris, matched=matched)
    if redirect_uri is None or matched is None:
        raise PageRefusal(
            "Invalid Redirect URI",
            "The application asked to send you to an address that is not registered for it.",
            reason="redirect_uri_not_in_document" if is_from_document(client) else "redirect_uri_mismatch",
        )
    return redirect_uri


def _restate(pending: PendingAuthorization, resource: Resource | None) -> str:
    """Return the query of a pending request, so that another account can be asked the same.

    That account is asked even if it agreed before: the request may have demanded so, and who changes accounts on a page
    that asks expects to see it again.
    """
    parameters = {
        "response_type": "code",
        "client_id": pending.client_id,
        "redirect_uri": pending.redirect_uri,
        "scope": pending.scope,
        "state": pending.state,
        "resource": resource.slug if resource else "",
        "code_challenge": pending.code_challenge,
        "code_challenge_method": "S256",
        "dpop_jkt": pending.dpop_jkt or "",
        "prompt": "consent",
    }
    return urlencode({name: value for name, value in parameters.items() if value})
