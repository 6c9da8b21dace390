import itertools
import multiprocessing
import os
import signal

import pytest

from authserver.web.shared_limits import SharedBuckets
from authserver.web.shared_rows import SharedRows
from server.tests.web.sharing import SECONDS, in_processes, stopped_within


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes wait for one that lost its core: what is exact otherwise is to be exact here."""
    monkeypatch.setattr("authserver.web.shared_rows.PATIENCE", SECONDS)


def test_processes_draw_from_one_bucket_to_the_last_token() -> None:
    buckets = SharedBuckets(rate=1e-6, burst=500)
    granted = in_processes(4, lambda: sum(not buckets.take("a", 50.0) for _ in range(400)))
    assert sum(granted) == 500
    assert buckets.take("a", 50.0) > 0


def test_other_keys_have_their_own() -> None:
    buckets = SharedBuckets(rate=1e-6, burst=1)
    granted = in_processes(2, lambda: [key for key in map(str, range(2000)) if not buckets.take(key, 50.0)])
    assert sorted(itertools.chain(*granted)) == sorted(map(str, range(2000)))


def test_a_full_row_forgets_the_bucket_that_is_nearest_to_full() -> None:
    buckets = SharedBuckets(rate=1, burst=5, rows=1)
    for number in range(8):
        for _ in range(1 + (number > 0)):
            buckets.take(str(number), 50.0)
    assert buckets.take("newcomer", 50.0) == 0
    assert [buckets.take("1", 50.0) for _ in range(4)] == [0, 0, 0, 1]
    assert [buckets.take("0", 50.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_its_memory_has_a_bound() -> None:
    assert len(SharedBuckets(rate=100, burst=200)._rows.memory) == 2 * 1024 * 1024
    small = SharedBuckets(rate=1, burst=1, rows=4)
    assert [small.take(f"key {number}", 50.0) for number in range(1000)] == [0] * 1000
    assert len(small._rows.memory) == 4 * 128


def test_a_key_that_is_no_text_is_one_too() -> None:
    assert SharedBuckets(rate=1, burst=1).take("\ud800", 50.0) == 0


def test_a_process_killed_while_it_holds_a_row_frees_it() -> None:
    rows = SharedRows(rows=4, row_bytes=16)

    def die_within() -> None:
        with rows.locked(2):
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=die_within)
    process.start()
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL
    with rows.locked(2):
        rows.memory[32:36] = b"free"


def test_a_process_that_is_stopped_while_it_holds_a_row_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authserver.web.shared_rows.PATIENCE", 0.005)
    buckets = SharedBuckets(rate=1e-6, burst=50)
    row, _ = buckets._rows.place(b"a")
    with stopped_within(buckets._rows, row):
        (granted,) = in_processes(1, lambda: [buckets.take("a", 50.0) == 0 for _ in range(100)])
        assert granted == [True] * 50 + [False] * 50
    assert buckets.take("a", 50.0) > 0


def test_a_row_that_was_not_to_be_had_is_locked_again_when_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authserver.web.shared_rows.PATIENCE", 0.005)
    rows = SharedRows(rows=1, row_bytes=8)

    def others_get_it() -> bool:
        return in_processes(1, lambda: rows._try(0))[0]

    with stopped_within(rows, 0), rows.locked(0):
        pass
    assert others_get_it()
    with rows.locked(0):
        assert not others_get_it()
    assert others_get_it()


def test_one_row_is_changed_by_one_process_at_a_time() -> None:
    rows = SharedRows(rows=1, row_bytes=8)

    def count() -> None:
        for _ in range(2000):
            with rows.locked(0):
                number = int.from_bytes(rows.memory[:8], "big")
                rows.memory[:8] = (number + 1).to_bytes(8, "big")

    in_processes(4, count)
    assert int.from_bytes(rows.memory[:8], "big") == 8000


def test_a_key_has_one_place_and_another_in_another_table() -> None:
    one, other = SharedRows(rows=1000, row_bytes=8), SharedRows(rows=1000, row_bytes=8)
    assert one.place(b"key") == one.place(b"key")
    assert one.place(b"key")[1] != other.place(b"key")[1]
    assert {one.place(str(number).encode())[0] for number in range(20_000)} == set(range(1024))
