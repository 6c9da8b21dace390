"""What the server says about itself: ``observability``."""

from dataclasses import dataclass, field
from typing import Annotated

from authserver.config.declaring import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOutputsConfig:
    """Where log lines go."""

    stdout: Annotated[
        bool, Key("AUTHPLANE_LOG_STDOUT", "Writes log lines to standard output; it stays on while `otel` is off.")
    ] = True
    otel: Annotated[bool, Key("AUTHPLANE_LOG_OTEL", "Exports log lines by OTLP over gRPC.")] = False
    otel_endpoint: Annotated[
        str,
        Key(
            "AUTHPLANE_LOG_OTEL_ENDPOINT",
            "Collector of the log lines, `host:port`.",
            required=True,
            when="observability.logging.outputs.otel",
        ),
    ] = ""
    insecure: Annotated[bool, Key("AUTHPLANE_LOG_OTEL_INSECURE", "Talks to the collector without TLS.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingConfig:
    """Log lines."""

    level: Annotated[
        str,
        Key(
            "AUTHPLANE_LOG_LEVEL",
            "The least severe lines that are written.",
            choices=("debug", "info", "warn", "error"),
            folded=True,
        ),
    ] = "info"
    format: Annotated[str, Key("AUTHPLANE_LOG_FORMAT", "For programs, or for people.", choices=("json", "text"))] = (
        "json"
    )
    add_source: Annotated[bool, Key("AUTHPLANE_LOG_ADD_SOURCE", "Adds file and line to each record.")] = False
    outputs: LogOutputsConfig = field(default_factory=LogOutputsConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Metrics."""

    provider: Annotated[
        str,
        Key(
            "AUTHPLANE_METRICS_PROVIDER",
            "Who gets the metrics.",
            choices=("prometheus", "otel", "both", "none"),
        ),
    ] = "prometheus"
    path: Annotated[
        str,
        Key(
            "AUTHPLANE_METRICS_PATH",
            "Where Prometheus reads them, on the admin listener.",
            rule="none of the paths of health",
            required=True,
            pattern=r"(?!/(livez|health|ready)$)/[A-Za-z0-9._~/-]+",
        ),
    ] = "/metrics"
    otel_endpoint: Annotated[
        str,
        Key(
            "AUTHPLANE_METRICS_OTEL_ENDPOINT",
            "Collector of the metrics, `host:port`.",
            required=True,
            when="observability.metrics.provider=otel|both",
        ),
    ] = ""
    insecure: Annotated[bool, Key("AUTHPLANE_METRICS_INSECURE", "Talks to the collector without TLS.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingConfig:
    """Traces."""

    enabled: Annotated[bool, Key("AUTHPLANE_TRACING_ENABLED", "Exports spans by OTLP over gRPC.")] = False
    endpoint: Annotated[
        str,
        Key(
            "AUTHPLANE_TRACING_ENDPOINT",
            "Collector of the spans, `host:port`.",
            required=True,
            when="observability.tracing.enabled",
        ),
    ] = ""
    insecure: Annotated[bool, Key("AUTHPLANE_TRACING_INSECURE", "Talks to the collector without TLS.")] = False
    sample_rate: Annotated[
        float, Key("AUTHPLANE_TRACING_SAMPLE_RATE", "Share of requests that are traced.", least=0, most=1)
    ] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilityConfig:
    """Logs, metrics and traces."""

    logging: LoggingConfig = field(default_factory=LoggingConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    tracing: TracingConfig = field(default_factory=TracingConfig)
