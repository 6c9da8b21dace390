"""What a collector gets, over a real connection."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from authserver.config.sections.observability import (
    LoggingConfig,
    LogOutputsConfig,
    MetricsConfig,
    ObservabilityConfig,
    TracingConfig,
)
from authserver.telemetry import logs, metrics
from authserver.telemetry.exporting import NOTHING, exporting
from authserver.telemetry.logs import configure_logging, get_logger
from authserver.telemetry.metrics import REGISTRY, scrape
from authserver.telemetry.otlp import sending
from authserver.telemetry.otlp.sending import MOST_WAITING, Gathered, Measured, Sender, open_channel
from authserver.telemetry.spans import leave, span, within
from server.tests.fakes.certificates import tls_contexts
from throwaway_collector import Collector, running_collector

SECONDS = 30.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.01)


def all_of(endpoint: str) -> ObservabilityConfig:
    return ObservabilityConfig(
        logging=LoggingConfig(outputs=LogOutputsConfig(stdout=False, otel=True, otel_endpoint=endpoint, insecure=True)),
        metrics=MetricsConfig(provider="otel", otel_endpoint=endpoint, insecure=True),
        tracing=TracingConfig(enabled=True, endpoint=endpoint, insecure=True),
    )


def traces_to(endpoint: str) -> ObservabilityConfig:
    return ObservabilityConfig(tracing=TracingConfig(enabled=True, endpoint=endpoint, insecure=True))


def unused_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def dropped(signal: str) -> float:
    return REGISTRY.get_sample_value("authserver_telemetry_dropped_total", {"signal": signal}) or 0.0


def test_spans_arrive_with_what_was_said_of_them(collector: Collector) -> None:
    with exporting(traces_to(collector.endpoint), instance="i", worker=3) as exports:
        tracer = exports.tracer
        assert tracer is not None
        context = tracer.join([f"00-{'a' * 32}-{'b' * 16}-01"], ["k=v"], [])
        request = tracer.start("GET /x", context)
        assert request is not None
        before = within(request)
        with span("Service.Operation", client_id="c", number=7, is_new=True) as inner:
            inner.note("an_event")
            inner.fail("a_reason")
        leave(before)
        request.set("http.url", "/path/eve@example.com")
        request.end()
    service, server = collector.spans()
    assert (service.name, service.kind, service.status, service.message) == ("Service.Operation", 1, 2, "a_reason")
    assert service.attributes == {"client_id": "c", "number": 7, "is_new": True}
    assert service.events == ("an_event",)
    assert (service.trace_id, service.parent_id) == ("a" * 32, server.span_id)
    assert (server.name, server.kind, server.status, server.parent_id) == ("GET /x", 2, 0, "b" * 16)
    assert server.attributes == {"http.url": "/path/[address]"}
    assert server.resource["service.name"] == "authserver"
    assert (server.resource["service.instance.id"], server.resource["authserver.worker"]) == ("i", 3)


def one_span_to(config: TracingConfig) -> None:
    with exporting(ObservabilityConfig(tracing=config), instance="i") as exports:
        assert exports.tracer is not None
        request = exports.tracer.start("GET /", exports.tracer.begin())
        assert request is not None
        request.end()


def test_a_collector_proves_who_it_is_to_what_the_system_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_contexts(tmp_path, "127.0.0.1")
    chain = tmp_path / "chain.pem"
    with running_collector(chain=chain.read_bytes()) as collector:
        before = dropped("traces")
        one_span_to(TracingConfig(enabled=True, endpoint=collector.endpoint))
        assert (collector.spans(), dropped("traces")) == ([], before + 1)
        monkeypatch.setenv("SSL_CERT_FILE", str(chain))
        one_span_to(TracingConfig(enabled=True, endpoint=collector.endpoint))
        assert [span.name for span in collector.spans()] == ["GET /"]


def test_metrics_are_what_a_scrape_shows(collector: Collector) -> None:
    metrics.HTTP_REQUEST_DURATION.observe(0.3, "GET", "/otlp", "200")
    metrics.HTTP_REQUESTS.inc("GET", "/otlp", "200")
    config = ObservabilityConfig(
        metrics=MetricsConfig(provider="both", otel_endpoint=collector.endpoint, insecure=True)
    )
    with exporting(config, instance="i") as exports:
        assert exports.has_metrics
    told = collector.metrics()
    assert told is not None
    assert (
        told[
            'authserver_http_request_duration_seconds_bucket{http_method="GET",http_route="/otlp",http_status_code="200",le="0.25"}'
        ]
        == 0
    )
    assert (
        told[
            'authserver_http_request_duration_seconds_bucket{http_method="GET",http_route="/otlp",http_status_code="200",le="0.5"}'
        ]
        == 1
    )
    scraped = {}
    for line in scrape().decode().splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            pairs = sorted(re.findall(r'(\w+)="([^"]*)"', labels))
            inner = ",".join(
                f'{key}="{float(text):g}"' if key == "le" and text != "+Inf" else f'{key}="{text}"'
                for key, text in pairs
            )
            scraped[f"{name}{{{inner}}}" if inner else name] = float(value)
    assert told == scraped


def test_only_the_first_worker_tells_the_metrics(collector: Collector) -> None:
    config = ObservabilityConfig(
        metrics=MetricsConfig(provider="otel", otel_endpoint=collector.endpoint, insecure=True)
    )
    with exporting(config, instance="i", worker=1) as exports:
        assert exports is NOTHING
    assert collector.received() == []


@pytest.mark.parametrize("line_format", ["json", "text"])
def test_log_lines_arrive_instead_of_being_written(
    collector: Collector, line_format: logs.LineFormat, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    configure_logging(line_format=line_format)
    with exporting(all_of(collector.endpoint), instance="i"):
        get_logger("token").info("tokens issued", client_id="c", token="t", number=1, nothing=None)
        get_logger("token").warning("odd", text="\ud800")
        get_logger("token").error("a JWT", text="eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln")
    assert b"tokens issued" not in capsysbinary.readouterr().out
    told = [line for line in collector.logs() if line["component"] == "token"]
    assert told[0] == {
        "msg": "tokens issued",
        "level": "INFO",
        "component": "token",
        "client_id": "c",
        "token": "[redacted]",
        "number": 1,
        "nothing": "None",
        "trace_id": "",
        "span_id": "",
    }
    assert told[-1]["text"] == "[redacted]"
    assert b"eyJ" not in b"".join(collector.received())


def test_a_record_that_no_message_can_hold_takes_no_other_with_it(collector: Collector) -> None:
    def encode(records: object) -> bytes:
        assert isinstance(records, list)
        if "bad" in records:
            raise ValueError("bad")
        return ",".join(records).encode()

    before = dropped("traces")
    gathered = Gathered[str](encode, "traces")
    for record in ("one", "bad", "two"):
        gathered.put(record)
    assert list(gathered.messages()) == [(b"one", 1), (b"two", 1)]
    assert dropped("traces") == before + 1


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    before = dropped("traces")
    gathered = Gathered[str](lambda records: ",".join(records).encode(), "traces")
    for number in range(MOST_WAITING + 100):
        gathered.put(str(number))
    assert dropped("traces") == before + 100
    sent = b",".join(message for message, _ in gathered.messages()).split(b",")
    assert (len(sent), sent[0], sent[-1]) == (MOST_WAITING, b"0", str(MOST_WAITING - 1).encode())


def test_a_collector_that_comes_back_gets_what_was_gathered_meanwhile() -> None:
    address = unused_address()
    gathered = Gathered[bytes](b",".join, "traces")
    method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    channel = open_channel(address, is_insecure=True)
    sender = Sender(channel, method, gathered, signal="traces", endpoint=address, interval=0.05)
    try:
        gathered.put(b"early")
        wait_until(lambda: sender._is_failing)
        with running_collector(int(address.rpartition(":")[2])) as collector:
            gathered.put(b"late")
            wait_until(lambda: b"late" in b"".join(collector.received()))
            assert b"early" in b"".join(collector.received())
    finally:
        sender.begin_to_stop()
        sender.stop(1)


def rejecting(number: int) -> bytes:
    said = ExportTracePartialSuccess(rejected_spans=number)
    return bytes(ExportTraceServiceResponse(partial_success=said).SerializeToString())


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (rejecting(2), 2),
        (rejecting(2**62), 3),
        (rejecting(-1), 0),
        (b"\xff no message", 0),
    ],
)
def test_what_a_collector_says_it_rejected_is_counted_as_dropped(answer: bytes, counted: int) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(lambda _message, _context: answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Rejecting", handlers),))
    endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    before = dropped("traces")
    gathered = Gathered[bytes](b"".join, "traces")
    channel = open_channel(endpoint, is_insecure=True)
    sender = Sender(channel, "/test.Rejecting/Export", gathered, signal="traces", endpoint=endpoint, interval=SECONDS)
    for record in (b"1", b"2", b"3"):
        gathered.put(record)
    sender.begin_to_stop()
    sender.stop(SECONDS)
    server.stop(None).wait()
    assert dropped("traces") == before + counted


def hanging_collector(release: threading.Event) -> tuple[grpc.Server, str]:
    """Run a collector that takes calls and never answers them."""
    server = grpc.server(ThreadPoolExecutor(2))

    def hang(_message: bytes, _context: object) -> bytes:
        release.wait(SECONDS)
        return b""

    for service in ("trace.v1.TraceService", "metrics.v1.MetricsService", "logs.v1.LogsService"):
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(hang)}
        name = f"opentelemetry.proto.collector.{service}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def test_a_collector_that_hangs_or_is_away_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    server, hanging = hanging_collector(release)
    # Without a bound, a call would hang for the whole of its own time, one message after the other.
    monkeypatch.setattr(sending, "_CALL_SECONDS", SECONDS)
    monkeypatch.setattr("authserver.telemetry.exporting.FLUSH_SECONDS", 0.2)
    try:
        for endpoint in (hanging, unused_address()):
            with exporting(traces_to(endpoint), instance="i") as exports:
                assert exports.tracer is not None
                for _ in range(3000):
                    request = exports.tracer.start("GET /", exports.tracer.begin())
                    assert request is not None
                    request.end()
            wait_until(lambda: not any(thread.name.startswith("otlp-") for thread in threading.enumerate()))
    finally:
        release.set()
        server.stop(None).wait()


def test_figures_that_cannot_be_read_once_are_told_the_next_time(
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    answers = iter(("\ud800", "figures"))
    measured = Measured(lambda: next(answers).encode())
    assert list(measured.messages()) == []
    assert list(measured.messages()) == [(b"figures", 0)]
    (line,) = log_lines()
    assert (line["msg"], line["cause"]) == ("metrics cannot be told", "UnicodeEncodeError")


def test_what_a_collector_says_of_itself_reaches_no_output() -> None:
    # As GRPC logs it: the library reads the variable once, when it is imported.
    program = """
