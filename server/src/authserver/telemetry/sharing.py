"""Metrics of several processes: each counts into a file of its own, and whoever is scraped adds the files up.

To be set up before ``telemetry.metrics`` is imported, which makes the instruments. A file belongs to the number of a worker,
not to its process: who takes the place of a dead one goes on counting where that stopped, and there are never more files.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import prometheus_client.values
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

_INSTRUMENTS = "authserver.telemetry.metrics"
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Whose names are kept from one scrape to the next; more are parsed anew each time.
_MOST_SERIES = 16_384


class _Place:
    """The number of a worker, for one process to count as.

    The library goes to the file of another place when it sees one, and reads what stands there. Thus two of the same number
    are not equal: who takes the place of a dead worker has inherited what the supervisor knows of that file, which is old.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __str__(self) -> str:
        """Name the file."""
        return str(self._number)


class _Share:
    """Where this process counts; nowhere but in memory by default."""

    directory = ""
    count = 0
    place = _Place(0)


_share = _Share()


def share_metrics(directory: Path, count: int) -> None:
    """Have instruments made from now on count for ``count`` processes.

    Args:
        directory: Empty, and nobody else's.
        count: How many.

    Raises:
        RuntimeError: The instruments are made already, and would count for one process each.
    """
    if _INSTRUMENTS in sys.modules:
        raise RuntimeError(f"{_INSTRUMENTS} was imported before metrics were shared")
    _share.directory, _share.count = str(directory), count
    os.environ[_VARIABLE] = _share.directory  # noqa: TID251  the library asks for it there
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(lambda: _share.place)  # type: ignore[no-untyped-call]  # the library leaves it so


def use_share(number: int) -> None:
    """Count as this one of the processes from now on; to be called by each process that was forked."""
    _share.place = _Place(number)


def shares() -> range:
    """Return the numbers of the processes that count together; none when this one counts alone."""
    return range(_share.count)


def read_shared(own: Iterable[Metric]) -> Iterator[Metric]:
    """Yield the totals over all processes.

    Args:
        own: The instruments as this process has them: what they are, in their order; also those that nobody has touched.
    """
    totals = _add_up()
    for metric in own:
        if metric.type == "gauge" and metric.name not in totals:
            # Nobody has set it yet.
            yield metric
            continue
        total = Metric(metric.name, metric.documentation, metric.type)
        total.samples = totals.get(metric.name, [])
        yield total


class _Series(NamedTuple):
    """What one value of a file is about.

    Attributes:
        family: The instrument's name.
        name: The sample's.
        bound: Of a bucket of a histogram, else None.
        labels: Without that.
    """

    family: str
    name: str
    bound: float | None
    labels: tuple[tuple[str, str], ...]


@lru_cache(_MOST_SERIES)
def _parse(key: str) -> _Series:
    family, name, labels, _ = json.loads(key)
    bound = labels.pop("le", None)
    return _Series(family, name, None if bound is None else float(bound), tuple(labels.items()))


def _add_up() -> dict[str, list[Sample]]:
    """Return the samples of each instrument that somebody has touched.

    The library's own way of doing this takes three times as long, in a worker that has requests to serve.
    """
    counted, shown = _read_files()
    samples: dict[str, list[Sample]] = defaultdict(list)
    buckets: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = defaultdict(list)
    for key, value in (*counted.items(), *((key, value) for key, (_, value) in shown.items())):
        family, name, bound, labels = _parse(key)
        if bound is None:
            samples[family].append(Sample(name, dict(labels), value))
        else:
            buckets[family, labels].append((bound, value))
    for (family, labels), counts in buckets.items():
        total = 0.0
        for bound, count in sorted(counts):
            total += count
            samples[family].append(Sample(f"{family}_bucket", {**dict(labels), "le": floatToGoString(bound)}, total))  # type: ignore[no-untyped-call]  # the library leaves it so
        samples[family].append(Sample(f"{family}_count", dict(labels), total))
    return samples


def _read_files() -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Return what was counted, added up, and what was set last of each gauge, with when."""
    counted: dict[str, float] = {}
    shown: dict[str, tuple[float, float]] = {}
    for path in sorted(Path(_share.directory).glob("*.db")):
        values = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]  # as above
        if path.name.startswith("gauge"):
            for key, value, at, _ in values:
                if at > shown.get(key, (0.0, 0.0))[0]:
                    shown[key] = (at, value)
        else:
            for key, value, _, _ in values:
                counted[key] = counted.get(key, 0.0) + value
    return counted, shown
