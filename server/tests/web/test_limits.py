import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.web.limits import MakeBuckets, TokenBuckets, address_key, site_key
from authserver.web.shared_limits import SharedBuckets

# What is said of buckets is true of those of one process and of those that several share.
BOTH = pytest.mark.parametrize("make", [TokenBuckets, SharedBuckets])


@BOTH
def test_a_burst_is_granted_and_then_the_rate(make: MakeBuckets) -> None:
    buckets = make(rate=2, burst=3)

    assert [buckets.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert [buckets.take("a", 100.5) for _ in range(2)] == [0, 0.5]
    assert [buckets.take("a", 900.0) for _ in range(4)] == [0, 0, 0, 0.5]


@BOTH
def test_who_waits_as_long_as_told_is_served(make: MakeBuckets) -> None:
    buckets = make(rate=0.01, burst=1)
    buckets.take("a", 7.0)

    assert buckets.take("a", 7.0) == pytest.approx(100)
    assert buckets.take("a", 90.0) == pytest.approx(17)
    assert buckets.take("a", 107.0) == 0


@BOTH
def test_asking_in_vain_costs_nothing(make: MakeBuckets) -> None:
    buckets = make(rate=1, burst=1)
    buckets.take("a", 0.0)

    assert all(buckets.take("a", 0.1 * n) for n in range(1, 10))
    assert not buckets.take("a", 1.0)


@BOTH
def test_each_key_has_its_own_bucket(make: MakeBuckets) -> None:
    buckets = make(rate=1, burst=1)

    assert [buckets.take(key, 0.0) for key in ("a", "b", "a")] == [0, 0, 1]


@BOTH
def test_whoever_comes_between_makes_nobody_forgotten_too_soon(make: MakeBuckets) -> None:
    buckets = make(rate=1 / 60, burst=10)
    for _ in range(10):
        assert not buckets.take("a", 0.0)
    # Half of the time that a full bucket needs, and then another source, which has idle ones dropped.
    assert not buckets.take("b", 301.0)
    assert [bool(buckets.take("a", 301.0)) for _ in range(6)] == [False] * 5 + [True]


def test_at_the_bound_the_key_used_longest_ago_goes() -> None:
    buckets = TokenBuckets(rate=0.001, burst=1, max_keys=3)
    for key in ("a", "b", "c", "a"):
        buckets.take(key, 0.0)

    assert not buckets.take("d", 0.0)
    assert buckets.take("a", 0.0)
    assert buckets.take("c", 0.0)
    assert len(buckets) == 3


def test_idle_buckets_are_dropped_as_others_come() -> None:
    buckets = TokenBuckets(rate=1, burst=1)
    for n in range(10):
        buckets.take(f"old{n}", 0.0)

    for n in range(10):
        buckets.take(f"new{n}", 301.0)

    assert len(buckets) == 10


@BOTH
@given(steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 100)), max_size=200))
def test_no_key_ever_gets_more_than_its_burst_and_its_rate(make: MakeBuckets, steps: list[tuple[str, float]]) -> None:
    buckets = make(rate=1.5, burst=4)
    now, granted = 0.0, dict.fromkeys("abcdef", 0)
    for key, pause in steps:
        now += pause
        granted[key] += not buckets.take(key, now)

    assert all(count <= 4 + 1.5 * now + 1e-6 for count in granted.values())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8:0:0:1::", "2001:0db8::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_one_network_is_one_source(one: str, other: str) -> None:
    assert address_key(one) == address_key(other)


@pytest.mark.parametrize(("one", "other"), [("2001:db8::1", "2001:db8:0:1::1"), ("192.0.2.1", "192.0.2.2")])
def test_two_networks_are_two_sources(one: str, other: str) -> None:
    assert address_key(one) != address_key(other)


@given(st.text(max_size=40))
def test_whatever_is_called_an_address_has_a_key(text: str) -> None:
    assert isinstance(address_key(text), str)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("2001:db8:1:2::7", "2001:0db8:0001"),
        ("2001:db8:1:ffff::7", "2001:0db8:0001"),
        ("fe80::1%eth0", "fe80:0000:0000"),
        ("192.0.2.7", None),
        ("::ffff:192.0.2.7", None),
        ("", None),
        ("a:b:c:d is no address", None),
    ],
)
def test_the_networks_of_one_ipv6_site_stand_together(address: str, key: str | None) -> None:
    assert site_key(address) == key
