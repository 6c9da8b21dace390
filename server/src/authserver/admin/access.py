"""Who may use the admin API: the bearer of a key (admin API, 1.3)."""

import hmac
from collections.abc import Callable
from typing import Protocol

from authserver.admin.operators import OperatorAdministration
from authserver.admin.records import BUILT_IN_OWNER, Operator
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.config.secret import Secret
from authserver.protocol.identifiers import hash_token
from authserver.web.http import HttpRequest
from authserver.web.limits import TokenBuckets, address_key

_SCHEME = "bearer "
_ROW_SECONDS = 60


class Unauthorized(Exception):  # noqa: N818  the word of the admin API
    """The request shows no key that lets anybody in, in one sentence."""


class Gate(Protocol):
    """Knows who sends a request."""

    async def identify(self, request: HttpRequest) -> Operator:
        """Return who it is.

        Raises:
            Unauthorized: Nobody who may send one.
        """


class Access:
    """Knows the operators by their keys."""

    def __init__(
        self,
        api_key: Secret,
        operators: OperatorAdministration,
        trail: AuditTrail,
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """Take what tells one operator from another.

        Args:
            api_key: ``admin.api_key``, the built-in owner's; empty lets nobody in by it.
            operators: Knows all others.
            trail: Where wrong keys are recorded, one row for each address and minute.
            clock: Seconds since the epoch.
            monotonic: Seconds of a clock that never goes back.
        """
        self._owner_key = hash_token(api_key.reveal()) if api_key else None
        self._operators = operators
        self._trail = trail
        self._clock = clock
        self._monotonic = monotonic
        self._recorded = TokenBuckets(rate=1 / _ROW_SECONDS, burst=1)

    async def identify(self, request: HttpRequest) -> Operator:
        """Return who sends a request.

        Raises:
            Unauthorized: There is no key in it, or a wrong, expired or revoked one: all told alike.
        """
        header = request.header(b"authorization") or ""
        key = header[len(_SCHEME) :] if header[: len(_SCHEME)].lower() == _SCHEME else ""
        # Digests have one length, so the time tells nothing, not even that.
        if self._owner_key is not None and hmac.compare_digest(hash_token(key), self._owner_key):
            return BUILT_IN_OWNER
        record = await self._operators.find(key)
        now = self._clock()
        if record is not None and record.is_live(now):
            return record.operator
        if key and not self._recorded.take(address_key(request.client_address), self._monotonic()):
            whose, why = (None, "invalid_key") if record is None else (record.operator.name, "expired_or_revoked")
            event = AuditEvent(Action.ADMIN_AUTH_FAILED, detail=detail(reason=why, operator=whose))
            await self._trail.record_soon(event, now=now)
        if self._owner_key is None:
            raise Unauthorized("admin API key not configured")
        raise Unauthorized("invalid API key" if key else "missing API key")