import os, sys
from authserver.config.sections.observability import ObservabilityConfig, TracingConfig
from authserver.telemetry.exporting import exporting
assert "grpc" not in sys.modules and "GRPC_VERBOSITY" not in os.environ
config = ObservabilityConfig(tracing=TracingConfig(enabled=True, endpoint="127.0.0.1:1", insecure=True))
with exporting(config, instance="i"):
    assert "grpc" in sys.modules and os.environ["GRPC_VERBOSITY"] == "NONE"
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_a_server_without_the_extra_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    monkeypatch.setitem(sys.modules, "authserver.telemetry.otlp.opening", None)
    with exporting(all_of("127.0.0.1:1"), instance="i") as exports:
        assert exports is NOTHING
        get_logger("token").info("written all the same")
    lines = log_lines()
    assert [(line["level"], line["msg"]) for line in lines] == [
        ("ERROR", "telemetry is not exported: install authplane-server[otel], the extra that it needs"),
        ("INFO", "written all the same"),
    ]


def test_what_cannot_be_opened_is_left_out_and_the_rest_is_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    def fail(endpoint: str, *, is_insecure: bool) -> grpc.Channel:
        if endpoint == "bad":
            raise RuntimeError("a secret")
        return open_channel(endpoint, is_insecure=is_insecure)

    monkeypatch.setattr("authserver.telemetry.otlp.opening.open_channel", fail)
    config = ObservabilityConfig(
        metrics=MetricsConfig(provider="otel", otel_endpoint="bad", insecure=True),
        tracing=TracingConfig(enabled=True, endpoint=collector.endpoint, insecure=True),
    )
    with exporting(config, instance="i") as exports:
        assert exports.has_metrics is False
        assert exports.tracer is not None
    assert log_lines()[0] | {"time": ""} == {
        "time": "",
        "level": "ERROR",
        "msg": "telemetry is not exported",
        "service": "authserver",
        "component": "telemetry",
        "signal": "metrics",
        "endpoint": "bad",
        "cause": "RuntimeError",
    }


def test_nothing_is_imported_where_no_collector_is_configured() -> None:
    program = """
import sys
from authserver.cli import serving, supervisor
from authserver.config.sections.observability import ObservabilityConfig
from authserver.telemetry.exporting import NOTHING, exporting
with exporting(ObservabilityConfig(), instance="i") as exports:
    assert exports is NOTHING
assert not {"grpc", "google.protobuf", "opentelemetry"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
