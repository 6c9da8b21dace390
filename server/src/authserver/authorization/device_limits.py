"""How often devices may be started, and user codes guessed (RFC 8628 §5.1; threats of device codes)."""

from collections.abc import Callable

from authserver.protocol.errors import SlowDown
from authserver.telemetry.notes import note
from authserver.web.limits import Buckets, MakeBuckets, TokenBuckets, address_key, site_key

STARTS_PER_SECOND = 1.0
STARTS_AT_ONCE = 100
IN_A_SITE = 3
"""One IPv6 site has 65536 networks, each of which is a source; together they start three times as many."""
IN_TOTAL = 10
"""All addresses together may start ten times as many: some thousand devices wait at most."""

SECONDS_PER_GUESS = 60.0
GUESSES_AT_ONCE = 10
"""Of one user; an address, behind which many users may be, has more."""
SECONDS_PER_GUESS_OF_ADDRESS = 10.0
GUESSES_OF_ADDRESS_AT_ONCE = 60

_EVERYBODY = ""


class DeviceLimits:
    """The limits, whatever ``rate_limit.enabled`` says.

    Args:
        monotonic: Seconds of a clock that never goes back.
        make: Makes the buckets, of this process alone or shared by several.
    """

    def __init__(self, *, monotonic: Callable[[], float], make: MakeBuckets = TokenBuckets) -> None:
        self._monotonic = monotonic
        self._starts: Buckets = make(rate=STARTS_PER_SECOND, burst=STARTS_AT_ONCE)
        self._site_starts: Buckets = make(rate=STARTS_PER_SECOND * IN_A_SITE, burst=STARTS_AT_ONCE * IN_A_SITE)
        self._all_starts: Buckets = make(rate=STARTS_PER_SECOND * IN_TOTAL, burst=STARTS_AT_ONCE * IN_TOTAL)
        self._guesses: Buckets = make(rate=1 / SECONDS_PER_GUESS, burst=GUESSES_AT_ONCE)
        self._address_guesses: Buckets = make(rate=1 / SECONDS_PER_GUESS_OF_ADDRESS, burst=GUESSES_OF_ADDRESS_AT_ONCE)

    def check_start(self, address: str) -> None:
        """Count a device that is about to wait.

        Raises:
            SlowDown: This address, its site, or all together, start too many.
        """
        now, site = self._monotonic(), site_key(address)
        # In this order a source over its own limit takes nothing from the others.
        wait = (
            self._starts.take(address_key(address), now)
            or (site is not None and self._site_starts.take(site, now))
            or self._all_starts.take(_EVERYBODY, now)
        )
        if wait:
            note("devices started counted", found="too many")
            raise SlowDown(reason="device_starts_limited", retry_after=wait)

    def check_guess(self, user_id: str, address: str) -> None:
        """Count a user code that is about to be looked up, right or wrong.

        Raises:
            SlowDown: This user, or this address, has looked up too many.
        """
        now = self._monotonic()
        wait = self._guesses.take(user_id, now) or self._address_guesses.take(address_key(address), now)
        if wait:
            note("user codes entered counted", found="too many", user_id=user_id)
            raise SlowDown(reason="user_code_guesses_limited", retry_after=wait)
