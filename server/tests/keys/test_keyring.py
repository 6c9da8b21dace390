from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keyring import open_keyring
from authserver.keys.keystore import Change, KeyStoreError

NOW = 1_790_000_000
RETENTION = 4200

pytestmark = pytest.mark.anyio

OpenStore = Callable[..., KeyfileStore]


async def unrecorded(kid: str, change: Change | None = None) -> None:
    """Nothing of a directory stands in the database."""
    assert change is None


async def test_a_refresh_deletes_the_files_of_a_retired_key_once(path: Path, open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    await keyring.rotate(NOW, unrecorded)
    await keyring.refresh(NOW + RETENTION)
    assert not (path / "previous.pem").exists()
    snapshot = keyring.snapshot(NOW + RETENTION)
    await keyring.refresh(NOW + RETENTION + 1)
    assert keyring.snapshot(NOW + RETENTION + 1) is snapshot


async def test_unreadable_files_leave_the_last_keys_in_use(
    path: Path, open_store: OpenStore, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    good, pem = keyring.snapshot(NOW), (path / "current.pem").read_bytes()
    (path / "current.pem").write_bytes(b"nonsense")
    for second in (1, 2, 3):
        await keyring.refresh(NOW + second)
        assert keyring.snapshot(NOW + second) is good
    errors = [line for line in log_lines() if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert str(path / "current.pem") in errors[0]["error"]

    (path / "current.pem").write_bytes(pem)
    await keyring.refresh(NOW + 4)
    assert keyring.snapshot(NOW + 4).jwks == good.jwks


async def test_a_lost_current_file_is_no_reason_to_invent_a_key_while_running(
    path: Path, open_store: OpenStore
) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    good = keyring.snapshot(NOW)
    (path / "current.pem").unlink()
    await keyring.refresh(NOW + 1)
    assert keyring.snapshot(NOW + 1) is good
    assert not (path / "current.pem").exists()


async def test_a_rotation_that_cannot_be_written_changes_nothing(path: Path, open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    good = keyring.snapshot(NOW)
    (path / "current.kid").unlink()
    with pytest.raises(KeyStoreError):
        await keyring.rotate(NOW + 1, unrecorded)
    assert keyring.snapshot(NOW + 1) is good
