"""``python -m authserver.cli.tied FILE …`` runs a file whose process ends with the one that started it, however that ends.

The other end of its standard input is the parent's alone: it is closed when the parent is gone, killed ones included.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Run the file that the command line names, as if it had been called itself."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    # What lies beside the file is found, and nothing of the directory that we happen to be in.
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))  # noqa: PTH100, PTH120  pathlib would be imported for this
    runpy.run_path(sys.argv[0], run_name="__main__")


def _end_with_parent() -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, is fatal to an interpreter that ends.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
