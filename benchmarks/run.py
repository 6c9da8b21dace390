"""``make bench``: everything in one interleaved run, A B C A B C…, so that what disturbs one disturbs all.

Servers share one core, the load (and PostgreSQL) has the other. A figure is the median of its rounds, a ratio the median
of the ratios within each round: absolute figures move by a third on shared machines, ratios hardly.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collector import collecting
from contestants import Contestant, Installation, floor, install_peer, peer
from database_server import durable_postgres, find_binaries
from figures import (
    ALL_TRACED,
    GRANTS,
    LIST_PAGE,
    LOGGED,
    PEER,
    POSTGRES,
    SQLITE,
    TRACED,
    Figures,
    Samples,
    build_figures,
)
from lists import compare_lists
from load import Sample
from machine import LOAD_CORE, SERVER_CORE, WORK, describe, on_core, resident_mib
from measures import MEASURES, Provider, measure_flow, measure_grants, measure_machine_tokens
from report import plot_samples, print_samples, print_verdicts

HERE = Path(__file__).parent
BASELINES = HERE / "baselines.json"
OUT = HERE / "out"
STARTS = 5
_GROWING_SECONDS = 10
_YARDSTICK_SECONDS = 0.3
_TOLD_MEASURE = "flow, 16 connections"
_SAMPLE_RATES = {TRACED: "0.1", ALL_TRACED: "1"}


class Contest:
    """The servers of a run, and how each is set up."""

    def __init__(self, stack: contextlib.ExitStack, directory: Path, *, dsn: str | None, only: str) -> None:
        """Start every server whose name contains ``only``.

        Args:
            stack: Stops them.
            directory: Where they keep what they keep.
            dsn: A PostgreSQL database, or None.
            only: What they are chosen by.
        """
        database = directory / "sqlite" / "authserver.db"
        self.sqlite = Installation(directory / "sqlite", _sqlite(database))
        ours = stack.enter_context(self.sqlite.serve(SQLITE))
        contestants = [stack.enter_context(floor(directory / "floor", ours, database)), ours]
        if only in LOGGED:
            logged = Installation(directory / "logged", _sqlite(directory / "logged" / "authserver.db"))
            contestants.append(stack.enter_context(logged.serve(LOGGED, settings={"AUTHPLANE_LOG_LEVEL": "info"})))
        contestants += _traced(stack, directory, only=only)
        self.postgres: Installation | None = None
        if dsn and only in POSTGRES:
            postgres = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
            self.postgres = Installation(directory / "postgres", postgres)
            contestants.append(stack.enter_context(self.postgres.serve(POSTGRES)))
        if only in PEER:
            if install_peer():
                contestants.append(stack.enter_context(peer(directory / "peer")))
            else:
                print("node-oidc-provider could not be fetched: left out")
        self.contestants = [contestant for contestant in contestants if only in contestant.name]
        self.ours = next((contestant for contestant in self.contestants if contestant.name == SQLITE), None)


def _sqlite(path: Path) -> dict[str, str]:
    return {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": str(path)}


def _traced(stack: contextlib.ExitStack, directory: Path, *, only: str) -> Iterator[Contestant]:
    """Start servers that tell their spans to a collector, which has the core of the load."""
    for number, (name, rate) in enumerate(_SAMPLE_RATES.items()):
        if only in name:
            traced = Installation(
                directory / f"traced{number}", _sqlite(directory / f"traced{number}" / "authserver.db")
            )
            yield stack.enter_context(
                traced.serve(
                    name,
                    settings={
                        "AUTHPLANE_TRACING_ENABLED": "true",
                        "AUTHPLANE_TRACING_ENDPOINT": stack.enter_context(collecting()),
                        "AUTHPLANE_TRACING_INSECURE": "true",
                        "AUTHPLANE_TRACING_SAMPLE_RATE": rate,
                    },
                )
            )


def _may_take(measure: str, contestant: Contestant) -> bool:
    if contestant.name in {LOGGED, *_SAMPLE_RATES} and measure != _TOLD_MEASURE:
        return False
    return MEASURES[measure].needs in contestant.target.paths


def run_rounds(contestants: list[Contestant], samples: Samples, rounds: int, seconds: float) -> Iterator[float]:
    """Add one sample to each measure and contestant in each round; yield the yardstick of the round."""
    for measure, rows in samples.items():
        rows.update({contestant.name: [] for contestant in contestants if _may_take(measure, contestant)})
    for number in range(rounds):
        with on_core(LOAD_CORE):
            for measure, rows in samples.items():
                wanted = MEASURES[measure]
                for contestant in contestants:
                    if contestant.name in rows:
                        sample = wanted.take(contestant.target, connections=wanted.connections, seconds=seconds)
                        rows[contestant.name].append(sample)
        with on_core(SERVER_CORE):
            yardstick = [sys.executable, str(HERE / "yardstick.py"), str(_YARDSTICK_SECONDS)]
            signatures = float(subprocess.run(yardstick, capture_output=True, check=True).stdout)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        yield signatures


def compare_workers(installation: Installation, *, rounds: int, seconds: float) -> Figures:
    """Measure the whole flow of one and of two workers on PostgreSQL, in turn; servers and load may use every core."""
    ratios, rates = [], []
    for _ in range(rounds):
        taken = []
        for workers in ("1", "2"):
            with installation.serve(f"{workers} workers", "--workers", workers, pinned=False) as contestant:
                # The first time, every worker's connections have everything to plan and to look up.
                measure_flow(contestant.target, connections=64, seconds=seconds)
                taken.append(measure_flow(contestant.target, connections=64, seconds=seconds).requests_per_second)
        ratios.append(taken[1] / taken[0])
        rates.append(taken[1])
    return {
        "flow, two workers / one": statistics.median(ratios),
        "flow, two workers, requests/s": statistics.median(rates),
    }


def compare_commits(installation: Installation, *, rounds: int, seconds: float) -> Figures:
    """Measure the whole flow with a commit for all that wait and with one for each request, on a slow disk, in turn."""
    ratios = []
    for _ in range(rounds):
        taken = []
        for units in ("256", "1"):
            launcher = (sys.executable, str(HERE / "slow_flush.py"), units)
            with installation.serve(f"{units} a commit", launcher=launcher) as contestant, on_core(LOAD_CORE):
                taken.append(measure_flow(contestant.target, connections=64, seconds=seconds).requests_per_second)
        ratios.append(taken[0] / taken[1])
    return {"group commit / commit a request, slow flush": statistics.median(ratios)}


def compare_grants(installation: Installation, *, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Measure the grants that need no browser, bound by a proof of possession and not, in turn, on one server."""
    provider = Provider()
    client = installation.trust(provider.issuer)
    keys = installation.directory / "provider.json"
    keys.write_bytes(provider.key_set())
    taken: dict[str, list[Sample]] = {}
    launcher = (sys.executable, str(HERE / "vouched.py"), str(keys))
    with installation.serve("vouched", launcher=launcher) as contestant, on_core(LOAD_CORE):
        for _ in range(rounds):
            beside = measure_grants(contestant.target, provider, client, connections=16, seconds=seconds)
            for name, sample in beside.items():
                taken.setdefault(name, []).append(sample)
    return taken


