"""Whether something could be made at a place, without making it."""

import os
from pathlib import Path


def may_make(path: str | Path) -> bool:
    """Whether a file or directory that is not there could be made by this process, with the directories above it."""
    nearest = next(parent for parent in Path(path).absolute().parents if os.access(parent, os.F_OK))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
