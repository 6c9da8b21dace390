"""Starts what tells a collector, in each process that serves, and ends it. A collector is never needed to serve."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authserver.config.sections.observability import ObservabilityConfig
from authserver.protocol.identifiers import random_bytes
from authserver.telemetry.logs import export_lines, get_logger
from authserver.telemetry.spans import Span
from authserver.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from authserver.telemetry.otlp.opening import Exporters

FLUSH_SECONDS = 5.0
"""How long a process that ends waits for its collector to take what it gathered."""

_log = get_logger("telemetry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exports:
    """What a process tells its collector.

    Attributes:
        tracer: Begins spans; None while none are wanted.
        has_metrics: Whether it tells the metrics, of all processes.
    """

    tracer: Tracer | None = None
    has_metrics: bool = False


NOTHING = Exports()
"""Where no collector is configured."""


def new_instance() -> str:
    """Return the name of a server that starts."""
    return random_bytes().hex()


@contextlib.contextmanager
def exporting(config: ObservabilityConfig, *, instance: str, worker: int = 0) -> Iterator[Exports]:
    """Tell the collectors of the configuration from now on; in the end they get what was gathered.

    Args:
        config: What is told to whom.
        instance: Names the server; all its processes say the same.
        worker: The number of this process. The first one tells the metrics of all.
    """
    wants_metrics = config.metrics.provider in {"otel", "both"} and worker == 0
    if not (config.tracing.enabled or config.logging.outputs.otel or wants_metrics):
        yield NOTHING
        return
    # What the library itself writes to stderr repeats what the other end says, as it is. Failures are logged by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251  the library's only switch
    try:
        from authserver.telemetry.otlp.opening import Exporters  # noqa: PLC0415  136 ms, and an extra
    except ImportError as exc:
        _log.error(
            "telemetry is not exported: install authplane-server[otel], the extra that it needs", missing=exc.name
        )
        yield NOTHING
        return
    exporters = Exporters(instance=instance, worker=worker)
    try:
        if config.logging.outputs.otel and (put_line := exporters.open_logs(config.logging.outputs)) is not None:
            export_lines(put_line, is_alone=not config.logging.outputs.stdout)
        has_metrics = wants_metrics and exporters.open_metrics(config.metrics)
        tracer = _open_tracer(config, exporters)
        yield Exports(tracer=tracer, has_metrics=has_metrics)
    finally:
        export_lines(None)
        exporters.stop(FLUSH_SECONDS)


def _open_tracer(config: ObservabilityConfig, exporters: "Exporters") -> Tracer | None:
    put: Callable[[Span], None] | None = exporters.open_traces(config.tracing) if config.tracing.enabled else None
    if put is None:
        return None
    return Tracer(sample_rate=config.tracing.sample_rate, put=put, monotonic=time.monotonic)
