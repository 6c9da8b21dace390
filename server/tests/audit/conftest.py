from pathlib import Path

import pytest

from authserver.storage.database import Database
from server.tests.audit.sealed import Clock, Trail, keyring_in


@pytest.fixture
async def trail(db: Database, tmp_path: Path) -> Trail:
    """An empty trail with a key, on both databases."""
    return Trail(db, await keyring_in(tmp_path / "keys"), Clock())
