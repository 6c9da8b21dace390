"""Real processes: started, waited for, stopped or killed, their output kept."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

START_SECONDS = 40
STOP_SECONDS = 15

# Below the ports that the system gives to outgoing connections, and apart for each test process, of other runs on this
# machine too: a port that was free a moment ago still is, also while its server is killed and started again.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST_PORT = 10_000 + 2_000 * (os.getppid() % 11) + 200 * (_WORKER % 10)
# 10080 is the one among them that browsers and Node refuse to talk to (Fetch, "port blocking").
_PORTS = iter([port for port in range(_FIRST_PORT, _FIRST_PORT + 200) if port != 10080])


def free_port() -> int:
    """Return a loopback port that nobody listens on, never the same one twice."""
    for port in _PORTS:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("all ports of this test process were given out")


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for something to become true, and say what did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} seconds")
        time.sleep(0.02)


def answers(url: str) -> bool:
    """Whether a GET of the URL is answered, and not with a fault."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status < 500)
    except urllib.error.HTTPError as exc:
        return exc.code < 500
    except OSError:
        return False


def processes() -> Iterator[tuple[int, int]]:
    """Yield the id of every process that runs, with its parent's; not of those that are dead and not waited for."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(path.parent.name), int(parent)


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    return any(pid == each for each, _ in processes())


def clean_environment() -> dict[str, str]:
    """Return the environment without anything that would configure the product."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUTHPLANE_", "AUTHSERVER_"))}
    return kept | {"PYTHONUNBUFFERED": "1"}


class Process:
    """A child process in a group of its own; its output goes to a file.

    Args:
        command: What to run.
        log: Where standard output and error go, after what is there.
        environment: Added to this process's, of which nothing that configures the product is handed on.
        directory: Where it runs.
        piped: The output takes its way through a pipe and a program that writes the file, as under a service manager:
            what keeps the process from writing files does not keep it from saying so.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        directory: Path,
        piped: bool = False,
    ) -> None:
        self._log = log
        with contextlib.ExitStack() as opened:
            output: IO[bytes] = opened.enter_context(log.open("ab"))
            self._scribe = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output) if piped else None
            if self._scribe is not None and self._scribe.stdin is not None:
                output = opened.enter_context(self._scribe.stdin)
            self._child = subprocess.Popen(
                [str(part) for part in command],
                cwd=directory,
                env={**clean_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def output(self) -> str:
        """Everything written so far."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def workers(self) -> list[int]:
        """The ids of its child processes that run."""
        return [pid for pid, parent in processes() if parent == self.pid]

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def wait_for(self, url: str) -> None:
        """Wait until the process answers, or fail with what it wrote."""

        def is_there() -> bool:
            assert self.is_running, f"the process ended with {self._child.returncode}:\n{self.output}"
            return answers(url)

        wait_until(is_there, seconds=START_SECONDS, what=f"{url} answers")

    def wait_for_output(self, text: str) -> None:
        """Wait until the process has written something."""
        wait_until(lambda: text in self.output, seconds=START_SECONDS, what=f"output of {text!r}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the process to end, as a service manager or ctrl-C does; return its exit code."""
        self._child.send_signal(number)
        return self._child.wait(STOP_SECONDS)

    def interrupt(self) -> int:
        """Press ctrl-C: the whole group gets it, as from a terminal; return the exit code."""
        os.killpg(self._child.pid, signal.SIGINT)
        return self._child.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End the process between two instructions."""
        self._child.kill()
        self._child.wait(STOP_SECONDS)

    def kill_group(self) -> None:
        """End the process and all that it started, between two instructions."""
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait(STOP_SECONDS)

    def wait(self) -> int:
        """Wait for a process that ends by itself; return its exit code."""
        return self._child.wait(START_SECONDS)

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self.is_running:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        if self._scribe is not None:
            # It reads until nobody holds the other end any more.
            self._scribe.wait(STOP_SECONDS)