def bytes_of_a_token(installation: Installation, *, seconds: float) -> float:
    """Return by how much the database grows with each machine token, its audit row included."""
    with installation.serve("growing") as contestant:
        before = installation.stored()
        measure_machine_tokens(contestant.target, connections=16, seconds=seconds)
        after = installation.stored()
    return (after[0] - before[0]) / (after[1] - before[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure AuthPlane beside its floor and a peer, in one interleaved run."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one sample")
    parser.add_argument("--only", default="", help="contestants whose name contains this")
    parser.add_argument("--measure", default="", help="measures whose name contains this")
    parser.add_argument("--record", action="store_true", help="keep the result in baselines.json")
    options = parser.parse_args()
    machine = describe()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if SERVER_CORE == LOAD_CORE:
        print("one core only: servers and load share it, and absolute figures mean little")
    samples, figures = _measure(options)
    if not samples:
        sys.exit("no contestant has such a measure")
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "figures": figures}
    print_samples(samples)
    print_verdicts(figures, _recorded())
    OUT.mkdir(exist_ok=True)
    plot = OUT / f"{result['at']}.svg"
    plot_samples(samples, plot)
    write_json(result | {"samples": _plain(samples)}, OUT / f"{result['at']}.json")
    print(f"\nsamples and plot: {plot.relative_to(HERE.parent)} and the .json beside it")
    if options.record:
        write_json(result, BASELINES)
        plot_samples(samples, BASELINES.with_suffix(".svg"))


