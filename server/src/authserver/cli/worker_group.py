"""A group of equal worker processes: started by forking, watched, restarted when they die or hang, and ended together.

The supervisor runs one thread and no event loop, so forking it is safe. It and each worker hold the two ends of a channel:
the worker writes a byte when it serves, and another one every few seconds from its event loop; whoever dies closes its end,
which the other one sees at once. Thus no worker outlives its supervisor, however that ended, and one whose loop has not
turned for a minute is replaced.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Self

from authserver.telemetry.logs import flush_logs, get_logger

_log = get_logger("supervisor")

READY = b"r"
ALIVE = b"."
BEAT_SECONDS = 5.0
# Longer than any disk, name server or debugger-free pause takes; a worker that waits for the database turns meanwhile.
HUNG_SECONDS = 60.0
_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM})
_SIGNALS = _STOPPING | {signal.SIGHUP}
# A worker that served this long is started again at once when it dies; before, the pause doubles each time.
_STEADY_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
# A worker that drained closes its database, too, and has its collector take what it gathered.
_CLOSING_SECONDS = 10.0

_MOST_BEATS = 256

Main = Callable[[int, socket.socket], int]
"""What a worker does: takes its number and its end of the channel, and returns the exit code."""


class WorkersFailed(Exception):  # noqa: N818  what happened, in words for the operator
    """No worker could be started."""


@dataclass(slots=True)
class _Worker:
    """A process that runs.

    Attributes:
        ready_at: Since when it serves; None: not yet.
        heard_at: When its loop turned last, as far as we know; None: it does not serve yet, or was killed.
    """

    number: int
    pid: int
    channel: socket.socket
    ready_at: float | None = None
    heard_at: float | None = None


class WorkerGroup:
    """Runs workers until told to stop. To be used in the main thread, as a context that takes over the signals."""

    def __init__(self, count: int, *, shutdown_wait: float) -> None:
        """Take what there is to know.

        Args:
            count: How many workers.
            shutdown_wait: Seconds in which they drain.
        """
        self._count = count
        self._shutdown_wait = shutdown_wait
        self._selector = selectors.DefaultSelector()
        self._signals, self._signalled = socket.socketpair()
        self._workers: dict[int, _Worker] = {}
        self._due: dict[int, float] = {}
        self._failures = [0] * count
        self._looked_at = time.monotonic()

    def __enter__(self) -> Self:
        """Have signals arrive as bytes, between two steps of the loop."""
        for end in (self._signals, self._signalled):
            end.setblocking(False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no worker behind, whatever happened."""
        self._kill()
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self._signals.close()
        self._signalled.close()

    def run_once(self, main: Main) -> int:
        """Run a process to its end, which SIGINT or SIGTERM bring nearer; return its exit code, or minus its signal."""
        worker = self._fork(0, main)
        while True:
            for received in self._wait(None):
                if isinstance(received, _Worker):
                    return self._reap(worker)
                if received in _STOPPING:
                    _send(worker, signal.SIGTERM)

    def run(self, main: Main, *, on_started: Callable[[], None], on_stopping: Callable[[], None]) -> None:
        """Keep the workers running until SIGINT or SIGTERM, then let them drain.

        Args:
            main: What each does.
            on_started: Is called once, when all serve.
            on_stopping: Is called before they are told to end.

        Raises:
            WorkersFailed: The first ones ended before any of them served.
        """
        has_started = False
        for number in range(self._count):
            self._fork(number, main)
        while True:
            for received in self._wait(self._seconds_to_look()):
                if isinstance(received, _Worker):
                    self._handle(received, any_served=has_started or any(w.ready_at for w in self._workers.values()))
                elif received in _STOPPING:
                    _log.info("shutting down")
                    on_stopping()
                    self._drain()
                    return
                else:
                    for worker in self._workers.values():
                        _send(worker, received)
            if (
                not has_started
                and len(self._workers) == self._count
                and all(w.ready_at for w in self._workers.values())
            ):
                has_started = True
                on_started()
            self._kill_hung()
            for number in [number for number, due in self._due.items() if due <= time.monotonic()]:
                del self._due[number]
                self._fork(number, main)

    def _handle(self, worker: _Worker, *, any_served: bool) -> None:
        """Take note of a worker that became ready, goes on or died."""
        if received := worker.channel.recv(_MOST_BEATS):
            if READY in received:
                worker.ready_at = time.monotonic()
                _log.info("worker serves", worker=worker.number, pid=worker.pid)
            worker.heard_at = time.monotonic()
            return
        status = self._reap(worker)
        ended = f"signal {-status}" if status < 0 else f"status {status}"
        if not any_served:
            raise WorkersFailed(f"no worker could be started; the first that failed ended with {ended}")
        pause = self._pause(worker)
        _log.error("worker died", worker=worker.number, pid=worker.pid, ended=ended, restart_in_seconds=pause)
        self._due[worker.number] = time.monotonic() + pause

    def _pause(self, worker: _Worker) -> float:
        """Return the seconds until a dead worker's successor starts."""
        if worker.ready_at is not None and time.monotonic() - worker.ready_at >= _STEADY_SECONDS:
            self._failures[worker.number] = 0
        failures = self._failures[worker.number]
        self._failures[worker.number] = failures + 1
        if failures == 0:
            return 0.0
        return float(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10)))

    def _seconds_to_look(self) -> float:
        """Return how long the loop may wait: until a successor is due, or a worker may be found to hang."""
        return max(0.0, min([BEAT_SECONDS, *(due - time.monotonic() for due in self._due.values())]))

    def _kill_hung(self) -> None:
        """Kill each worker whose loop has stopped turning; its end is then seen as any other."""
        now = time.monotonic()
        # Somebody who was stopped or starved with all the others has heard nothing, and knows nothing.
        has_listened = now - self._looked_at < 2 * BEAT_SECONDS
        self._looked_at = now
        for worker in self._workers.values():
            if worker.heard_at is None:
                continue
            if not has_listened:
                worker.heard_at = now
            elif now - worker.heard_at >= HUNG_SECONDS:
                _log.error("worker hangs", worker=worker.number, pid=worker.pid, seconds=round(now - worker.heard_at))
                if time.monotonic() - now >= BEAT_SECONDS:
                    # The log does not take lines: that may be all that the worker waits for. Look again later.
                    return
                worker.heard_at = None
                _send(worker, signal.SIGKILL)

    def _drain(self) -> None:
        """Tell all workers to end, and kill those that have not when their time is over."""
        deadline = time.monotonic() + self._shutdown_wait + _CLOSING_SECONDS
        for worker in self._workers.values():
            _send(worker, signal.SIGTERM)
        while self._workers:
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                _log.error("workers did not drain in time", pids=[worker.pid for worker in self._workers.values()])
                self._kill()
                return
            for received in self._wait(seconds):
                if isinstance(received, _Worker) and not received.channel.recv(_MOST_BEATS):
                    self._reap(received)

    def _kill(self) -> None:
        for worker in list(self._workers.values()):
            _send(worker, signal.SIGKILL)
            self._reap(worker)

    def _wait(self, seconds: float | None) -> "list[_Worker | int]":
        """Return the workers whose channels have news, and the signals that came."""
        found: list[_Worker | int] = []
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    found += self._signals.recv(256)
            else:
                found.append(key.data)
        return found

    def _reap(self, worker: _Worker) -> int:
        """Take leave of a process that ended; return its exit code, or the negative number of the signal it died of."""
        self._selector.unregister(worker.channel)
        worker.channel.close()
        del self._workers[worker.number]
        _, status = os.waitpid(worker.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _fork(self, number: int, main: Main) -> _Worker:
        ours, theirs = socket.socketpair()
        # A signal that comes in between must not be taken for one of the other process.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become_worker(ours)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _run_and_exit(main, number, theirs)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        worker = self._workers[number] = _Worker(number, pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def _become_worker(self, ours: socket.socket) -> None:
        """Let go of what is the supervisor's: an end of a channel kept here would hide its death from the others."""
        signal.set_wakeup_fd(-1)
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        # Until the worker has keys to reload.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ours.close()
        for worker in self._workers.values():
            worker.channel.close()
        self._selector.close()
        self._signals.close()
        self._signalled.close()


def beat(channel: socket.socket) -> None:
    """Tell the supervisor that this worker goes on. It never waits: a supervisor that does not listen is not told."""
    with contextlib.suppress(OSError):
        channel.send(ALIVE, socket.MSG_DONTWAIT)


def _send(worker: _Worker, number: int) -> None:
    # Not yet waited for, so its id is still its own.
    os.kill(worker.pid, number)


def _run_and_exit(main: Main, number: int, channel: socket.socket) -> NoReturn:
    """Do a worker's work and end the process, whatever comes out of it: nothing of the supervisor's runs here."""
    code = 1
    try:
        code = main(number, channel)
    except BaseException:  # noqa: BLE001  the end of the process
        traceback.print_exc()
    finally:
        flush_logs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
