"""Metrics of several processes: each counts into a file of its own, and whoever is scraped adds the files up.

To be set up before ``telemetry.metrics`` is imported, which makes the instruments. A file belongs to the number of a worker,
not to its process: who takes the place of a dead one goes on counting where that stopped, and there are never more files.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import prometheus_client.values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

_INSTRUMENTS = "authserver.telemetry.metrics"
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


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
    collector = MultiProcessCollector(None, _share.directory)  # type: ignore[no-untyped-call]  # the library leaves it so
    totals = {metric.name: metric for metric in collector.collect()}  # type: ignore[no-untyped-call]
    for metric in own:
        total = totals.get(metric.name)
        if total is not None and total.samples:
            yield total
        elif metric.type == "gauge":
            # Nobody has set it yet.
            yield metric
        else:
            yield Metric(metric.name, metric.documentation, metric.type)
