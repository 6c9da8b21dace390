import pytest

from authserver.clients.limits import RegistrationLimits
from authserver.config.sections.clients import DcrConfig
from authserver.protocol.errors import SlowDown


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
