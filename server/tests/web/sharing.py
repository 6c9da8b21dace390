"""Runs something in several processes at once, as the workers of a server are: forked, with what was made before."""

import multiprocessing
from collections.abc import Callable
from typing import TypeVar

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
