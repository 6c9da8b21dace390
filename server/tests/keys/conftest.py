from collections.abc import Callable
from pathlib import Path

import pytest

from authserver.keys.keyfile import KeyfileStore
from authserver.protocol.jose import Algorithm

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
