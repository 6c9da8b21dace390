"""Run as a program: rotates a copy of a key directory once for each file operation, and dies before that operation.

Arguments: the directory to copy, the directory for the copies, the time. The copies are named 0, 1, 2, …; the last one is
the rotation that nobody stopped.
"""

import os
import shutil
import sys
from pathlib import Path

from authserver.keys.keyfile import KeyfileStore

OPERATIONS = {"open", "os.rename", "os.remove", "os.utime", "os.chown", "os.mkdir"}
KILLED = 9


def die_before(operation: int, directory: Path) -> None:
    """Arrange that this process ends before its n-th file operation in the directory."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in OPERATIONS or not isinstance(arguments[0], str | os.PathLike | int):
            return
        if isinstance(arguments[0], int) or Path(arguments[0]).is_relative_to(directory):
            if seen == operation:
                os._exit(KILLED)
            seen += 1

    sys.addaudithook(hook)


def main(template: Path, copies: Path, now: int) -> None:
    """Rotate until a rotation comes through."""
    operation = 0
    while True:
        directory = copies / str(operation)
        shutil.copytree(template, directory)
        child = os.fork()
        if child == 0:
            die_before(operation, directory)
            KeyfileStore(directory, algorithm="ES256", retention=4200)._rotate(now)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            return
        if code != KILLED:
            sys.exit(f"rotation {operation} ended with {code}")
        operation += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
