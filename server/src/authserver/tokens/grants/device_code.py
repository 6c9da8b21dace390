"""The device authorization grant (RFC 8628 §3.4, §3.5): a device asks until its user has answered."""

from dataclasses import dataclass
from typing import ClassVar

from authserver.audit.events import Action
from authserver.authorization.devices import Devices
from authserver.authorization.records import Authorization, DeviceRequest, IssuedCode
from authserver.authorization.store import find_code
from authserver.clients.records import Client
from authserver.protocol.errors import (
    AuthorizationPending,
    DeviceDenied,
    ExpiredToken,
    InvalidGrant,
    OAuthError,
    PollingTooFast,
)
from authserver.protocol.grant_types import DEVICE_CODE
from authserver.protocol.identifiers import TokenHash, hash_device_code
from authserver.storage.database import Database
from authserver.telemetry.metrics import Counter
from authserver.telemetry.notes import note
from authserver.tokens.grants.entry import GrantEntry, GrantParts, Switch
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import TokenRequest, TokenResponse
from authserver.tokens.redemption import Redemption
from authserver.web.forms import Form

_SPENT = "device code has already been used"
_EXPIRED = "the device code has expired; start again"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCodeGrant:
    """Trades a device code for tokens once its user has allowed it; tells the device to wait until then.

    A poll of a device that waits costs one read and one conditional update, and leaves nothing else behind.
    """

    allows_public_clients: ClassVar[bool] = True
    needs_registration: ClassVar[bool] = True
    denied: ClassVar[Action] = Action.TOKEN_ISSUE_DENIED
    denied_total: ClassVar[Counter | None] = None

    db: Database
    proofs: ProofChecker
    devices: Devices
    redemption: Redemption

    def check_form(self, form: Form) -> None:
        """Check that the request has what the grant needs."""
        form.required("device_code")

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Answer a poll. The steps after the user's yes are those of the code grant (public API §8.2)."""
        request = await self.proofs.check(request, client=client, now=now)
        code_hash = hash_device_code(request.form.required("device_code"))
        waiting = await self.devices.find_polled(code_hash)
        if waiting is not None:
            raise await self._wait(waiting, client=client, now=now)
        issued = await find_code(self.db, code_hash)
        if issued is None:
            note("device code looked up", found="no such code")
            raise InvalidGrant(reason="device_code_unknown", audited=not client.is_public)
        allowed = issued.authorization
        if allowed.consumed_at is not None:
            raise await self._replayed(allowed, request, client=client, now=now)
        _check_allowed(issued, client=client, now=now)
        await self.redemption.check(issued, request, client=client)
        response = await self.redemption.redeem(issued, request, client=client, now=now)
        if response is None:
            raise await self._lost(code_hash, request, client=client, now=now)
        return response

    async def _wait(self, waiting: DeviceRequest, *, client: Client, now: int) -> OAuthError:
        """Return what a device is told that no user has allowed."""
        note(
            "device code looked up",
            found="no user has answered" if waiting.denied_at is None else "a user said no",
            expected=waiting.client_id,
            seconds=waiting.expires_at - now,
        )
        if waiting.client_id != client.id:
            return InvalidGrant(reason="client_mismatch", audited=not client.is_public)
        if waiting.denied_at is not None:
            return DeviceDenied("the user denied the request", reason="user_denied", audited=False)
        if waiting.expires_at <= now:
            return ExpiredToken(_EXPIRED, reason="device_code_expired", audited=False)
        if await self.devices.poll(waiting.device_code_hash, now=now):
            return AuthorizationPending()
        return PollingTooFast("poll less often", reason="polled_too_soon", audited=False)

    async def _lost(self, code_hash: TokenHash, request: TokenRequest, *, client: Client, now: int) -> OAuthError:
        """Return the refusal for a code that could be claimed a moment ago and cannot now."""
        spent = await self.redemption.find_spent(code_hash)
        if spent is None:
            return InvalidGrant(reason="consent_revoked")
        return await self._replayed(spent.authorization, request, client=client, now=now)

    async def _replayed(self, spent: Authorization, request: TokenRequest, *, client: Client, now: int) -> OAuthError:
        # The device code itself is the proof: it never went through a browser, as a redirected code does.
        return await self.redemption.replayed(
            spent, request, client=client, proves_possession=True, spent=_SPENT, now=now
        )


def _check_allowed(issued: IssuedCode, *, client: Client, now: int) -> None:
    """Check that the code is this client's to redeem; a refusal leaves it usable (ruling R3)."""
    allowed = issued.authorization
    note(
        "device code looked up",
        found="a user allowed it",
        expected=allowed.client_id,
        user_id=allowed.user_id,
        seconds=(issued.expires_at or 0) - now,
    )
    if allowed.client_id != client.id:
        raise InvalidGrant(reason="client_mismatch", audited=not client.is_public)
    if allowed.revoked_at is not None:
        raise InvalidGrant(reason="code_revoked")
    if issued.expires_at is None or issued.expires_at <= now:
        raise ExpiredToken(_EXPIRED, reason="device_code_expired", audited=False)


def _build(parts: GrantParts) -> DeviceCodeGrant:
    return DeviceCodeGrant(db=parts.db, proofs=parts.proofs, devices=parts.devices, redemption=parts.redemption)


ENTRY = GrantEntry(
    grant_type=DEVICE_CODE,
    operation="DeviceService.ExchangeCode",
    build=_build,
    switch=Switch(feature="device_code", key="device.enabled"),
)
