"""``slow_flush.py UNITS serve …``: the server on a disk whose flush takes 2 ms longer, with at most UNITS writes in a commit."""

import sys
import time
from unittest.mock import patch

from authserver.cli.main import main
from authserver.storage import sqlite, sqlite_writing

_SLOWER_SECONDS = 0.002


class SlowWriter(sqlite_writing.SqliteWriter):
    """Waits before each commit, in the thread that waits for the disk."""

    def _commit(self, started: float) -> Exception | None:
        time.sleep(_SLOWER_SECONDS)
        return super()._commit(started)


if __name__ == "__main__":
    units = int(sys.argv.pop(1))
    with patch.object(sqlite_writing, "_BATCH_UNITS", units), patch.object(sqlite, "SqliteWriter", SlowWriter):
        main()
