"""How a run is shown: a table of samples, each figure beside its target and the recorded one, and a plot."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from figures import AT_LEAST, AT_MOST, Figures, Samples
from load import Sample

mpl.use("svg")


def print_samples(samples: Samples) -> None:
    """Print one line for each server and measure: medians of the rounds."""
    print(f"\n{'':28}{'flows/s':>10}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU us/request':>16}")
    for measure, rows in samples.items():
        print(measure)
        for name, taken in rows.items():
            flows = f"{median_of(taken, 'rounds_per_second'):10.0f}" if measure.startswith("flow") else f"{'':10}"
            print(
                f"  {name:26}{flows}{median_of(taken, 'requests_per_second'):12.0f}{median_of(taken, 'p50_ms'):9.2f}"
                f"{median_of(taken, 'p99_ms'):9.2f}{median_of(taken, 'cpu_us_per_request'):16.0f}"
            )


def median_of(samples: Sequence[Sample], attribute: str) -> float:
    """Return the median of one member of samples."""
    values: list[float] = [getattr(sample, attribute) for sample in samples]
    return statistics.median(values)


def print_verdicts(figures: Figures, recorded: Mapping[str, float]) -> None:
    """Print each figure, its target, whether it is met, and what was recorded."""
    print(f"\n{'':44}{'now':>10}{'recorded':>10}{'target':>12}")
    for name, value in figures.items():
        before = f"{recorded[name]:10.2f}" if name in recorded else f"{'':10}"
        print(f"{name:44}{value:10.2f}{before}{_verdict(name, value)}")


def _verdict(name: str, value: float) -> str:
    if name in AT_LEAST:
        return f"{f'>= {AT_LEAST[name]:g}':>12}  {'met' if value >= AT_LEAST[name] else 'MISSED'}"
    if name in AT_MOST:
        return f"{f'<= {AT_MOST[name]:g}':>12}  {'met' if value <= AT_MOST[name] else 'MISSED'}"
    return ""


def plot_samples(samples: Samples, path: Path) -> None:
    """Draw one panel a measure: requests per second of each server, a dot for each round, the median as a bar."""
    columns = 2
    rows = -(-len(samples) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11, 2.2 * rows), squeeze=False, layout="constrained")
    for panel, (measure, taken) in zip(axes.flat, samples.items(), strict=False):
        names = list(taken)[::-1]
        panel.barh(names, [median_of(taken[name], "requests_per_second") for name in names], color="#9db4d6")
        for position, name in enumerate(names):
            dots = [sample.requests_per_second for sample in taken[name]]
            panel.plot(dots, [position] * len(dots), "o", color="#1f3a68", markersize=3)
        panel.set_title(measure, fontsize=9, loc="left")
        panel.set_xlabel("requests/s", fontsize=8)
        panel.tick_params(labelsize=8)
    for panel in axes.flat[len(samples) :]:
        panel.set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def plot_growth(grown: Mapping[str, Mapping[int, Mapping[str, float]]], path: Path) -> None:
    """Draw how each measure moves as a database grows: one panel a database, requests per second over rows."""
    figure, axes = plt.subplots(1, len(grown), figsize=(5.5 * len(grown), 3.6), squeeze=False, layout="constrained")
    for panel, (database, by_size) in zip(axes.flat, grown.items(), strict=True):
        sizes = list(by_size)
        for measure in next(iter(by_size.values())):
            panel.plot(sizes, [by_size[size][measure] for size in sizes], "o-", label=measure, markersize=4)
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_title(database, fontsize=9, loc="left")
        panel.set_xlabel("clients, users and families", fontsize=8)
        panel.set_ylabel("requests/s", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.legend(fontsize=7)
    figure.savefig(path)
    plt.close(figure)
