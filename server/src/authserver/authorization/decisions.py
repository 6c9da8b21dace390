"""What a signed-in user's request leads to: a code at once, a question, or the user's answer to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.consent import merge_redirects, merge_scopes
from authserver.authorization.consent_store import (
    find_consent,
    find_signed_in_and_consent,
    lock_consent,
    save_consent,
)
from authserver.authorization.records import ActiveConsent, AuthorizationRequest, ConsentGrant, PendingAuthorization
from authserver.authorization.store import attach_code, delete_pending, find_pending, insert_authorization
from authserver.authorization.tickets import Ticket
from authserver.login.records import LoginSession
from authserver.protocol.errors import PageRefusal
from authserver.protocol.identifiers import hash_token, new_id, new_secret
from authserver.storage.database import Database, ReferenceViolation, Writer
from authserver.telemetry.metrics import AUTH_FLOW_DURATION, CONSENT_DECISIONS
from authserver.users.records import Account

T = TypeVar("T")

LIFETIME = 600
"""Seconds that a pending request lives, and then, anew, its code (public API §4.2)."""


class ClockMs(Protocol):
    """Milliseconds since the epoch."""

    def __call__(self) -> int:
        """Return the time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Consented:
    """What a user has allowed on a page.

    Attributes:
        shown: The scopes that the page asked about.
        approved: Those that were left ticked.
        redirect_uri: Where the answer goes; None where nothing is redirected, and the consent covers no redirect URI.
    """

    user_id: str
    client_id: str
    resource_id: str
    shown: tuple[str, ...]
    approved: tuple[str, ...]
    redirect_uri: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Writes what users decide, and remembers it."""

    db: Database
    trail: AuditTrail
    clock_ms: ClockMs

    def find_signed_in(
        self, request: AuthorizationRequest, session: LoginSession
    ) -> Awaitable[tuple[Account, ActiveConsent | None] | None]:
        """Return who is signed in and what they allowed the client at this Resource before; None when nobody is."""
        return find_signed_in_and_consent(
            self.db,
            session.user_id,
            epoch=session.epoch,
            client_id=request.client_id,
            resource_id=request.resource_id,
        )

    async def issue_code(self, request: AuthorizationRequest, session: LoginSession, *, now: int) -> str:
        """Return a code for a request that a remembered consent covers."""
        code = new_secret()
        await self._insert(request, session, code=code, now=now)
        AUTH_FLOW_DURATION.observe(0)
        return code

    async def open(self, request: AuthorizationRequest, session: LoginSession, *, now: int) -> bytes:
        """Keep a request until its user has answered; return the session id of the consent page."""
        return await self._insert(request, session, code=None, now=now)

    async def find(self, session_id: bytes, *, user_id: str, now: int) -> PendingAuthorization | None:
        """Return a request that waits for this user, or None."""
        return await find_pending(self.db, session_id, user_id=user_id, now=now)

    async def find_earlier(self, pending: PendingAuthorization) -> ActiveConsent | None:
        """Return what the user allowed the client at this Resource before, or None."""
        if pending.resource_id is None:
            return None
        return await find_consent(
            self.db, user_id=pending.user_id, client_id=pending.client_id, resource_id=pending.resource_id
        )

    async def approve(
        self, pending: PendingAuthorization, approved: tuple[str, ...], session: LoginSession, *, now: int
    ) -> str:
        """Write the user's yes and the code in one transaction; return the code.

        Args:
            pending: The request the page showed.
            approved: The scopes that were left ticked, all of them requested ones.
            session: That of the browser in which the user said so.
            now: Seconds since the epoch.

        Raises:
            PageRefusal: Another submit of the same page was faster, or time ran out meanwhile.
        """
        code = new_secret()
        scope = " ".join(approved)
        resource = pending.resource or pending.resource_id
        event = AuditEvent(
            Action.CONSENT_GRANTED,
            actor_id=pending.user_id,
            client_id=pending.client_id,
            detail=detail(resource=resource, scopes=scope) if resource else "",
        )

        async def approve(tx: Writer) -> bool:
            if not await attach_code(
                tx,
                pending.id,
                hash_token(code),
                user_id=pending.user_id,
                scope=scope,
                consented=pending.resource_id is not None,
                now=now,
                expires_at=now + LIFETIME,
                authenticated_at=session.authenticated_at,
            ):
                return False
            if pending.resource_id is not None:
                consented = Consented(
                    user_id=pending.user_id,
                    client_id=pending.client_id,
                    resource_id=pending.resource_id,
                    shown=pending.scopes,
                    approved=approved,
                    redirect_uri=pending.redirect_uri,
                )
                await remember(tx, consented, new_id(self.clock_ms()), now=now)
            await self.trail.append(tx, event, now=now)
            return True

        if not await write_consent(self.db, approve):
            raise PageRefusal(
                "Consent Error",
                "This request was answered already or has expired. Start again from your application.",
                reason="invalid_session",
            )
        CONSENT_DECISIONS.inc("granted")
        AUTH_FLOW_DURATION.observe(now - pending.created_at)
        return code

    async def deny(self, pending: PendingAuthorization, *, reference: str, now: int) -> bool:
        """Delete the request: the user said no. False when another answer was faster.

        Args:
            pending: The request the page showed.
            reference: The reference id of the refusal that the client is sent.
            now: Seconds since the epoch.
        """
        event = AuditEvent(
            Action.CONSENT_DENIED,
            actor_id=pending.user_id,
            client_id=pending.client_id,
            detail=detail(session=pending.id),
            reference=reference,
        )

        async def deny(tx: Writer) -> bool:
            if not await delete_pending(tx, pending.id, user_id=pending.user_id):
                return False
            await self.trail.append(tx, event, now=now)
            return True

        denied = await self.db.write(deny)
        if denied:
            CONSENT_DECISIONS.inc("denied")
        return denied

    async def find_for(self, ticket: Ticket) -> ActiveConsent | None:
        """Return what the user of a link allowed the client at this Resource before, or None."""
        return await find_consent(
            self.db, user_id=ticket.user_id, client_id=ticket.client_id, resource_id=ticket.resource_id
        )

    async def allow(self, ticket: Ticket, approved: tuple[str, ...], *, resource: str, now: int) -> None:
        """Write the yes of a user who came by a link. It approves no redirect URI, and nothing is sent anywhere.

        Args:
            ticket: What the link asks for.
            approved: The scopes that were left ticked, all of them shown ones.
            resource: How the audit trail names the Resource.
            now: Seconds since the epoch.
        """
        event = AuditEvent(
            Action.CONSENT_GRANTED,
            actor_id=ticket.user_id,
            client_id=ticket.client_id,
            detail=detail(resource=resource, scopes=approved),
        )

        async def allow(tx: Writer) -> None:
            earlier = await lock_consent(
                tx, user_id=ticket.user_id, client_id=ticket.client_id, resource_id=ticket.resource_id
            )
            grant = ConsentGrant(
                id=new_id(self.clock_ms()),
                user_id=ticket.user_id,
                client_id=ticket.client_id,
                resource_id=ticket.resource_id,
                scopes=merge_scopes(ticket.scopes, approved, earlier.scopes if earlier else ()),
                redirect_uris=earlier.redirect_uris if earlier else (),
                created_at=now,
                updated_at=now,
                revoked_at=None,
            )
            await save_consent(tx, grant)
            await self.trail.append(tx, event, now=now)

        await write_consent(self.db, allow)
        CONSENT_DECISIONS.inc("granted")

    async def refuse(self, ticket: Ticket, *, now: int) -> None:
        """Note the no of a user who came by a link: there is nothing to delete."""
        event = AuditEvent(Action.CONSENT_DENIED, actor_id=ticket.user_id, client_id=ticket.client_id)
        await self.trail.record(event, now=now)
        CONSENT_DECISIONS.inc("denied")

    async def _insert(
        self, request: AuthorizationRequest, session: LoginSession, *, code: str | None, now: int
    ) -> bytes:
        identifier = new_id(self.clock_ms())
        code_hash = hash_token(code) if code is not None else None
        await self.db.write(
            lambda tx: insert_authorization(
                tx,
                identifier,
                request,
                user_id=session.user_id,
                code_hash=code_hash,
                consented=code is not None,
                now=now,
                expires_at=now + LIFETIME,
                # Of a request that waits, the session that answers it counts.
                authenticated_at=session.authenticated_at if code is not None else None,
            )
        )
        return identifier


async def write_consent(db: Database, transaction: Callable[[Writer], Awaitable[T]]) -> T:
    """Run the transaction in which a user's yes is written.

    Raises:
        PageRefusal: The Resource was deleted since the catalogue was read, here or by another process; nothing was written.
    """
    try:
        return await db.write(transaction)
    except ReferenceViolation as exc:
        raise PageRefusal(
            "Unknown Resource", "The server that the application asked for is not there any more."
        ) from exc


async def remember(tx: Writer, consented: Consented, grant_id: bytes, *, now: int) -> None:
    """Write a consent as it shall stand: merged with the one there is, which is locked until the commit.

    Args:
        tx: The transaction.
        consented: What the user has just allowed.
        grant_id: The id of the consent if it is the first.
        now: Seconds since the epoch.
    """
    earlier = await lock_consent(
        tx, user_id=consented.user_id, client_id=consented.client_id, resource_id=consented.resource_id
    )
    granted = earlier.redirect_uris if earlier else ()
    grant = ConsentGrant(
        id=grant_id,
        user_id=consented.user_id,
        client_id=consented.client_id,
        resource_id=consented.resource_id,
        scopes=merge_scopes(consented.shown, consented.approved, earlier.scopes if earlier else ()),
        redirect_uris=granted if consented.redirect_uri is None else merge_redirects(consented.redirect_uri, granted),
        created_at=now,
        updated_at=now,
        revoked_at=None,
    )
    await save_consent(tx, grant)
