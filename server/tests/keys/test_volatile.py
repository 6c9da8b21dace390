import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from authserver.keys.keyfile import KeyfileStore
from authserver.keys.volatile import find_volatile

NOW = 1_790_000_000
MOUNTS = """\
22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a
23 22 0:22 / /proc rw - proc proc rw
24 22 8:1 / /data rw,relatime shared:1 - ext4 /dev/sda1 rw
25 24 0:25 / /data/with\\040blank rw - tmpfs tmpfs rw
26 22 0:26 / /twice rw - tmpfs tmpfs rw
27 22 8:2 / /twice rw - ext4 /dev/sda2 rw
not a mount
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/app/data/keys", "overlay"),
        ("/data/keys", None),
        ("/database", "overlay"),
        ("/data/with blank/keys", "tmpfs"),
        ("/twice/keys", None),
    ],
)
def test_the_innermost_mount_decides(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert find_volatile(Path(path), mounts=mounts) == kind


def test_where_the_system_does_not_tell_nothing_is_said(tmp_path: Path) -> None:
    assert find_volatile(Path("/"), mounts=tmp_path / "missing") is None


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory that is kept in memory."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.mark.anyio
async def test_keys_that_go_with_the_container_are_warned_of_at_every_start(
    memory: Path, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    for _ in range(2):
        await KeyfileStore(memory / "keys", algorithm="ES256", retention=0).prepare(now=NOW)
    warned = [line for line in log_lines() if line["msg"].startswith("signing keys are ephemeral")]
    assert len(warned) == 2
    assert {(line["level"], line["filesystem"], line["path"]) for line in warned} == {
        ("WARN", "tmpfs", str(memory / "keys"))
    }
