import pytest

from authserver.authorization.device_limits import IN_A_SITE, IN_TOTAL, STARTS_AT_ONCE, DeviceLimits
from authserver.protocol.errors import SlowDown


def start(limits: DeviceLimits, addresses: list[str]) -> int:
    """Start a device from each address; return how many were let in."""
    started = 0
    for address in addresses:
        try:
            limits.check_start(address)
        except SlowDown:
            continue
        started += 1
    return started


def test_one_ipv6_site_leaves_most_of_what_there_is_to_everybody() -> None:
    limits = DeviceLimits(monotonic=lambda: 100.0)
    networks = [f"2001:db8:1:{n:x}::1" for n in range(STARTS_AT_ONCE * IN_TOTAL * 2)]
    assert start(limits, networks) == STARTS_AT_ONCE * IN_A_SITE
    # Another network of the same site has none left; others have all of theirs.
    assert start(limits, ["2001:db8:1:ffff::1"]) == 0
    assert start(limits, ["2001:db8:2::1"] * (STARTS_AT_ONCE + 1)) == STARTS_AT_ONCE
    assert start(limits, ["192.0.2.7"] * (STARTS_AT_ONCE + 1)) == STARTS_AT_ONCE


def test_all_together_start_ten_times_as_many_as_one() -> None:
    limits = DeviceLimits(monotonic=lambda: 100.0)
    addresses = [f"192.0.2.{n % 250}" for n in range(STARTS_AT_ONCE * IN_TOTAL + 10)]
    assert start(limits, addresses) == STARTS_AT_ONCE * IN_TOTAL


def test_who_waits_is_let_in_again() -> None:
    now = 100.0
    limits = DeviceLimits(monotonic=lambda: now)
    start(limits, ["2001:db8::1"] * STARTS_AT_ONCE)
    with pytest.raises(SlowDown) as refusal:
        limits.check_start("2001:db8::1")
    now += refusal.value.retry_after
    limits.check_start("2001:db8::1")
