"""A wall clock that can be stepped under a running process; its monotonic clock goes on (libfaketime)."""

import importlib.util
from pathlib import Path

_LIBRARY = Path("vendor", "libfaketime", "src", "libfaketime.so.1")


class WallClock:
    """What time it is for the processes that are started with ``environment``.

    Args:
        directory: Where the file lies that they read it from, each time they ask.

    Attributes:
        environment: To start a process with.
        offset: Seconds that its clock is ahead of ours.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.environment = {
            "LD_PRELOAD": str(_find_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.offset = 0
        self.step_to(0)

    def step_to(self, offset: int) -> None:
        """Put the clock so many seconds ahead of ours, or, below zero, behind."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset:+d}\n")
        written.replace(self._file)
        self.offset = offset


def _find_library() -> Path:
    # Not imported: only what is preloaded is wanted.
    found = importlib.util.find_spec("libfaketime")
    assert found is not None, "libfaketime is not installed"
    assert found.origin is not None
    library = Path(found.origin).parent / _LIBRARY
    assert library.exists(), f"{library} is not there"
    return library
