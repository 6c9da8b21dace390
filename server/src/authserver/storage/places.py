"""Whether something could be made at a place, without making it."""

import os
import tempfile
from pathlib import Path


def may_make(path: str | Path) -> bool:
    """Whether a file or directory that is not there could be made by this process, with the directories above it.

    Permissions do not tell (file systems that are read-only, or none); a file without a name that is gone at once does.
    """
    nearest = next(parent for parent in Path(path).absolute().parents if os.access(parent, os.F_OK))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return True
    except OSError:
        return False
