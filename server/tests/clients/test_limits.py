import pytest

from authserver.clients.limits import ClientRates, RegistrationLimits
from authserver.clients.records import Client
from authserver.config.sections.clients import DcrConfig
from authserver.config.sections.listeners import RateLimitConfig
from authserver.protocol.errors import SlowDown
from server.tests.clients.builders import a_client


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def the_limits(clock: Clock, *, rate: float = 1, burst: int = 2) -> RegistrationLimits:
    return RegistrationLimits(DcrConfig(rate_limit=rate, rate_limit_burst=burst), monotonic=clock)


def granted(limits: RegistrationLimits, *addresses: str) -> list[bool]:
    outcomes = []
    for address in addresses:
        try:
            limits.check(address)
        except SlowDown:
            outcomes.append(False)
        else:
            outcomes.append(True)
    return outcomes


def test_a_source_has_a_burst_and_then_its_rate() -> None:
    clock = Clock()
    limits = the_limits(clock)
    assert granted(limits, *["192.0.2.1"] * 3) == [True, True, False]
    clock.seconds += 1
    assert granted(limits, *["192.0.2.1"] * 2) == [True, False]


def test_sources_do_not_share_but_an_ipv6_network_is_one() -> None:
    limits = the_limits(Clock())
    assert granted(limits, "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2") == [True, True, False, True]
    assert granted(limits, "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1") == [True, True, False, True]


def test_all_sources_together_have_ten_times_as_much() -> None:
    clock = Clock()
    limits = the_limits(clock)
    addresses = [f"192.0.2.{number}" for number in range(21)]
    assert granted(limits, *addresses) == [True] * 20 + [False]
    clock.seconds += 0.1
    assert granted(limits, "198.51.100.1", "198.51.100.2") == [True, False]


def test_a_source_over_its_limit_takes_nothing_from_the_others() -> None:
    limits = the_limits(Clock())
    granted(limits, *["192.0.2.1"] * 100)
    assert granted(limits, *(f"198.51.100.{number}" for number in range(18))) == [True] * 18


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_of_nothing_is_no_limit(rate: float) -> None:
    limits = the_limits(Clock(), rate=rate)
    assert granted(limits, *["192.0.2.1"] * 1000) == [True] * 1000


def served(rates: ClientRates, client: Client, *addresses: str) -> list[int]:
    """Return for each request the seconds to wait, 0 when it is served."""
    waits = []
    for address in addresses:
        try:
            rates.check(client, address)
        except SlowDown as exc:
            waits.append(exc.retry_after)
        else:
            waits.append(0)
    return waits


def the_rates(clock: Clock, *, enabled: bool = True) -> ClientRates:
    config = RateLimitConfig(enabled=enabled, client_requests_per_second=0.1, client_burst=2)
    return ClientRates(config, monotonic=clock)


def test_a_client_that_proved_itself_has_one_rate_wherever_it_comes_from() -> None:
    clock = Clock()
    rates, client = the_rates(clock), a_client(id="one", secret_hash="x")
    assert served(rates, client, "192.0.2.1", "192.0.2.2", "192.0.2.3") == [0, 0, 10]
    assert served(rates, a_client(id="other", secret_hash="x"), "192.0.2.1") == [0]
    clock.seconds += 4.5
    assert served(rates, client, "192.0.2.1") == [6]
    clock.seconds += 5.5
    assert served(rates, client, "192.0.2.1") == [0]


def test_a_public_client_has_a_rate_for_each_address_so_that_nobody_spends_anothers() -> None:
    rates, client = the_rates(Clock()), a_client(id="public", secret_hash="")
    assert served(rates, client, *["192.0.2.1"] * 3, "192.0.2.2") == [0, 0, 10, 0]
    assert served(rates, client, "2001:db8::1", "2001:db8::2", "2001:db8::3") == [0, 0, 10]


def test_client_rates_are_switched_with_the_limits() -> None:
    rates = the_rates(Clock(), enabled=False)
    assert served(rates, a_client(), *["192.0.2.1"] * 100) == [0] * 100
