"""What a run says: a table of samples, and each figure beside its target and the recorded one."""

import statistics
from collections.abc import Mapping, Sequence

from load import Sample

Figures = dict[str, float]

AT_LEAST: Figures = {
    "flow / node-oidc-provider": 3,
    "flow, postgres / sqlite": 1.0,
    "jwks / node-oidc-provider": 1.3,
}
AT_MOST: Figures = {
    "p50 at 1 connection, ms": 1.2,
    "p99 at 1 connection, ms": 8,
    "p99 / p50 at 64 connections": 4,
    "resident idle, MiB": 90,
    "resident under load, MiB": 150,
    "authserver version, s": 0.15,
    "start to first 200, s": 0.8,
}


def print_samples(samples: Mapping[str, Mapping[str, Sequence[Sample]]]) -> None:
    """Print one line for each server and measure: medians of the rounds."""
    print(f"\n{'':28}{'flows/s':>10}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU us/request':>16}")
    for measure, rows in samples.items():
        print(measure)
        for name, taken in rows.items():
            flows = f"{_median(taken, 'rounds_per_second'):10.0f}" if measure.startswith("flow") else f"{'':10}"
            print(
                f"  {name:26}{flows}{_median(taken, 'requests_per_second'):12.0f}{_median(taken, 'p50_ms'):9.2f}"
                f"{_median(taken, 'p99_ms'):9.2f}{_median(taken, 'cpu_us_per_request'):16.0f}"
            )


def _median(samples: Sequence[Sample], attribute: str) -> float:
    values: list[float] = [getattr(sample, attribute) for sample in samples]
    return statistics.median(values)


def print_verdicts(figures: Figures, recorded: Figures) -> None:
    """Print each figure, its target, whether it is met, and what was recorded."""
    print(f"\n{'':36}{'now':>9}{'recorded':>10}{'target':>12}")
    for name, value in figures.items():
        before = f"{recorded[name]:10.2f}" if name in recorded else f"{'':10}"
        print(f"{name:36}{value:9.2f}{before}{_verdict(name, value)}")


def _verdict(name: str, value: float) -> str:
    if name in AT_LEAST:
        return f"{f'>= {AT_LEAST[name]:g}':>12}  {'met' if value >= AT_LEAST[name] else 'MISSED'}"
    if name in AT_MOST:
        return f"{f'<= {AT_MOST[name]:g}':>12}  {'met' if value <= AT_MOST[name] else 'MISSED'}"
    return ""
