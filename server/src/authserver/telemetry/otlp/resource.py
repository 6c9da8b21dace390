"""Who tells: the resource and the scope of every message."""

import os
import socket
from collections.abc import Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from authserver.telemetry.installed import version
from authserver.telemetry.logs import SERVICE

SCHEMA_URL = "https://opentelemetry.io/schemas/1.43.0"


def build_resource(instance: str, worker: int) -> Resource:
    """Describe this process.

    Args:
        instance: Names the server; all its workers say the same.
        worker: The number of the process among them.
    """
    members: dict[str, object] = {
        "service.name": SERVICE,
        "service.version": version(),
        "service.instance.id": instance,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "authserver.worker": worker,
    }
    return Resource(attributes=attributes_of(members))


def build_metrics_resource(instance: str) -> Resource:
    """Describe the server as a whole, so that its series go on when another worker takes over."""
    members = {"service.name": SERVICE, "service.version": version(), "service.instance.id": instance}
    return Resource(attributes=attributes_of({**members, "host.name": socket.gethostname()}))


def build_scope() -> InstrumentationScope:
    """Say what made the records."""
    return InstrumentationScope(name=SERVICE, version=version())


def attributes_of(members: Mapping[str, object]) -> list[KeyValue]:
    """Return members as attributes; what OTLP has no type for becomes text."""
    return [KeyValue(key=key, value=value_of(value)) for key, value in members.items()]


def value_of(value: object) -> AnyValue:
    """Return a value as OTLP has it."""
    match value:
        case str():
            return AnyValue(string_value=value)
        case bool():
            return AnyValue(bool_value=value)
        case int() if -(1 << 63) <= value < 1 << 63:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case _:
            return AnyValue(string_value=str(value))
