"""Log lines as a collector wants them: made from the very lines that are written, so that they tell no more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1 import logs_pb2 as proto
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from authserver.telemetry.otlp.resource import SCHEMA_URL, attributes_of

METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"

_SEVERITIES = {
    "DEBUG": proto.SEVERITY_NUMBER_DEBUG,
    "INFO": proto.SEVERITY_NUMBER_INFO,
    "WARN": proto.SEVERITY_NUMBER_WARN,
    "ERROR": proto.SEVERITY_NUMBER_ERROR,
}
_NANOSECONDS = 1_000_000_000
# What the resource or the record itself says.
_PLACED = ("time", "level", "msg", "service", "trace_id", "span_id")


def encode_lines(lines: Sequence[bytes], resource: Resource, scope: InstrumentationScope) -> bytes:
    """Return the request that hands lines over.

    Args:
        lines: As JSON.
        resource: Who tells.
        scope: What made them.
    """
    records = [_spell(orjson.loads(line)) for line in lines]
    scoped = proto.ScopeLogs(scope=scope, log_records=records, schema_url=SCHEMA_URL)
    message = proto.ResourceLogs(resource=resource, scope_logs=[scoped], schema_url=SCHEMA_URL)
    encoded: bytes = ExportLogsServiceRequest(resource_logs=[message]).SerializeToString()
    return encoded


def _spell(line: dict[str, Any]) -> proto.LogRecord:
    at = round(datetime.fromisoformat(line["time"]).timestamp() * 1000) * (_NANOSECONDS // 1000)
    trace_id, span_id = line.get("trace_id", ""), line.get("span_id", "")
    return proto.LogRecord(
        time_unix_nano=at,
        observed_time_unix_nano=at,
        severity_number=_SEVERITIES[line["level"]],
        severity_text=line["level"],
        body=AnyValue(string_value=line["msg"]),
        attributes=attributes_of({key: value for key, value in line.items() if key not in _PLACED}),
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
        flags=1 if span_id else 0,
    )
