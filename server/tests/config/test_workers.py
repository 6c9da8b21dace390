import os

import pytest

from authserver.config.checks import failures
from authserver.config.workers import worker_count
from server.tests.config.test_checks import configured

POSTGRES = {"storage__driver": "postgres", "storage__postgres__dsn": "postgresql://localhost/x"}


def test_several_workers_on_sqlite_are_refused_with_the_reason_and_what_to_do() -> None:
    (failure,) = failures(configured(server__workers="2"), {})
    assert failure.startswith("server.workers=2 needs storage.driver=postgres: one process writes a SQLite file faster")
    assert failure.endswith("; use PostgreSQL, or 1 worker")


def test_several_workers_on_postgres_are_fine() -> None:
    assert failures(configured(server__workers="2", **POSTGRES), {}) == []


@pytest.mark.parametrize("workers", ["0", "-1", "many", "100", "1.5"])
def test_what_is_no_number_of_workers_is_refused(workers: str) -> None:
    (failure,) = failures(configured(server__workers=workers, **POSTGRES), {})
    assert failure == f"server.workers must match auto|[1-9][0-9]?, not {workers!r}"


def test_auto_is_one_for_each_core_and_one_on_sqlite() -> None:
    assert worker_count(configured(server__workers="auto", **POSTGRES)) == len(os.sched_getaffinity(0))
    assert worker_count(configured(server__workers="auto")) == 1
    assert failures(configured(server__workers="auto"), {}) == []


def test_failures_that_workers_cannot_share_are_refused() -> None:
    config = configured(server__workers="2", rate_limit__auth_fail_max=101, **POSTGRES)
    assert failures(config, {}) == ["rate_limit.auth_fail_max must be at most 100 while server.workers is above 1"]
    assert failures(configured(rate_limit__auth_fail_max=101, **POSTGRES), {}) == []
