"""Tells whether a directory outlives the container or the machine's next start."""

import re
from pathlib import Path

_VOLATILE = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MOUNTS = Path("/proc/self/mountinfo")


def find_volatile(path: Path, *, mounts: Path = _MOUNTS) -> str | None:
    """Return the kind of file system a path is on, if it is one that goes with its container or at a restart.

    None as well where the system does not tell. ``overlay`` is what a container writes to where no volume is mounted.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        place = path.resolve()
    except OSError:
        return None
    kind, depth = "", -1
    for line in lines:
        before, _, behind = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not behind:  # noqa: PLR2004  the mount point is the fifth field (proc(5))
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # Of two mounts at one place the later one hides the other.
        if place.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = behind.split(" ")[0], len(point.parts)
    return kind if kind in _VOLATILE else None
