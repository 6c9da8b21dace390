"""Devices without a browser: they ask, wait, and are answered by a user elsewhere (RFC 8628)."""

from dataclasses import dataclass

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.consent_store import find_consent
from authserver.authorization.decisions import ClockMs, Consented, remember, write_consent
from authserver.authorization.device_store import (
    deny_device_request,
    find_by_device_code,
    find_by_user_code,
    find_device_request,
    insert_device_request,
    poll_device_request,
    take_device_request,
)
from authserver.authorization.records import ActiveConsent, AuthorizationRequest, DeviceRequest
from authserver.authorization.store import insert_authorization
from authserver.config.sections.grants import DeviceConfig
from authserver.login.records import LoginSession
from authserver.protocol.errors import PageRefusal, SlowDown
from authserver.protocol.identifiers import TokenHash, hash_device_code, new_id, new_secret
from authserver.protocol.user_codes import new_user_code
from authserver.storage.database import Database, UniqueViolation, Writer
from authserver.telemetry.metrics import AUTH_FLOW_DURATION, CONSENT_DECISIONS
from authserver.telemetry.notes import note

COLLECTED_WITHIN = 60
"""Seconds that a device has at least, after its user's yes, to come for its tokens."""

_TRIES = 5
_BUSY_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedDevice:
    """What a device is told when it has asked (RFC 8628 §3.2).

    Attributes:
        user_code: Eight letters.
        expires_in: Seconds.
        interval: Seconds between two polls at least.
    """

    device_code: str
    user_code: str
    expires_in: int
    interval: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Keeps what devices ask for, and writes what users answer."""

    db: Database
    trail: AuditTrail
    clock_ms: ClockMs
    config: DeviceConfig

    async def start(self, asked: AuthorizationRequest, *, now: int) -> StartedDevice:
        """Keep a request until a user has answered it.

        Raises:
            SlowDown: As many devices wait as may.
        """
        for _ in range(_TRIES):
            started = StartedDevice(
                device_code=new_secret(),
                user_code=new_user_code(),
                expires_in=self.config.code_ttl,
                interval=self.config.interval,
            )
            try:
                if await self._insert(asked, started, now=now):
                    return started
            except UniqueViolation:
                # Another device has this user code: once in millions of times.
                continue
            break
        note("waiting devices counted", found="as many as there is room for")
        raise SlowDown("too many devices are waiting", reason="devices_full", retry_after=_BUSY_SECONDS)

    async def find_waiting(self, user_code: str, *, now: int) -> DeviceRequest | None:
        """Return what the device with this code asks for, while it waits for an answer."""
        return _waiting(await find_by_user_code(self.db, user_code), now=now)

    async def find_shown(self, request_id: bytes, *, now: int) -> DeviceRequest | None:
        """Return what a page asked a user about, while it waits for an answer."""
        return _waiting(await find_device_request(self.db, request_id), now=now)

    async def find_polled(self, device_code_hash: TokenHash) -> DeviceRequest | None:
        """Return what a device asks for, unless a user has allowed it; also one that was denied or has expired."""
        return await find_by_device_code(self.db, device_code_hash)

    async def poll(self, device_code_hash: TokenHash, *, now: int) -> bool:
        """Count a poll of a device that waits; False when it came too soon, and has a longer interval from now on."""
        return await self.db.write(lambda tx: poll_device_request(tx, device_code_hash, now=now))

    async def find_earlier(self, request: DeviceRequest, *, user_id: str) -> ActiveConsent | None:
        """Return what the user allowed the client at this Resource before, or None."""
        if request.resource_id is None:
            return None
        return await find_consent(
            self.db, user_id=user_id, client_id=request.client_id, resource_id=request.resource_id
        )

    async def approve(
        self, request: DeviceRequest, approved: tuple[str, ...], session: LoginSession, *, now: int
    ) -> None:
        """Write the user's yes: the request becomes an authorization whose code is the device code.

        Args:
            request: What the page showed.
            approved: The scopes that were left ticked, all of them requested ones.
            session: That of the browser in which a user said so.
            now: Seconds since the epoch.

        Raises:
            PageRefusal: Another answer was faster, time ran out meanwhile, or the Resource was deleted.
        """
        user_id, scope = session.user_id, " ".join(approved)
        resource = request.resource or request.resource_id
        event = AuditEvent(
            Action.CONSENT_GRANTED,
            actor_id=user_id,
            client_id=request.client_id,
            detail=detail(resource=resource, scopes=scope) if resource else "",
        )
        allowed = AuthorizationRequest(
            client_id=request.client_id,
            redirect_uri="",
            scopes=approved,
            resource_id=request.resource_id,
            resource=request.resource,
            state="",
            code_challenge="",
            dpop_jkt=request.dpop_jkt,
        )

        async def approve(tx: Writer) -> bool:
            if not await take_device_request(tx, request.id, now=now):
                return False
            await insert_authorization(
                tx,
                request.id,
                allowed,
                user_id=user_id,
                code_hash=request.device_code_hash,
                consented=request.resource_id is not None,
                now=now,
                expires_at=max(request.expires_at, now + COLLECTED_WITHIN),
                authenticated_at=session.authenticated_at,
            )
            await self._remember(tx, request, approved, user_id=user_id, now=now)
            await self.trail.append(tx, event, now=now)
            return True

        if not await write_consent(self.db, approve):
            raise PageRefusal(
                "Consent Error",
                "This device was answered already, or its code has expired. Start again on the device.",
                reason="device_answered",
            )
        CONSENT_DECISIONS.inc("granted")
        AUTH_FLOW_DURATION.observe(now - request.created_at)

    async def deny(self, request: DeviceRequest, *, user_id: str, now: int) -> bool:
        """Write the user's no, for the device to hear. False when another answer was faster, or time ran out."""
        event = AuditEvent(
            Action.CONSENT_DENIED, actor_id=user_id, client_id=request.client_id, detail=detail(session=request.id)
        )

        async def deny(tx: Writer) -> bool:
            if not await deny_device_request(tx, request.id, now=now):
                return False
            await self.trail.append(tx, event, now=now)
            return True

        denied = await self.db.write(deny)
        if denied:
            CONSENT_DECISIONS.inc("denied")
        return denied

    async def _insert(self, asked: AuthorizationRequest, started: StartedDevice, *, now: int) -> bool:
        return await self.db.write(
            lambda tx: insert_device_request(
                tx,
                new_id(self.clock_ms()),
                asked,
                device_code_hash=hash_device_code(started.device_code),
                user_code=started.user_code,
                interval=started.interval,
                now=now,
                expires_at=now + started.expires_in,
            )
        )

    async def _remember(
        self, tx: Writer, request: DeviceRequest, approved: tuple[str, ...], *, user_id: str, now: int
    ) -> None:
        if request.resource_id is None:
            return
        consented = Consented(
            user_id=user_id,
            client_id=request.client_id,
            resource_id=request.resource_id,
            shown=request.scopes,
            approved=approved,
            redirect_uri=None,
        )
        await remember(tx, consented, new_id(self.clock_ms()), now=now)


def _waiting(request: DeviceRequest | None, *, now: int) -> DeviceRequest | None:
    if request is None or not request.waits(now=now):
        note("device request looked up", found="none that waits: unknown, answered or expired")
        return None
    note("device request looked up", found="it waits", client_id=request.client_id)
    return request
