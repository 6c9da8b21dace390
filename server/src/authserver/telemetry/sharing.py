"""Metrics of several processes: each counts into a file of its own, and whoever is scraped adds the files up.

To be set up before ``telemetry.metrics`` is imported, which makes the instruments. A file belongs to the number of a worker,
not to its process: who takes the place of a dead one goes on counting where that stopped, and there are never more files.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from authserver.telemetry.counting import OwnNumber

_INSTRUMENTS = "authserver.telemetry.metrics"
# Whose names are kept from one scrape to the next; more are parsed anew each time.
_MOST_SERIES = 16_384


class _File(MmapedDict):
    """The numbers of one worker, of one kind of instrument.

    Attributes:
        cells: All of it, as the numbers that it consists of.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)  # type: ignore[no-untyped-call]  # the library leaves it so
        self.cells = memoryview(self._m).cast("d")

    def find(self, key: str) -> int:
        """Return the cell of a number; one that is not there yet begins at 0."""
        self.read_value(key)  # type: ignore[no-untyped-call]  # as above
        if self.cells.obj is not self._m:
            # It had to grow.
            self.cells = memoryview(self._m).cast("d")
        position: int = self._positions[key]
        return position // self.cells.itemsize

    def close(self) -> None:
        """Let go of it."""
        self.cells.release()
        super().close()  # type: ignore[no-untyped-call]  # as above


class _Share:
    """Where this process counts; nowhere but in memory by default."""

    def __init__(self) -> None:
        self.directory = ""
        self.count = 0
        self.number = 0
        self.numbers: list[_SharedNumber] = []
        self._files: dict[str, _File] = {}

    def file(self, kind: str) -> _File:
        """Return the file for one kind of instrument."""
        file = self._files.get(kind)
        if file is None:
            file = self._files[kind] = _File(str(Path(self.directory, f"{kind}_{self.number}.db")))
        return file

    def move(self, number: int) -> None:
        """Go on with what stands in the files of another worker, or of a former one of this number."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self.number = number
        for each in self.numbers:
            each.find()


_share = _Share()


class _SharedNumber:
    """A number in a file of this process; the library makes one for each that it shows."""

    __slots__ = ("_at", "_file", "_key", "_kind")

    def __init__(
        self,
        kind: str,
        family: str,
        name: str,
        label_names: list[str],
        label_values: list[str],
        documentation: str,
        multiprocess_mode: str = "",
    ) -> None:
        self._kind = f"{kind}_{multiprocess_mode}" if multiprocess_mode else kind
        self._key = mmap_key(family, name, label_names, label_values, documentation)
        _share.numbers.append(self)
        self.find()

    def find(self) -> None:
        """Go to where this process counts now."""
        self._file = _share.file(self._kind)
        self._at = self._file.find(self._key)

    def add(self, amount: float) -> None:
        """Add to it; see ``Number.add``. The whole cell is written at once: nobody reads half of it."""
        self._file.cells[self._at] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Forget what it was."""
        self._file.write_value(self._key, value, timestamp or 0.0)  # type: ignore[no-untyped-call]  # as above

    def get(self) -> float:
        """Return it."""
        return self._file.cells[self._at]

    def get_exemplar(self) -> Exemplar | None:
        """Return None: there are none."""
        return None


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


def use_share(number: int) -> None:
    """Count as this one of the processes from now on; to be called by each process that was forked."""
    _share.move(number)


def number_class() -> type[OwnNumber | _SharedNumber]:
    """Return what the instruments of this process are to be made of."""
    return _SharedNumber if _share.count else OwnNumber


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
