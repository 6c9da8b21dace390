"""A PostgreSQL cluster as durable as a real one, on the load's core: the database is another machine's work."""

import contextlib
import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from machine import LOAD_CORE, WORK, free_port, on_core

_SETTINGS = "-c shared_buffers=128MB -c jit=off -c listen_addresses=127.0.0.1 -c unix_socket_directories="


def find_binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL of the system, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def durable_postgres(binaries: Path) -> Iterator[str]:
    """Yield the DSN of a new cluster, which flushes every commit, as its superuser."""
    directory = Path(tempfile.mkdtemp(prefix="authplane-bench-pg-", dir=WORK))
    prefix: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        prefix = ["setpriv", f"--reuid={user}", "--clear-groups"]
        shutil.chown(directory, user)
    else:
        user = getpass.getuser()
    data, port = directory / "data", free_port()
    control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-t", "30"]

    def run(*command: str) -> None:
        subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    try:
        with on_core(LOAD_CORE):
            run(*prefix, str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8")
            run(*control, "-l", str(directory / "log"), "-o", f"{_SETTINGS} -p {port}", "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                run(*control, "-m", "fast", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
