"""How often clients may come: to register themselves (rulings R17 and R30), and to the endpoints where they prove themselves."""

from collections.abc import Callable

from authserver.clients.records import Client
from authserver.config.sections.clients import DcrConfig
from authserver.config.sections.listeners import RateLimitConfig
from authserver.protocol.errors import SlowDown
from authserver.telemetry.notes import note
from authserver.web.limits import Buckets, MakeBuckets, TokenBuckets, Unlimited, address_key

IN_TOTAL = 10

_EVERYBODY = ""


class RegistrationLimits:
    """The limits of ``dcr.rate_limit``, whatever ``rate_limit.enabled`` says; off when it is 0 or less.

    Args:
        config: The section ``dcr``.
        monotonic: Seconds of a clock that never goes back.
        make: Makes the buckets, of this process alone or shared by several.
    """

    def __init__(self, config: DcrConfig, *, monotonic: Callable[[], float], make: MakeBuckets = TokenBuckets) -> None:
        self._monotonic = monotonic
        self._by_source: Buckets = Unlimited()
        self._total: Buckets = Unlimited()
        if config.rate_limit > 0:
            self._by_source = make(rate=config.rate_limit, burst=config.rate_limit_burst)
            self._total = make(rate=config.rate_limit * IN_TOTAL, burst=config.rate_limit_burst * IN_TOTAL)

    def check(self, address: str) -> None:
        """Count a registration.

        Args:
            address: The client's.

        Raises:
            SlowDown: This address, or all together, registers too often.
        """
        now = self._monotonic()
        # In this order a source over its own limit takes nothing from the others.
        wait = self._by_source.take(address_key(address), now) or self._total.take(_EVERYBODY, now)
        if wait:
            note("registrations counted", setting="dcr.rate_limit, dcr.rate_limit_burst")
            raise SlowDown(reason="registration_rate_limited", retry_after=wait)


class ClientRates:
    """How often one client may ask for tokens, introspect and revoke, wherever it asks from.

    A client that proved itself is counted by its name alone: others behind its address take nothing from it. The name of a
    public client proves nothing, so it is counted for each address apart, and nobody can spend what is another's.

    Args:
        config: The section ``rate_limit``.
        monotonic: Seconds of a clock that never goes back.
        make: Makes the buckets, of this process alone or shared by several.
    """

    def __init__(
        self, config: RateLimitConfig, *, monotonic: Callable[[], float], make: MakeBuckets = TokenBuckets
    ) -> None:
        self._monotonic = monotonic
        self._buckets: Buckets | None = None
        if config.enabled:
            self._buckets = make(rate=config.client_requests_per_second, burst=config.client_burst)

    def check(self, client: Client, address: str) -> None:
        """Count a request.

        Args:
            client: Who proved to be it, or says so of a public one.
            address: Where the request comes from.

        Raises:
            SlowDown: It asks too often.
        """
        if self._buckets is None:
            return
        key = f"{client.id}\n{address_key(address)}" if client.is_public else client.id
        wait = self._buckets.take(key, self._monotonic())
        if wait:
            note(
                "requests of one client counted",
                client_id=client.id,
                setting="rate_limit.client_requests_per_second, rate_limit.client_burst",
            )
            raise SlowDown(reason="client_rate_limited", retry_after=wait)
