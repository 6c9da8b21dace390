"""Spans as a collector wants them."""

from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

from authserver.telemetry.decisions import without_secrets
from authserver.telemetry.otlp.resource import SCHEMA_URL, attributes_of
from authserver.telemetry.spans import Span, SpanKind

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_HAS_PARENT, _PARENT_IS_REMOTE = 0x100, 0x200
_SAMPLED = 0x01
_KINDS = {
    SpanKind.INTERNAL: proto.Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: proto.Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: proto.Span.SPAN_KIND_CLIENT,
}
_FAILED = proto.Status.STATUS_CODE_ERROR


def encode_spans(spans: Sequence[Span], resource: Resource, scope: InstrumentationScope) -> bytes:
    """Return the request that hands spans over."""
    scoped = proto.ScopeSpans(scope=scope, spans=[_spell(span) for span in spans], schema_url=SCHEMA_URL)
    message = proto.ResourceSpans(resource=resource, scope_spans=[scoped], schema_url=SCHEMA_URL)
    encoded: bytes = ExportTraceServiceRequest(resource_spans=[message]).SerializeToString()
    return encoded


def _spell(span: Span) -> proto.Span:
    is_remote = span.root is span and bool(span.parent_id)
    message = proto.Span(
        trace_id=bytes.fromhex(span.context.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        trace_state=span.context.state,
        # Whether a parent is of another process is known of all spans.
        flags=_SAMPLED | _HAS_PARENT | (_PARENT_IS_REMOTE if is_remote else 0),
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=span.started_at,
        end_time_unix_nano=span.ended_at,
        # What a caller chose, such as a path of no route, may have the form of a secret.
        attributes=attributes_of(
            {key: without_secrets(value) if isinstance(value, str) else value for key, value in span.attributes.items()}
        ),
        events=[proto.Span.Event(name=name, time_unix_nano=at) for name, at in span.events],
    )
    if span.error is not None:
        message.status.code = _FAILED
        message.status.message = span.error
    return message
