"""The consent page that a link of ours opens, for one user alone (public API §6.4, ruling R12).

A user who says yes here lets a client exchange tokens. No code comes of it, and the browser is sent nowhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from authserver.authorization.answers import redirect
from authserver.authorization.decisions import Decisions
from authserver.authorization.showing import document_host, get_shown_resource, in_catalog_order, note_user
from authserver.authorization.tickets import ConsentLinks, Ticket
from authserver.clients.records import Client
from authserver.clients.store import find_client
from authserver.login.sessions import Sessions, describe_account
from authserver.login.site import Site
from authserver.protocol.errors import OAuthError, PageRefusal
from authserver.protocol.scopes import keep_scopes
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import Resource
from authserver.telemetry.notes import note
from authserver.users.records import Account
from authserver.web.errors import report_refusal
from authserver.web.forms import parse_query, read_form
from authserver.web.http import HttpRequest, HttpResponse
from authserver.web.pages import page


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedConsent:
    """``/authorize`` with a ticket."""

    site: Site
    clock: Callable[[], int]
    links: ConsentLinks
    decisions: Decisions
    sessions: Sessions
    catalog: ResourceCatalog

    async def ask(self, request: HttpRequest) -> HttpResponse:
        """Show the page."""
        now = self.clock()
        text = parse_query(request.query).get("ticket") or ""
        ticket = self._read(text, now=now)
        found = await self.sessions.find(request, now=now)
        path = self._path(text)
        if found is None:
            return redirect(self.site.path(f"/login?redirect={quote(path, safe='')}"))
        _, user = found
        note_user(user)
        if user.id != ticket.user_id:
            return _other_account(user, ticket, path)
        client, resource, scopes = await self._asked(ticket)
        earlier = await self.decisions.find_for(ticket)
        granted = earlier.scopes if earlier else ()
        kept = tuple(scope for scope in granted if scope not in ticket.scopes)
        return page(
            "authorization/consent.html",
            client_name=client.name,
            client_id=client.id,
            client_host=document_host(client),
            resource=resource,
            scopes=in_catalog_order(scopes, resource),
            granted=granted,
            kept=in_catalog_order(kept, resource),
            redirect_host="",
            is_loopback=False,
            account=describe_account(user),
            restart_path=path,
            form_action="authorize",
            form_id_name="ticket",
            form_id=text,
            csrf_token=self.sessions.csrf_token(request, text),
        )

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Take the user's answer: the checks of the consent page, in its order (public API §6.2)."""
        now = self.clock()
        try:
            form = await read_form(request)
        except OAuthError as exc:
            raise PageRefusal("Invalid Form", "The form could not be read.") from exc
        if any(name != "scopes" for name in form.repeated()):
            raise PageRefusal("Invalid Form", "The form could not be read.")
        text = form.get("ticket") or ""
        found = await self.sessions.find(request, now=now)
        if found is None:
            raise PageRefusal("Not Authenticated", "You are not signed in any more.", status=401)
        _, user = found
        note_user(user)
        if not self.sessions.is_own_form(request, text, form.get("csrf_token")):
            raise PageRefusal("Invalid Request", "This answer did not come from our page.", status=403, reason="csrf")
        ticket = self._read(text, now=now)
        if user.id != ticket.user_id:
            return _other_account(user, ticket, self._path(text))
        if form.get("action") == "deny":
            await self.decisions.refuse(ticket, now=now)
            return page(
                "authorization/answered.html", title="Nothing was allowed", message="The application was told no."
            )
        if form.get("action") != "allow":
            raise PageRefusal("Invalid Form", "The form could not be read.")
        return await self._allow(ticket, tuple(form.values("scopes")), now=now)

    async def _allow(self, ticket: Ticket, ticked: tuple[str, ...], *, now: int) -> HttpResponse:
        note("answer compared", result=ticked, requested=ticket.scopes)
        if not ticked:
            raise PageRefusal("No Permissions Selected", "Tick at least one permission, or deny the request.")
        client, resource, scopes = await self._asked(ticket)
        if not set(ticked) <= set(scopes):
            raise PageRefusal("Consent Error", "The form came back altered.", reason="scope_not_asked_for")
        approved = keep_scopes(scopes, within=ticked)
        await self.decisions.allow(ticket, approved, resource=resource.uri or resource.slug, now=now)
        message = f"{document_host(client) or client.name} may now use {resource.title} for you."
        return page("authorization/answered.html", title="Access allowed", message=message)

    async def _asked(self, ticket: Ticket) -> tuple[Client, Resource, tuple[str, ...]]:
        """Return what a ticket names, as it is now."""
        client = await find_client(self.decisions.db, ticket.client_id)
        if client is None or not client.is_active:
            raise PageRefusal(
                "Client Suspended", "This application may not sign people in.", status=403, reason="client_not_active"
            )
        resource = await get_shown_resource(self.catalog, ticket.resource_id)
        if resource is None:
            raise link_expired()
        scopes = keep_scopes(ticket.scopes, within=resource.scope_names)
        if not scopes:
            raise link_expired()
        return client, resource, scopes

    def _read(self, text: str, *, now: int) -> Ticket:
        ticket = self.links.read(text, now=now)
        if ticket is None:
            raise link_expired()
        return ticket

    def _path(self, text: str) -> str:
        return self.site.path(f"/authorize?ticket={quote(text, safe='')}")


def link_expired() -> PageRefusal:
    """Return the refusal of a link that is none of ours, or too old."""
    return PageRefusal("Link Expired", "This link has expired. Start again from your application.")


def _other_account(user: Account, ticket: Ticket, path: str) -> HttpResponse:
    """Answer somebody who opened a link that another user caused (threat X4)."""
    refusal = PageRefusal(
        "Different Account", "This request belongs to a different account.", status=403, reason="different_account"
    )
    note("account compared", expected=ticket.user_id, client_id=ticket.client_id)
    report_refusal(refusal)
    return page(
        "authorization/other_account.html",
        status=403,
        account=describe_account(user),
        restart_path=path,
        reference=refusal.reference,
    )
