"""Runs something in several processes at once, as the workers of a server are: forked, with what was made before."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from authserver.web.shared_rows import SharedRows

T = TypeVar("T")

SECONDS = 30


def in_processes(count: int, work: Callable[[], T]) -> list[T]:
    """Return what ``work`` returned in each of ``count`` processes that began together."""
    context = multiprocessing.get_context("fork")
    begin, answers = context.Barrier(count), context.SimpleQueue()

    def run() -> None:
        begin.wait(SECONDS)
        answers.put(work())

    processes = [context.Process(target=run) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        assert process.exitcode == 0
    return [answers.get() for _ in range(count)]


@contextmanager
def stopped_within(rows: SharedRows, row: int) -> Iterator[None]:
    """Have a process hold a row, and not go on."""

    def stop() -> None:
        with rows.locked(row):
            os.kill(os.getpid(), signal.SIGSTOP)

    process = multiprocessing.get_context("fork").Process(target=stop)
    process.start()
    assert process.pid is not None
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield
    finally:
        process.kill()
        process.join(SECONDS)
