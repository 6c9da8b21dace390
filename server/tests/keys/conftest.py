import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from authserver.keys.keyfile import KeyfileStore
from authserver.protocol.jose import Algorithm
from authserver.telemetry import logs
from authserver.telemetry.logs import configure_logging

RETENTION = 4200

OpenStore = Callable[..., KeyfileStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def open_store(path: Path) -> OpenStore:
    """Another process's view of the directory: every call gives a store of its own."""

    def open_store(algorithm: Algorithm = "ES256") -> KeyfileStore:
        return KeyfileStore(path, algorithm=algorithm, retention=RETENTION)

    return open_store


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged so far."""
    before = vars(logs._output).copy()
    stream = io.BytesIO()
    configure_logging(stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    vars(logs._output).clear()
    vars(logs._output).update(before)
