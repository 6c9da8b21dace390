"""A command-line client that signs its user in: it prints where the user should go, and waits to be called back."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from e2e.harness.person import Person
from e2e.harness.processes import clean_environment

ARRIVES_WITHIN_SECONDS = 10
ENDS_WITHIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    output: str
    asked: list[str]


def run_client(
    command: Sequence[str | Path], *, issuer: str, person: Person, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a client to its end. Each authorization URL it prints is opened by the person, who allows it.

    Args:
        command: What to run.
        issuer: Whose authorization URLs to look out for.
        person: Who signs in.
        environment: Added to this process's.
    """
    wanted = re.compile(re.escape(issuer) + r"/oauth/authorize\?\S+")
    lines, asked = [], []
    with (
        terminal() as keyboard,  # some ask only somebody who sits at one
        subprocess.Popen(
            [str(part) for part in command],
            stdin=keyboard,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment() | dict(environment or {}),
        ) as child,
    ):
        assert child.stdout is not None
        try:
            for line in child.stdout:
                lines.append(line)
                if found := wanted.search(line):
                    asked.append(found.group(0))
                    deliver(person.allow(asked[-1]))
            code = child.wait(ENDS_WITHIN_SECONDS)
        finally:
            child.kill()
    return Ended(code, "".join(lines), asked)


def deliver(callback_url: str) -> None:
    """Bring the user's browser to a client, which may show its link before it listens."""
    deadline = time.monotonic() + ARRIVES_WITHIN_SECONDS
    while True:
        try:
            answer = httpx2.get(callback_url)
        except httpx2.ConnectError:
            assert time.monotonic() < deadline, f"nobody listens at {callback_url}"
            time.sleep(0.01)
        else:
            assert answer.status_code == 200, answer.text
            return


@contextmanager
def terminal() -> Iterator[int]:
    """Open a pseudo-terminal nobody types into; yield what a child has as its standard input."""
    ours, theirs = os.openpty()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)
