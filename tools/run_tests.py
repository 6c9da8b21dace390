"""Runs pytest over the server's tests and the end-to-end tests: one run, one PostgreSQL, one summary at the end.

``run_tests.py [pytest arguments]``; without any, everything, on one process more than there are cores (at most five), as
end-to-end tests wait for others half of the time. Files are handed out whole, the long ones first (``server/tests/conftest.py``).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from throwaway_postgres import throwaway_postgres

ROOT = Path(__file__).resolve().parents[1]


def command(arguments: list[str]) -> list[str]:
    """Return the pytest command for what was asked on the command line."""
    paths = arguments or ["server/tests", "e2e"]
    workers = ["-n", str(min(4, os.cpu_count() or 1) + 1), "--dist", "loadfile", "--no-loadscope-reorder"]
    return [sys.executable, "-m", "pytest", *workers, *paths]


def main() -> int:
    """Start the database, run pytest, hand its exit code on."""
    run = command(sys.argv[1:])
    # Where a shell runs this in the background it is ignored, and so would be by all that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Hundreds of processes import the server: bytecode is kept, also where the environment is of a container without it.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        with throwaway_postgres() as dsn:
            env["AUTHPLANE_TEST_POSTGRES_DSN"] = dsn
            return subprocess.run(run, cwd=ROOT, env=env, check=False).returncode
    except RuntimeError as exc:  # no PostgreSQL: the tests that need it fail and say so
        print(exc, file=sys.stderr)
        return subprocess.run(run, cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
