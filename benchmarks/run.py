"""``make bench``: everything in one interleaved run, A B C A B C…, so that what disturbs one disturbs all.

Servers share one core, the load (and PostgreSQL) has the other. A figure is the median of its rounds, a ratio the median
of the ratios within each round: absolute figures move by a third on shared machines, ratios hardly.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contestants import Contestant, Installation, floor, install_peer, peer
from database_server import durable_postgres, find_binaries
from load import Sample, measure_flow, measure_jwks
from machine import LOAD_CORE, SERVER_CORE, WORK, describe, on_core, resident_mib
from report import Figures, print_samples, print_verdicts

HERE = Path(__file__).parent
BASELINES = HERE / "baselines.json"
OUT = HERE / "out"
FLOOR, SQLITE, POSTGRES, PEER = "floor", "authserver sqlite", "authserver postgres", "node-oidc-provider"
STARTS = 5

Samples = dict[str, dict[str, list[Sample]]]
"""Measure, contestant, one sample a round."""

MEASURES: dict[str, tuple[Callable[..., Sample], int]] = {
    "flow, 1 connection": (measure_flow, 1),
    "flow, 16 connections": (measure_flow, 16),
    "flow, 64 connections": (measure_flow, 64),
    "jwks, 16 connections": (measure_jwks, 16),
}


@contextlib.contextmanager
def all_contestants(directory: Path, only: str) -> Iterator[tuple[Installation, list[Contestant]]]:
    """Start every server that this machine can run."""
    with contextlib.ExitStack() as stack:
        database = directory / "sqlite" / "authserver.db"
        sqlite = {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": str(database)}
        installation = Installation(directory / "sqlite", sqlite)
        ours = stack.enter_context(installation.serve(SQLITE))
        contestants = [stack.enter_context(floor(directory / "floor", ours, database)), ours]
        binaries = find_binaries()
        if binaries is None:
            print("PostgreSQL is not installed: left out")
        elif only in POSTGRES:
            dsn = stack.enter_context(durable_postgres(binaries))
            postgres = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
            contestants.append(stack.enter_context(Installation(directory / "postgres", postgres).serve(POSTGRES)))
        if only in PEER:
            if install_peer():
                contestants.append(stack.enter_context(peer(directory / "peer")))
            else:
                print("node-oidc-provider could not be fetched: left out")
        yield installation, [contestant for contestant in contestants if only in contestant.name]


def run_rounds(contestants: list[Contestant], *, rounds: int, seconds: float, measures: list[str]) -> Samples:
    """Take the samples."""
    samples: Samples = {measure: {contestant.name: [] for contestant in contestants} for measure in measures}
    with on_core(LOAD_CORE):
        for number in range(rounds):
            for measure in measures:
                take, connections = MEASURES[measure]
                for contestant in contestants:
                    sample = take(contestant.target, connections=connections, seconds=seconds)
                    samples[measure][contestant.name].append(sample)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return samples


def single_figures(installation: Installation, contestants: list[Contestant]) -> Figures:
    """Return what is measured by itself: starting, and memory."""
    ours = next((contestant for contestant in contestants if contestant.name == SQLITE), None)
    if ours is None:
        return {}
    return {
        "resident idle, MiB": ours.idle_mib,
        "resident under load, MiB": resident_mib(ours.pid),
        "authserver version, s": statistics.median(installation.version_seconds() for _ in range(STARTS)),
    }


def start_seconds(installation: Installation) -> float:
    """Return how long a start takes, with nothing else running."""
    return statistics.median(installation.start_once() for _ in range(STARTS))


def build_figures(samples: Samples) -> Figures:
    """Return the ratios and times that have targets."""
    by = {measure: rows for measure, rows in samples.items() if rows}
    figures: Figures = {}

    def ratio(name: str, measure: str, one: str, other: str) -> None:
        rows = by.get(measure, {})
        if one in rows and other in rows:
            pairs = zip(rows[one], rows[other], strict=True)
            figures[name] = statistics.median(a.requests_per_second / b.requests_per_second for a, b in pairs)
            pairs = zip(rows[one], rows[other], strict=True)
            figures[f"{name}, by CPU"] = statistics.median(
                b.cpu_us_per_request / a.cpu_us_per_request for a, b in pairs
            )

    ratio("flow / floor", "flow, 16 connections", SQLITE, FLOOR)
    ratio("flow / node-oidc-provider", "flow, 16 connections", SQLITE, PEER)
    ratio("flow, postgres / sqlite", "flow, 64 connections", POSTGRES, SQLITE)
    ratio("jwks / floor", "jwks, 16 connections", SQLITE, FLOOR)
    ratio("jwks / node-oidc-provider", "jwks, 16 connections", SQLITE, PEER)
    single = by.get("flow, 1 connection", {}).get(SQLITE)
    if single:
        figures["p50 at 1 connection, ms"] = statistics.median(sample.p50_ms for sample in single)
        figures["p99 at 1 connection, ms"] = statistics.median(sample.p99_ms for sample in single)
    many = by.get("flow, 64 connections", {}).get(SQLITE)
    if many:
        figures["p99 / p50 at 64 connections"] = statistics.median(sample.p99_ms / sample.p50_ms for sample in many)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure AuthPlane beside its floor and a peer, in one interleaved run."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one sample")
    parser.add_argument("--only", default="", help="contestants whose name contains this")
    parser.add_argument("--measure", default="", help="measures whose name contains this")
    parser.add_argument("--record", action="store_true", help="keep the result in baselines.json")
    options = parser.parse_args()
    measures = [measure for measure in MEASURES if options.measure in measure]
    machine = describe()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if SERVER_CORE == LOAD_CORE:
        print("one core only: servers and load share it, and absolute figures mean little")
    with tempfile.TemporaryDirectory(prefix="authplane-bench-", dir=WORK) as name:
        with all_contestants(Path(name), options.only) as (installation, contestants):
            samples = run_rounds(contestants, rounds=options.rounds, seconds=options.seconds, measures=measures)
            alone = single_figures(installation, contestants)
        if alone:
            alone["start to first 200, s"] = start_seconds(installation)
    figures = build_figures(samples) | alone
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "figures": figures}
    print_samples(samples)
    print_verdicts(figures, _recorded())
    _write(result | {"samples": _plain(samples)}, OUT / f"{result['at']}.json")
    if options.record:
        _write(result, BASELINES)


def _recorded() -> Figures:
    figures: Figures = json.loads(BASELINES.read_text())["figures"] if BASELINES.exists() else {}
    return figures


def _plain(samples: Samples) -> dict[str, Any]:
    return {
        measure: {name: [asdict(sample) for sample in taken] for name, taken in rows.items()}
        for measure, rows in samples.items()
    }


def _write(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 3))
    path.write_text(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    main()
