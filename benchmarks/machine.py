"""The machine: which core is whose, what a process has used, free ports."""

import contextlib
import os
import platform
import re
import socket
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]
"""The load, and a database server, have a core of their own if there are two."""
WORK = "/var/tmp" if Path("/var/tmp").is_dir() else tempfile.gettempdir()
"""Where databases are put: on a disk, so that a flush costs what it costs."""


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run what is inside, and every process and thread it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that processes have used."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def tree_of(pid: int) -> tuple[int, ...]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (pid, *(int(child) for child in children))


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    return int(match[1]) / 1024 if match else 0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _flush_milliseconds() -> float:
    """Return what it takes to make a page durable."""
    took = []
    with tempfile.TemporaryFile(dir=WORK) as file:
        for _ in range(101):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1000


def describe() -> dict[str, object]:
    """Return what absolute figures depend on."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else "unknown",
        "cores": len(_CORES),
        "python": platform.python_version(),
        "flush_ms": round(_flush_milliseconds(), 3),
    }
