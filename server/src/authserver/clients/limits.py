"""How often clients may register themselves: per address and in total, per process (rulings R17 and R30)."""

from collections.abc import Callable

from authserver.config.sections.clients import DcrConfig
from authserver.protocol.errors import SlowDown
from authserver.telemetry.notes import note
from authserver.web.limits import TokenBuckets, address_key

IN_TOTAL = 10

_EVERYBODY = ""


class RegistrationLimits:
    """The limits of ``dcr.rate_limit``, whatever ``rate_limit.enabled`` says; off when it is 0 or less.

    Args:
        config: The section ``dcr``.
        monotonic: Seconds of a clock that never goes back.
    """

    def __init__(self, config: DcrConfig, *, monotonic: Callable[[], float]) -> None:
        self._is_on = config.rate_limit > 0
        self._monotonic = monotonic
        self._by_source = TokenBuckets(rate=config.rate_limit, burst=config.rate_limit_burst)
        self._total = TokenBuckets(rate=config.rate_limit * IN_TOTAL, burst=config.rate_limit_burst * IN_TOTAL)

    def check(self, address: str) -> None:
        """Count a registration.

        Args:
            address: The client's.

        Raises:
            SlowDown: This address, or all together, registers too often.
        """
        if not self._is_on:
            return
        now = self._monotonic()
        # In this order a source over its own limit takes nothing from the others.
        if not (self._by_source.take(address_key(address), now) and self._total.take(_EVERYBODY, now)):
            note("registrations counted", setting="dcr.rate_limit, dcr.rate_limit_burst")
            raise SlowDown(reason="registration_rate_limited")
