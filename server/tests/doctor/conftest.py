"""The whole server in process, for the doctor to examine."""

from server.tests.wire.conftest import config, outbound, wire

__all__ = ["config", "outbound", "wire"]
