import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from authserver.cli.worker_group import ALIVE, beat
from authserver.config.workers import shared_between

SECONDS = 20
# A group whose workers do what stands in `work`.
PROGRAM = """
import os, signal, sys, time
from authserver.cli import worker_group
from authserver.cli.worker_group import READY, WorkerGroup, beat
from authserver.telemetry.logs import configure_logging

configure_logging()
worker_group.BEAT_SECONDS, worker_group.HUNG_SECONDS = {beats}, {hung}

def work(number, channel):
    {work}

with WorkerGroup({count}, shutdown_wait=0.1) as group:
    group.run(work, on_started=lambda: print("all serve", flush=True), on_stopping=lambda: None)
"""


@contextmanager
def a_group(work: str, *, count: int = 2, beats: float = 5, hung: float = 60) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.format(work=work, count=count, beats=beats, hung=hung)
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


BEATING = """
    channel.send(READY)
    while True:
        beat(channel)
        time.sleep(0.1)
"""


def test_a_worker_that_hangs_is_killed_and_replaced_and_the_other_goes_on() -> None:
    with a_group(BEATING, beats=1, hung=5) as group:
        first = {line["worker"]: line["pid"] for line in lines_until(group, "worker serves", times=2)}
        os.kill(first[1], signal.SIGSTOP)
        said = lines_until(group, "worker serves")
        (hangs,) = [line for line in said if line["msg"] == "worker hangs"]
        assert (hangs["level"], hangs["worker"], hangs["pid"]) == ("ERROR", 1, first[1])
        assert hangs["seconds"] >= 5
        (died,) = [line for line in said if line["msg"] == "worker died"]
        assert (died["pid"], died["ended"]) == (first[1], "signal 9")
        assert (said[-1]["worker"], said[-1]["pid"] == first[1]) == (1, False)
        os.kill(first[0], 0)
        group.send_signal(signal.SIGTERM)
        assert group.wait(SECONDS) == 0


def test_a_worker_that_says_nothing_before_it_serves_does_not_hang() -> None:
    work = "time.sleep(3); channel.send(READY); return 0"
    with a_group(work, count=1, beats=0.2, hung=1) as group:
        assert [line["msg"] for line in lines_until(group, "worker serves")] == ["worker serves"]


def test_a_supervisor_that_was_stopped_itself_kills_nobody() -> None:
    answering = 'signal.signal(signal.SIGHUP, lambda *_: print("still here", flush=True))' + BEATING
    with a_group(answering, count=1, beats=0.3, hung=1) as group:
        (serves,) = lines_until(group, "worker serves")
        # As when a machine pauses, or somebody presses ctrl-Z: all stop, and the first to go on is the supervisor.
        for pid in (serves["pid"], group.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.5)  # nobody is there to tell that it is over
        os.kill(group.pid, signal.SIGHUP)
        os.kill(group.pid, signal.SIGCONT)
        # It has looked by the time that it takes in the next signal.
        wait_until_taken(group.pid)
        os.kill(serves["pid"], signal.SIGCONT)
        assert lines_until(group, "still here") == []
        group.send_signal(signal.SIGTERM)
        assert group.wait(SECONDS) == 0


def wait_until_taken(pid: int) -> None:
    """Wait until a process has taken every signal that was sent to it, and sleeps again."""
    deadline = time.monotonic() + SECONDS
    while True:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if status["State"].startswith("S") and not int(status["SigPnd"], 16) and not int(status["ShdPnd"], 16):
            return
        assert time.monotonic() < deadline, status["State"]
        time.sleep(0.01)


def test_a_worker_whose_supervisor_does_not_listen_does_not_wait_for_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(10_000):
            beat(theirs)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.send(ALIVE)
        ours.close()
        beat(theirs)


def test_connections_are_shared_out_but_each_worker_can_read_and_write() -> None:
    assert [shared_between(25, workers, least=2) for workers in (1, 2, 4, 20)] == [25, 12, 6, 2]
    assert shared_between(0, 4, least=2) == 0