def _measure(options: argparse.Namespace) -> tuple[Samples, Figures]:
    """Take everything: side by side first, then what is measured with nothing else running."""
    samples: Samples = {measure: {} for measure in MEASURES if options.measure in measure}
    signatures: list[float] = []
    resident: list[float] = []
    with tempfile.TemporaryDirectory(prefix="authplane-bench-", dir=WORK) as name, contextlib.ExitStack() as outer:
        binaries = find_binaries()
        if binaries is None:
            print("PostgreSQL is not installed: left out")
        dsn = outer.enter_context(durable_postgres(binaries)) if binaries else None
        with contextlib.ExitStack() as stack:
            contest = Contest(stack, Path(name), dsn=dsn, only=options.only)
            for rate in run_rounds(contest.contestants, samples, options.rounds, options.seconds):
                signatures.append(rate)
                resident += [resident_mib(contest.ours.pid)] if contest.ours else []
        if contest.ours and options.measure in GRANTS:
            samples[GRANTS] = compare_grants(contest.sqlite, rounds=options.rounds, seconds=options.seconds)
        figures = build_figures(samples, signatures)
        figures |= _measure_lists(options, samples, Path(name), dsn)
        if contest.ours:
            figures |= {
                "resident idle, MiB": contest.ours.idle_mib,
                "resident under load, MiB": resident[-1],
                "resident growth after the first round, %": (resident[-1] / resident[0] - 1) * 100,
                "authserver version, s": statistics.median(contest.sqlite.version_seconds() for _ in range(STARTS)),
                "start to first 200, s": statistics.median(contest.sqlite.start_once() for _ in range(STARTS)),
            }
        if "client_credentials" in options.measure or not options.measure:
            for database, installation in (("sqlite", contest.sqlite), ("postgres", contest.postgres)):
                if installation is not None:
                    grown = bytes_of_a_token(installation, seconds=_GROWING_SECONDS)
                    figures[f"bytes a machine token, {database}"] = grown
        if contest.ours and not options.measure:
            figures |= compare_commits(contest.sqlite, rounds=options.rounds, seconds=options.seconds)
        if contest.postgres and not options.measure:
            figures |= compare_workers(contest.postgres, rounds=options.rounds, seconds=options.seconds)
    return samples, figures


def _measure_lists(options: argparse.Namespace, samples: Samples, directory: Path, dsn: str | None) -> Figures:
    """Add the samples of operators' lists; return their figures."""
    if options.only or options.measure not in LIST_PAGE:
        return {}
    taken, figures = compare_lists(directory, dsn=dsn, rounds=options.rounds, seconds=options.seconds)
    samples.update(taken)
    return figures


def _recorded() -> Figures:
    figures: Figures = json.loads(BASELINES.read_text())["figures"] if BASELINES.exists() else {}
    return figures


def _plain(samples: Samples) -> dict[str, Any]:
    return {
        measure: {name: [asdict(sample) for sample in taken] for name, taken in rows.items()}
        for measure, rows in samples.items()
    }


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result, three digits behind the point."""
    path.parent.mkdir(exist_ok=True)
    rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 3))
    path.write_text(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    main()
