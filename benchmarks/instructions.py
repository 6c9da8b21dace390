"""What a request costs in instructions of the processor, counted by callgrind: the same on a busy machine as on a quiet one.

Usage: python benchmarks/instructions.py MEASURE [--database postgres] [--requests N] [--keep FILE]

Seconds of a shared machine move by a third; this moves by less than one in a hundred, so a change of two is a change. It is
no time: a signature runs four instructions in the time of one of the interpreter, and the kernel's are not counted. It
counts all that the server does meanwhile, what it does each second included. Needs valgrind. The file that is kept is for
``callgrind_annotate --inclusive=yes``; the interpreter's own functions have names where its debug symbols are installed.
"""

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import contestants
import load
from contestants import AUTHSERVER, Contestant, Installation
from database_server import durable_postgres, find_binaries
from machine import WORK
from measures import Prover, Target, authorizations, introspections, machine_tokens, refreshes, whole_flow

CONNECTIONS = 16
WARM_UP = 160
_PATIENCE_SECONDS = 300


def _bound_tokens(target: Target) -> load.Requests:
    return machine_tokens(target, _proofs(f"http://localhost:{target.port}{target.paths['token']}"))


@cache
def _proofs(url: str) -> Iterator[str]:
    """Return the proofs of one key, each made when it is wanted: under callgrind one made before would be too old."""
    return iter(Prover(url).proof, "")


_MEASURES: dict[str, Callable[[Target], load.Requests]] = {
    "authorize": authorizations,
    "bound": _bound_tokens,
    "client_credentials": machine_tokens,
    "flow": whole_flow,
    "introspection": introspections,
    "refresh": refreshes,
}
_COST = re.compile(r" *([\d,]+) \([ \d.]+%\)  \S+?:.*?(?: \[(.*)\])?")


class _Ration:
    """So many requests, whichever connection sends them; a round that has begun goes to its end."""

    def __init__(self, number: int) -> None:
        self.left = number

    def of(self, make: Callable[[], load.Requests]) -> load.Requests:
        """Go through requests until the ration is used up."""
        requests = make()
        request = next(requests)
        while self.left > 0:
            self.left -= 1
            request = requests.send((yield request))


def count(contestant: Contestant, measure: str, requests: int) -> None:
    """Have callgrind count what a number of requests cost."""
    target, make = contestant.target, partial(_MEASURES[measure], contestant.target)

    def send(number: int) -> None:
        ration = _Ration(number)
        load.run_all(target.port, partial(ration.of, make), connections=CONNECTIONS)

    send(WARM_UP)
    _control("-i", "on", contestant)
    send(requests)
    _control("-i", "off", contestant)


def _control(option: str, value: str, contestant: Contestant) -> None:
    command = ["callgrind_control", option, value, str(contestant.pid)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def report(file: Path, requests: int) -> str:
    """Return a table: instructions of a request by library."""
    command = ["callgrind_annotate", "--threshold=100", str(file)]
    annotated = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    costs: Counter[str] = Counter()
    for line in annotated.splitlines():
        found = _COST.fullmatch(line)
        if found and "PROGRAM TOTALS" not in line:
            costs[Path(found[2] or "elsewhere").name] += int(found[1].replace(",", ""))
    lines = [f"{'thousand instructions a request':40}{sum(costs.values()) / requests / 1000:10.1f}"]
    lines += [f"  {name:38}{cost / requests / 1000:10.1f}" for name, cost in costs.most_common(8)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the instructions of a request.")
    parser.add_argument("measure", choices=sorted(_MEASURES))
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--keep", type=Path, help="where callgrind's own file goes")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    # Under callgrind everything takes fifty times as long.
    contestants.PATIENCE_SECONDS = load.PATIENCE_SECONDS = _PATIENCE_SECONDS
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="authplane-count-", dir=WORK)))
        if options.database == "postgres":
            binaries = find_binaries()
            if binaries is None:
                sys.exit("PostgreSQL is not installed")
            dsn = stack.enter_context(durable_postgres(binaries))
            settings = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
        else:
            file = str(directory / "server" / "authserver.db")
            settings = {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": file}
        out = (options.keep or directory / "callgrind.out").absolute()
        installation = Installation(directory / "server", settings)
        tool = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
        with installation.serve("counted", launcher=(*tool, sys.executable, str(AUTHSERVER))) as contestant:
            count(contestant, options.measure, options.requests)
        print(report(out, options.requests))


if __name__ == "__main__":
    main()
