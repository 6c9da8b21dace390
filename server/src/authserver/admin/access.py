"""Who may use the admin API: the bearer of a key (admin API, 1.3)."""

import hashlib
import hmac
from collections.abc import Callable

from authserver.admin.roles import BUILT_IN_OWNER, Operator
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.config.secret import Secret
from authserver.web.http import HttpRequest
from authserver.web.limits import TokenBuckets, address_key

_SCHEME = "bearer "
_ROW_SECONDS = 60


class Unauthorized(Exception):  # noqa: N818  the word of the admin API
    """The request shows no key that is known, in one sentence."""


class Access:
    """Knows the operators by their keys."""

    def __init__(
        self, api_key: Secret, trail: AuditTrail, *, clock: Callable[[], int], monotonic: Callable[[], float]
    ) -> None:
        """Take the built-in owner's key.

        Args:
            api_key: ``admin.api_key``; empty lets nobody in by it.
            trail: Where wrong keys are recorded, one row for each address and minute.
            clock: Seconds since the epoch.
            monotonic: Seconds of a clock that never goes back.
        """
        self._owner_key = _digest(api_key.reveal()) if api_key else None
        self._trail = trail
        self._clock = clock
        self._monotonic = monotonic
        self._recorded = TokenBuckets(rate=1 / _ROW_SECONDS, burst=1)

    async def identify(self, request: HttpRequest) -> Operator:
        """Return who sends a request.

        Raises:
            Unauthorized: There is no key in it, a wrong one, or none that could be right.
        """
        if self._owner_key is None:
            raise Unauthorized("admin API key not configured")
        header = request.header(b"authorization") or ""
        key = header[len(_SCHEME) :] if header[: len(_SCHEME)].lower() == _SCHEME else ""
        if not key:
            raise Unauthorized("missing API key")
        # Digests have one length, so the time tells nothing, not even that.
        if hmac.compare_digest(_digest(key), self._owner_key):
            return BUILT_IN_OWNER
        if not self._recorded.take(address_key(request.client_address), self._monotonic()):
            event = AuditEvent(Action.ADMIN_AUTH_FAILED, detail=detail(reason="invalid_key"))
            await self._trail.record_soon(event, now=self._clock())
        raise Unauthorized("invalid API key")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
