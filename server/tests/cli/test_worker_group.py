import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from authserver.config.workers import shared_between

SECONDS = 20
# A group whose workers do what stands in `work`.
PROGRAM = """
import os, signal, sys, time
from authserver.cli.worker_group import READY, WorkerGroup
from authserver.telemetry.logs import configure_logging

configure_logging()

def work(number, channel):
    {work}

with WorkerGroup({count}, shutdown_wait=0.1) as group:
    group.run(work, on_started=lambda: print("all serve", flush=True), on_stopping=lambda: None)
"""


@contextmanager
def a_group(work: str, *, count: int = 2) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.format(work=work, count=count)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as group:
        try:
            yield group
        finally:
            group.kill()


def lines_until(group: subprocess.Popen[str], text: str, *, times: int = 1) -> list[dict[str, Any]]:
    """Return the log lines up to one that holds a text for the last of several times."""
    assert group.stdout is not None
    found = []
    for line in group.stdout:
        if line.startswith("{"):
            found.append(json.loads(line))
        times -= text in line
        if not times:
            return found
    raise AssertionError(f"{text!r} never came: {found}")


def test_workers_that_cannot_start_end_the_group_with_a_reason() -> None:
    with a_group("return 3") as group:
        _, err = group.communicate(timeout=SECONDS)
    assert group.returncode == 1
    assert "WorkersFailed: no worker could be started; the first that failed ended with status 3" in err


def test_a_worker_that_dies_again_and_again_is_restarted_after_longer_and_longer_pauses() -> None:
    with a_group("channel.send(READY); os.kill(os.getpid(), 9) if number else time.sleep(60)") as group:
        said = lines_until(group, "worker died", times=3)
        died = [line for line in said if line["msg"] == "worker died"]
        assert [(line["worker"], line["ended"]) for line in died] == [(1, "signal 9")] * 3
        assert [line["restart_in_seconds"] for line in died] == [0.0, 0.5, 1.0]
        assert len({line["pid"] for line in died}) == 3
        group.send_signal(signal.SIGTERM)
        assert group.wait(SECONDS) == 0


def test_workers_that_do_not_drain_are_killed() -> None:
    with a_group("signal.signal(signal.SIGTERM, signal.SIG_IGN); channel.send(READY); time.sleep(60)") as group:
        serving = [line["pid"] for line in lines_until(group, "all serve") if line["msg"] == "worker serves"]
        group.send_signal(signal.SIGTERM)
        (said,) = [line for line in lines_until(group, "did not drain") if "drain" in line["msg"]]
        assert (said["level"], sorted(said["pids"])) == ("ERROR", sorted(serving))
        assert group.wait(SECONDS) == 0


def test_a_worker_sees_the_end_of_its_supervisor() -> None:
    with a_group("channel.send(READY); os.write(1, b'%d %r, ' % (number, channel.recv(1))); return 0") as group:
        lines_until(group, "all serve")
        group.kill()
        assert group.stdout is not None
        assert sorted(group.stdout.read().split(", ")) == ["", "0 b''", "1 b''"]


def test_connections_are_shared_out_but_each_worker_can_read_and_write() -> None:
    assert [shared_between(25, workers, least=2) for workers in (1, 2, 4, 20)] == [25, 12, 6, 2]
    assert shared_between(0, 4, least=2) == 0
