"""Opens the way to a collector for each of the three signals."""

import time
from collections.abc import Callable, Sequence

from authserver.config.sections.observability import LogOutputsConfig, MetricsConfig, TracingConfig
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import COUNTING_SINCE, collect
from authserver.telemetry.otlp import log_messages, metric_messages, span_messages
from authserver.telemetry.otlp.resource import build_metrics_resource, build_resource, build_scope
from authserver.telemetry.otlp.sending import Gathered, Measured, Sender, Source, open_channel
from authserver.telemetry.spans import Span

METRICS_INTERVAL_SECONDS = 10.0
_INTERVAL_SECONDS = 1.0

_log = get_logger("telemetry")


class Exporters:
    """What tells collectors; each signal may have a collector of its own. What cannot be opened is logged and left out."""

    def __init__(self, *, instance: str, worker: int) -> None:
        """Describe who tells.

        Args:
            instance: Names the server; all its processes say the same.
            worker: The number of this process.
        """
        self._resource = build_resource(instance, worker)
        self._metrics_resource = build_metrics_resource(instance)
        self._scope = build_scope()
        self._senders: list[Sender] = []

    def open_traces(self, config: TracingConfig) -> Callable[[Span], None] | None:
        """Return what takes spans that have ended, or None."""

        def encode(spans: Sequence[Span]) -> bytes:
            return span_messages.encode_spans(spans, self._resource, self._scope)

        gathered = Gathered(encode, "traces")
        is_open = self._open(
            config.endpoint, gathered, "traces", span_messages.METHOD, _INTERVAL_SECONDS, is_insecure=config.insecure
        )
        return gathered.put if is_open else None

    def open_logs(self, config: LogOutputsConfig) -> Callable[[bytes], None] | None:
        """Return what takes log lines as JSON, or None."""

        def encode(lines: Sequence[bytes]) -> bytes:
            return log_messages.encode_lines(lines, self._resource, self._scope)

        gathered = Gathered(encode, "logs")
        is_open = self._open(
            config.otel_endpoint, gathered, "logs", log_messages.METHOD, _INTERVAL_SECONDS, is_insecure=config.insecure
        )
        return gathered.put if is_open else None

    def open_metrics(self, config: MetricsConfig) -> bool:
        """Tell the metrics from now on; return whether that works."""

        def encode() -> bytes:
            return metric_messages.encode_metrics(
                collect(), self._metrics_resource, self._scope, since=COUNTING_SINCE, now=time.time_ns()
            )

        return self._open(
            config.otel_endpoint,
            Measured(encode),
            "metrics",
            metric_messages.METHOD,
            METRICS_INTERVAL_SECONDS,
            is_insecure=config.insecure,
        )

    def _open(
        self, endpoint: str, source: Source, signal: str, method: str, interval: float, *, is_insecure: bool
    ) -> bool:
        try:
            channel = open_channel(endpoint, is_insecure=is_insecure)
            sender = Sender(channel, method, source, signal=signal, endpoint=endpoint, interval=interval)
        except Exception as exc:  # noqa: BLE001  whatever it is, the server serves all the same
            _log.error("telemetry is not exported", signal=signal, endpoint=endpoint, cause=type(exc).__name__)
            return False
        self._senders.append(sender)
        return True

    def stop(self, seconds: float) -> None:
        """Have all that was gathered sent, within so many seconds for all together."""
        end = time.monotonic() + seconds
        for sender in self._senders:
            sender.begin_to_stop()
        for sender in self._senders:
            sender.stop(max(0.0, end - time.monotonic()))
