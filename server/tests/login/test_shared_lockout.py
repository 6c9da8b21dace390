import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest

from authserver.config.sections.listeners import RateLimitConfig
from authserver.login.lockout import Identity
from authserver.login.shared_lockout import SharedLockout
from server.tests.web.sharing import SECONDS, in_processes, stopped_within

ANN = Identity(b"ann".rjust(16))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes wait for one that lost its core: what is exact otherwise is to be exact here."""
    monkeypatch.setattr("authserver.web.shared_rows.PATIENCE", SECONDS)


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(16))


def a_lockout(*, auth_fail_max: int = 10, max_tracked_identities: int = 10_000) -> SharedLockout:
    return SharedLockout(RateLimitConfig(auth_fail_max=auth_fail_max, max_tracked_identities=max_tracked_identities))


def test_ten_failures_lock_wherever_they_came_in() -> None:
    lockout = a_lockout()
    outcomes = in_processes(2, lambda: [lockout.record_failure(ANN) for _ in range(5)])
    assert sorted(itertools.chain(*outcomes)) == [False] * 9 + [True]
    assert in_processes(2, lambda: lockout.seconds_to_wait(ANN)) == [900, 900]


def test_of_many_guesses_at_once_in_several_processes_ten_are_looked_at() -> None:
    lockout = a_lockout()

    def guess() -> int:
        looked_at = 0
        for _ in range(20):
            with lockout.checking(ANN) as wait:
                if not wait:
                    looked_at += 1
                    lockout.record_failure(ANN)
        return looked_at

    assert sum(in_processes(4, guess)) == 10


def test_a_guess_that_died_with_its_process_counts_and_freezes_nobody() -> None:
    lockout = a_lockout(auth_fail_max=2)

    def die_in_the_middle() -> None:
        with lockout.checking(ANN):
            os.kill(os.getpid(), signal.SIGKILL)

    killed(die_in_the_middle)
    with lockout.checking(ANN) as wait:
        assert wait == 0
    killed(die_in_the_middle)
    assert lockout.seconds_to_wait(ANN) == 1


def test_a_process_that_is_stopped_while_it_holds_a_row_neither_freezes_nor_unlocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("authserver.web.shared_rows.PATIENCE", 0.005)
    lockout = a_lockout()
    row, _ = lockout._rows.place(ANN)
    with stopped_within(lockout._rows, row):
        (outcomes,) = in_processes(1, lambda: [lockout.record_failure(ANN) for _ in range(10)])
        assert outcomes == [False] * 9 + [True]
        assert in_processes(1, lambda: lockout.seconds_to_wait(ANN)) == [900]


def test_a_process_killed_while_it_holds_a_row_frees_it() -> None:
    lockout = a_lockout()
    lockout.record_failure(ANN)

    def die_within() -> None:
        with lockout._row(ANN):
            os.kill(os.getpid(), signal.SIGKILL)

    killed(die_within)
    assert [lockout.record_failure(ANN) for _ in range(9)] == [False] * 8 + [True]


def killed(work: Callable[[], None]) -> None:
    """Run something that kills its process."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL


def test_invented_identities_do_not_unlock_a_locked_one() -> None:
    lockout = a_lockout(max_tracked_identities=160)
    for _ in range(10):
        lockout.record_failure(ANN)
    for number in range(3000):
        lockout.record_failure(identity(number))
    assert lockout.seconds_to_wait(ANN) > 800


def test_when_all_of_a_row_are_locked_newcomers_are_refused_and_nobody_is_unlocked() -> None:
    lockout = a_lockout(auth_fail_max=1, max_tracked_identities=16)
    first = [identity(number) for number in range(16)]
    assert all(lockout.record_failure(each) for each in first)
    assert lockout.seconds_to_wait(ANN) > 800
    assert not lockout.record_failure(ANN)
    with lockout.checking(ANN) as wait:
        assert wait > 800
    assert all(lockout.seconds_to_wait(each) for each in first)


def test_room_is_made_by_the_one_that_failed_longest_ago() -> None:
    lockout = a_lockout(auth_fail_max=2, max_tracked_identities=16)
    for number in range(17):
        assert not lockout.record_failure(identity(number))
    assert lockout.record_failure(identity(16))
    assert lockout.record_failure(identity(1))
    assert not lockout.record_failure(identity(0))


def test_its_memory_has_a_bound() -> None:
    lockout = SharedLockout(RateLimitConfig())
    assert 250_000 * 96 <= len(lockout._rows.memory) <= 2 * 250_000 * 96
