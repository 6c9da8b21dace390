"""How many processes serve together (``server.workers``)."""

import os

from authserver.config.model import Config

AUTO = "auto"
MOST_SHARED_FAILURES = 100
"""The largest ``rate_limit.auth_fail_max`` of several workers: they keep the time of each failure in memory they share."""


def worker_count(config: Config) -> int:
    """Return the number of workers; ``auto`` is the number of cores this process may use, on SQLite 1."""
    workers = config.server.workers
    if workers == AUTO:
        return len(os.sched_getaffinity(0)) if config.storage.driver == "postgres" else 1
    return int(workers) if workers.isdecimal() else 1


def shared_between(ceiling: int, workers: int, *, least: int) -> int:
    """Return each worker's part of a ceiling that holds for all of them together; 0 or less is no ceiling."""
    return max(least, ceiling // workers) if ceiling > 0 else ceiling
