"""Tells a collector what this process sees: spans, metrics and log lines over OTLP/gRPC.

Owns the messages and the threads that send them. Imported only where a collector is configured, after worker processes parted:
gRPC does not survive a fork, and needs the extra ``otel``. Leaves what is told to the rest of ``telemetry``.
"""
