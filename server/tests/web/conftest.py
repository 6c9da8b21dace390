"""What the tests of the edge share: the lines it logs."""

import io
import logging
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from authserver.telemetry import logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Returns the lines logged so far."""
    stream = io.BytesIO()
    monkeypatch.setattr(logs._output, "stream", stream)
    monkeypatch.setattr(logs._output, "level", logging.INFO)
    return lambda: [orjson.loads(line) for line in stream.getvalue().splitlines()]
