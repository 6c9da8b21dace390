"""Metrics as a collector wants them: what a scrape would show, under the same names."""

from collections.abc import Iterable
from itertools import pairwise

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as proto
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from authserver.telemetry.otlp.resource import SCHEMA_URL, attributes_of

METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

_CUMULATIVE = proto.AGGREGATION_TEMPORALITY_CUMULATIVE
# Labels whose name has a dot where Prometheus allows none.
_DOTTED = {"http_method": "http.method", "http_route": "http.route", "http_status_code": "http.status_code"}
_Labels = tuple[tuple[str, str], ...]


def encode_metrics(
    families: Iterable[Metric], resource: Resource, scope: InstrumentationScope, *, since: int, now: int
) -> bytes:
    """Return the request that hands metrics over.

    Args:
        families: As they are scraped.
        resource: Who tells.
        scope: What made them.
        since: When counting began, in nanoseconds since the epoch.
        now: The time, likewise.
    """
    metrics = [_spell(family, since, now) for family in families if family.samples]
    scoped = proto.ScopeMetrics(scope=scope, metrics=metrics, schema_url=SCHEMA_URL)
    message = proto.ResourceMetrics(resource=resource, scope_metrics=[scoped], schema_url=SCHEMA_URL)
    encoded: bytes = ExportMetricsServiceRequest(resource_metrics=[message]).SerializeToString()
    return encoded


def _spell(family: Metric, since: int, now: int) -> proto.Metric:
    match family.type:
        case "counter":
            points = [_number(sample, since, now) for sample in family.samples]
            total = proto.Sum(data_points=points, aggregation_temporality=_CUMULATIVE, is_monotonic=True)
            return proto.Metric(name=f"{family.name}_total", description=family.documentation, sum=total)
        case "histogram":
            histogram = proto.Histogram(
                data_points=_distributions(family.samples, since, now), aggregation_temporality=_CUMULATIVE
            )
            return proto.Metric(name=family.name, description=family.documentation, unit="s", histogram=histogram)
        case _:
            gauge = proto.Gauge(data_points=[_number(sample, 0, now) for sample in family.samples])
            return proto.Metric(name=family.name, description=family.documentation, gauge=gauge)


def _number(sample: Sample, since: int, now: int) -> proto.NumberDataPoint:
    return proto.NumberDataPoint(
        attributes=attributes_of(_dotted(sample.labels)),
        start_time_unix_nano=since,
        time_unix_nano=now,
        as_double=sample.value,
    )


def _distributions(samples: Iterable[Sample], since: int, now: int) -> list[proto.HistogramDataPoint]:
    """Gather the samples of each set of labels: Prometheus counts what is below a bound, OTLP what is between two."""
    below: dict[_Labels, dict[float, float]] = {}
    sums: dict[_Labels, float] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        if sample.name.endswith("_bucket"):
            below.setdefault(labels, {})[float(sample.labels["le"])] = sample.value
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = []
    for labels, buckets in below.items():
        bounds = sorted(buckets)
        counts = [0.0, *(buckets[bound] for bound in bounds)]
        points.append(
            proto.HistogramDataPoint(
                attributes=attributes_of(_dotted(dict(labels))),
                start_time_unix_nano=since,
                time_unix_nano=now,
                count=int(counts[-1]),
                sum=sums.get(labels, 0.0),
                bucket_counts=[int(high - low) for low, high in pairwise(counts)],
                # The last one is infinity, which goes without saying.
                explicit_bounds=bounds[:-1],
            )
        )
    return points


def _dotted(labels: dict[str, str]) -> dict[str, str]:
    return {_DOTTED.get(name, name): value for name, value in labels.items()}
