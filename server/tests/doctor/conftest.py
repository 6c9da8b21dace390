"""The whole server in process, for the doctor to examine."""

from server.tests.wire.conftest import config, outbound, password_hash, wire

__all__ = ["config", "outbound", "password_hash", "wire"]
