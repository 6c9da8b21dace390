"""A collector that takes telemetry over OTLP/gRPC and keeps it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

_PREFIX = "/opentelemetry.proto.collector."
_TRACES, _METRICS, _LOGS = (
    f"{_PREFIX}{name}/Export" for name in ("trace.v1.TraceService", "metrics.v1.MetricsService", "logs.v1.LogsService")
)


@dataclass(frozen=True)
class SeenSpan:
    """A span that arrived.

    Attributes:
        resource: Who sent it.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    status: int
    message: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    resource: dict[str, Any]


@dataclass
class Collector:
    """What arrived, by the full name of the method that brought it."""

    endpoint: str = ""
    _received: list[tuple[str, bytes]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, message: bytes) -> bytes:
        """Keep a message, and answer that all of it was taken."""
        with self._lock:
            self._received.append((method, message))
        return b""

    def received(self, method: str | None = None) -> list[bytes]:
        """Return the messages of a method, or all."""
        with self._lock:
            return [message for name, message in self._received if method in {None, name}]

    def spans(self) -> list[SeenSpan]:
        """Return the spans by now."""
        return [
            SeenSpan(
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                name=span.name,
                kind=span.kind,
                status=span.status.code,
                message=span.status.message,
                attributes=_members(span.attributes),
                events=tuple(event.name for event in span.events),
                resource=_members(resource.resource.attributes),
            )
            for message in self.received(_TRACES)
            for resource in ExportTraceServiceRequest.FromString(message).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list[dict[str, Any]]:
        """Return the log records by now: attributes, with what stands beside them."""
        return [
            {
                **_members(record.attributes),
                "msg": record.body.string_value,
                "level": record.severity_text,
                "trace_id": record.trace_id.hex(),
                "span_id": record.span_id.hex(),
            }
            for message in self.received(_LOGS)
            for resource in ExportLogsServiceRequest.FromString(message).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def metrics(self) -> dict[str, float] | None:
        """Return the last metrics as Prometheus shows them: series to value; None before any came."""
        messages = self.received(_METRICS)
        if not messages:
            return None
        series: dict[str, float] = {}
        (resource,) = ExportMetricsServiceRequest.FromString(messages[-1]).resource_metrics
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in (*metric.sum.data_points, *metric.gauge.data_points):
                series[_series(metric.name, _members(point.attributes))] = point.as_double
            for point in metric.histogram.data_points:
                labels, below = _members(point.attributes), 0
                bounds = [*(f"{bound:g}" for bound in point.explicit_bounds), "+Inf"]
                for bound, count in zip(bounds, point.bucket_counts, strict=True):
                    below += count
                    series[_series(f"{metric.name}_bucket", {**labels, "le": bound})] = below
                series[_series(f"{metric.name}_count", labels)] = point.count
                series[_series(f"{metric.name}_sum", labels)] = point.sum
        return series


@contextlib.contextmanager
def running_collector(port: int = 0, *, chain: bytes | None = None) -> Iterator[Collector]:
    """Run one on loopback.

    Args:
        port: Where; 0 for any that is free.
        chain: Its key and certificate; None: it speaks no TLS.
    """
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])

    def taking(method: str) -> Callable[[bytes, Any], bytes]:
        return lambda message, _context: collector.take(method, message)

    for method in (_TRACES, _METRICS, _LOGS):
        service, _, name = method.removeprefix("/").partition("/")
        handlers = {name: grpc.unary_unary_rpc_method_handler(taking(method))}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    address = f"127.0.0.1:{port}"
    if chain is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, grpc.ssl_server_credentials([(chain, chain)]))
    collector.endpoint = f"127.0.0.1:{port}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _members(attributes: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in attributes}


def _series(name: str, labels: dict[str, Any]) -> str:
    inner = ",".join(f'{key.replace(".", "_")}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name
