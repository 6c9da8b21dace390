"""A collector that takes spans and forgets them: as little as can be."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from machine import LOAD_CORE, on_core


@contextlib.contextmanager
def collecting() -> Iterator[str]:
    """Run one in this process; yields where it listens."""
    with on_core(LOAD_CORE):
        server = grpc.server(ThreadPoolExecutor(1))
        export = grpc.unary_unary_rpc_method_handler(lambda _message, _context: b"")
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
