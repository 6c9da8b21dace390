from collections.abc import Callable

import pytest

from authserver.config.sections.listeners import RateLimitConfig
from authserver.login.lockout import Identity, Lockout, identity_of
from authserver.login.shared_lockout import SharedLockout

ANN = Identity(b"ann")
BOB = Identity(b"bob")


class Time:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


Kind = type[Lockout] | type[SharedLockout]

KINDS = pytest.mark.parametrize("kind", [Lockout, SharedLockout])


@pytest.fixture(params=[Lockout, SharedLockout])
def lockout(request: pytest.FixtureRequest, time: Time) -> Lockout | SharedLockout:
    """What is said of the lockout is true of that of one process and of that which several share."""
    kind: Kind = request.param
    return kind(RateLimitConfig(), clock=time)


def fail(lockout: Lockout | SharedLockout, times: int, identity: Identity = ANN) -> list[bool]:
    return [lockout.record_failure(identity) for _ in range(times)]


def test_the_tenth_failure_locks_for_a_quarter_of_an_hour(lockout: Lockout | SharedLockout, time: Time) -> None:
    assert fail(lockout, 9) == [False] * 9
    assert lockout.seconds_to_wait(ANN) == 0
    assert fail(lockout, 1) == [True]
    assert lockout.seconds_to_wait(ANN) == 900
    time.now += 899.5
    assert lockout.seconds_to_wait(ANN) == 1
    time.now += 0.5
    assert lockout.seconds_to_wait(ANN) == 0


def test_a_lockout_is_told_once_and_not_prolonged(lockout: Lockout | SharedLockout, time: Time) -> None:
    fail(lockout, 10)
    time.now += 100
    assert fail(lockout, 20) == [False] * 20
    assert lockout.seconds_to_wait(ANN) == 800


def test_after_a_lockout_counting_starts_anew(lockout: Lockout | SharedLockout, time: Time) -> None:
    fail(lockout, 10)
    time.now += 900
    assert fail(lockout, 10) == [False] * 9 + [True]


def test_failures_older_than_ten_minutes_do_not_count(lockout: Lockout | SharedLockout, time: Time) -> None:
    fail(lockout, 5)
    time.now += 300
    fail(lockout, 4)
    time.now += 300
    assert fail(lockout, 5) == [False] * 5
    assert fail(lockout, 1) == [True]


def test_a_success_clears_the_counter(lockout: Lockout | SharedLockout) -> None:
    fail(lockout, 9)
    lockout.clear(ANN)
    assert fail(lockout, 9) == [False] * 9


def test_others_are_not_affected(lockout: Lockout | SharedLockout) -> None:
    fail(lockout, 10)
    assert lockout.seconds_to_wait(BOB) == 0


def test_guesses_that_are_being_checked_count_as_failures(lockout: Lockout | SharedLockout) -> None:
    fail(lockout, 8)
    with lockout.checking(ANN) as first:
        assert (first, lockout.seconds_to_wait(ANN)) == (0, 0)
        with lockout.checking(ANN) as second:
            assert (second, lockout.seconds_to_wait(ANN)) == (0, 1)
            with lockout.checking(ANN) as third:
                assert third == 1
        assert lockout.seconds_to_wait(ANN) == 0
    assert lockout.seconds_to_wait(ANN) == 0


def test_a_guess_that_was_rejected_counts_once(lockout: Lockout | SharedLockout) -> None:
    for _ in range(9):
        with lockout.checking(ANN), lockout.checking(ANN):
            assert not lockout.record_failure(ANN)
    with lockout.checking(ANN) as wait:
        assert wait == 0
        assert lockout.record_failure(ANN)


def test_a_success_leaves_the_open_guesses_of_others_counted(lockout: Lockout | SharedLockout) -> None:
    fail(lockout, 8)
    with lockout.checking(ANN):
        with lockout.checking(ANN):
            lockout.clear(ANN)
        for _ in range(9):
            assert lockout.seconds_to_wait(ANN) == 0
            with lockout.checking(ANN):
                lockout.record_failure(ANN)
        assert lockout.seconds_to_wait(ANN) == 1
    assert lockout.seconds_to_wait(ANN) == 0


@KINDS
@pytest.mark.parametrize("most", [0, -1])
def test_it_can_be_switched_off(kind: Kind, most: int, time: Time) -> None:
    lockout = kind(RateLimitConfig(auth_fail_max=most), clock=time)
    assert not any(fail(lockout, 50))
    lockout.clear(ANN)
    with lockout.checking(ANN) as wait:
        assert wait == 0
    assert lockout.seconds_to_wait(ANN) == 0


@KINDS
def test_the_first_failure_locks_when_one_is_all_that_is_allowed(kind: Kind, time: Time) -> None:
    lockout = kind(RateLimitConfig(auth_fail_max=1), clock=time)
    assert lockout.seconds_to_wait(ANN) == 0
    assert fail(lockout, 1) == [True]
    assert lockout.seconds_to_wait(ANN) == 900


def test_invented_identities_do_not_unlock_a_locked_one(time: Time) -> None:
    lockout = Lockout(RateLimitConfig(), clock=time)
    fail(lockout, 10)
    for number in range(300_000):
        lockout.record_failure(Identity(number.to_bytes(16)))
    assert lockout.seconds_to_wait(ANN) == 900
    assert len(lockout._failures) + len(lockout._locked_until) == 250_000


def test_when_all_that_fit_are_locked_newcomers_are_refused(time: Time) -> None:
    lockout = Lockout(RateLimitConfig(auth_fail_max=1, max_tracked_identities=3), clock=time)
    for number in range(3):
        fail(lockout, 1, Identity(bytes([number])))
        time.now += 100
    assert lockout.seconds_to_wait(ANN) == 600
    time.now += 600
    assert lockout.seconds_to_wait(ANN) == 0


def test_room_is_made_by_the_one_that_failed_longest_ago(time: Time) -> None:
    lockout = Lockout(RateLimitConfig(auth_fail_max=2, max_tracked_identities=2), clock=time)
    for identity in (ANN, BOB, Identity(b"third")):
        assert fail(lockout, 1, identity) == [False]
    assert fail(lockout, 1, BOB) == [True]
    assert fail(lockout, 1, ANN) == [False]


def test_an_identity_is_an_address_in_any_spelling_and_where_it_was_sent_from() -> None:
    ann = identity_of("ann@example.com", "192.0.2.1")
    assert identity_of("  Ann@EXAMPLE.com ", "192.0.2.1") == ann
    assert identity_of("ann@example.com", "::ffff:192.0.2.1") == ann
    assert identity_of("ann@example.com", "192.0.2.2") != ann
    assert identity_of("bob@example.com", "192.0.2.1") != ann


@pytest.mark.parametrize(
    ("compare", "other"), [(bytes.__eq__, "2001:db8:1:2:ffff::9"), (bytes.__ne__, "2001:db8:1:3::1")]
)
def test_of_an_ipv6_address_the_network_counts(compare: Callable[[bytes, bytes], bool], other: str) -> None:
    assert compare(identity_of("ann", "2001:db8:1:2::1"), identity_of("ann", other))


def test_a_peer_without_an_address_is_one_too() -> None:
    assert identity_of("ann", "") == identity_of("ann", "")
