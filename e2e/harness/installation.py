"""One installation of the product, as its operator has it: a directory, a database, an environment, the command."""

import asyncio
import contextlib
import json
import re
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from e2e.harness.processes import Process, clean_environment, free_port, wait_until
from e2e.harness.program import Program

ROOT = Path(__file__).parents[2]
AUTHSERVER = Path(sys.executable).parent / "authserver"
DEMO_SERVER = ROOT / "examples" / "python" / "quickstart" / "server.py"
SCOPES = ("notes:read||See your notes", "notes:write||Add notes")
COMMAND_SECONDS = 60
KNOWN_WITHIN_SECONDS = 15  # two on a machine of one's own
TWO_WORKERS = "two workers"
"""The parameter of the fixture ``installation`` for two workers on PostgreSQL:
``pytest.mark.parametrize("installation", [TWO_WORKERS], indirect=True, scope="module")``."""
DEVICE_GRANTS = ("urn:ietf:params:oauth:grant-type:device_code", "refresh_token")
EVERYWHERE = ("sqlite", "postgres", TWO_WORKERS)


@dataclass(frozen=True, slots=True)
class Account:
    """A user who can sign in."""

    email: str
    password: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A client that acts by itself.

    Attributes:
        secret: None for one that signs.
    """

    client_id: str
    secret: str | None
    auth_method: str

    def ask(self, issuer: str, **form: str) -> httpx2.Response:
        """Ask for a token by secret."""
        data = {"grant_type": "client_credentials", **form}
        return httpx2.post(f"{issuer}/oauth/token", data=data, auth=(self.client_id, self.secret or ""), timeout=20)


class Installation:
    """A configured server that is not running yet.

    Args:
        directory: Empty; the database file, the keys and the logs go here.
        database: The environment that names its database.
        extra: More of the server's environment.
        workers: How many processes serve; more than one needs PostgreSQL.
        command: How the product is called.
    """

    def __init__(
        self,
        directory: Path,
        *,
        database: dict[str, str],
        extra: dict[str, str] | None = None,
        workers: int = 1,
        command: Sequence[str | Path] = (AUTHSERVER,),
    ) -> None:
        self.directory = directory
        self.command = command
        self._operator: Program | None = None
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        self.environment = {
            "AUTHPLANE_SERVER_ISSUER": self.issuer,
            "AUTHPLANE_ADMIN_ENABLED": "false",
            "AUTHPLANE_SERVER_WORKERS": str(workers),
            "AUTHPLANE_SESSION_SECRET": secrets.token_hex(16),
            "AUTHPLANE_SIGNING_KEY_PATH": str(directory / "keys"),
            **database,
            **(extra or {}),
        }

    def run(self, *arguments: str) -> str:
        """Run the command and return what it printed; a failure is the test's."""
        if self._operator is not None:
            answer = self._operator.do("run", arguments=arguments)
            assert answer["code"] == 0, f"authserver {' '.join(arguments)}: {answer['error'] or answer['output']}"
            return str(answer["output"])
        done = subprocess.run(
            [*map(str, self.command), *arguments],
            cwd=self.directory,
            env=clean_environment() | self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"authserver {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def explain(self, reference: str, *options: str) -> str:
        """Return how a refusal is explained, which is written down a moment after it was answered."""
        explained: list[str] = []

        def is_written() -> bool:
            with contextlib.suppress(AssertionError):
                explained.append(self.run("admin", "trace", "show", *options, reference))
            return bool(explained)

        wait_until(is_written, seconds=KNOWN_WITHIN_SECONDS, what=f"{reference} is explained")
        return explained[0]

    @contextlib.contextmanager
    def operator(self) -> Iterator[None]:
        """Run all commands in one process: a scenario of many would start Python most of its time.

        Where another program stands for the product, that one runs each of them.
        """
        if self.command != (AUTHSERVER,):
            yield
            return
        options = {"environment": self.environment, "directory": str(self.directory)}
        with Program("python/commands.py", options) as self._operator:
            yield
        self._operator = None

    def serve(
        self, *, port: int | None = None, piped: bool = False, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a server process on the installation's port, or a further one on another, and wait for it.

        Args:
            port: Another than the installation's.
            piped: See ``Process``.
            environment: What this process is configured with otherwise.
        """
        port = port or self.port
        process = Process(
            [*self.command, "serve"],
            log=self.directory / f"serve-{port}.log",
            environment=self.environment | {"AUTHPLANE_SERVER_ADDRESS": f"127.0.0.1:{port}"} | dict(environment or {}),
            directory=self.directory,
            piped=piped,
        )
        with ending_on_failure(process):
            process.wait_for(f"http://127.0.0.1:{port}/ready")
        return process

    def create_user(self) -> Account:
        """Create a user with the command line."""
        account = Account(f"{uuid.uuid4().hex[:8]}@example.com", secrets.token_urlsafe(12))
        self.run("admin", "user", "create", "--email", account.email, "--password", account.password, "--name", "Ada")
        return account

    def create_resource_client(self) -> tuple[str, str]:
        """Create the confidential client a protected server introspects with; return its id and secret."""
        printed = self.run(
            *("admin", "client", "create", "--name", "Demo notes", "--auth-method", "client_secret_basic"),
            *("--redirect-uris", "http://127.0.0.1/unused"),
        )
        return found(r"\bid=(\S+)", printed), found(r"client_secret=(\S+)", printed)

    def create_public_client(self, redirect_uri: str) -> str:
        """Register a public client with the command line; return its id."""
        return self._create_client("--auth-method", "none", "--redirect-uris", redirect_uri)

    def create_device_client(self) -> str:
        """Register a public client without a browser; return its id."""
        return self._create_client("--auth-method", "none", "--grant-types", ",".join(DEVICE_GRANTS))

    def create_signing_client(self, redirect_uri: str, *, jwks: dict[str, Any]) -> str:
        """Register a client that signs its assertions; return its id."""
        keys = self.directory / f"{uuid.uuid4().hex}.jwks.json"
        keys.write_text(json.dumps(jwks))
        method = ("--auth-method", "private_key_jwt", "--jwks-file", str(keys))
        return self._create_client(*method, "--redirect-uris", redirect_uri)

    def create_machine(
        self, scope: str, *, auth_method: str = "client_secret_basic", jwks: dict[str, Any] | None = None
    ) -> Machine:
        """Create a client that acts by itself; with ``jwks`` one that signs its assertions."""
        options = ["--name", "Machine", "--grant-types", "client_credentials", "--scope", scope]
        if jwks is not None:
            keys = self.directory / f"{uuid.uuid4().hex}.jwks.json"
            keys.write_text(json.dumps(jwks))
            options += ["--jwks-file", str(keys)]
        printed = self.run("admin", "client", "create", "--auth-method", auth_method, *options)
        secret = None if jwks is not None else found(r"client_secret=(\S+)", printed)
        return Machine(found(r"\bid=(\S+)", printed), secret, auth_method)

    def _create_client(self, *options: str) -> str:
        return found(r"\bid=(\S+)", self.run("admin", "client", "create", "--name", "Known before", *options))

    def create_resource(self, uri: str, *, runtime_client_id: str) -> None:
        """Register a protected MCP server, and wait until the running server knows it."""
        slug = f"notes-{uuid.uuid4().hex[:6]}"
        scopes = [part for scope in SCOPES for part in ("--scopes", scope)]
        self.run(
            *("admin", "resource", "create", "--slug", slug, "--backend-kind", "mint"),
            *("--uri", uri, "--display-name", "Demo notes", "--policy-runtime-client-ids", runtime_client_id, *scopes),
        )
        document = f"{self.issuer}/.well-known/oauth-protected-resource/{slug}"
        wait_until(
            lambda: httpx2.get(document, timeout=20).status_code == 200,
            seconds=KNOWN_WITHIN_SECONDS,
            what=f"{slug} is known",
        )

    def start_demo(self) -> "Demo":
        """Register the demo MCP server and start it."""
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        client_id, secret = self.create_resource_client()
        self.create_resource(url, runtime_client_id=client_id)
        process = Process(
            [sys.executable, DEMO_SERVER, "--issuer", self.issuer, "--port", str(port)],
            log=self.directory / f"demo-{port}.log",
            environment={"AUTHPLANE_CLIENT_ID": client_id, "AUTHPLANE_CLIENT_SECRET": secret},
            directory=self.directory,
        )
        with ending_on_failure(process):
            process.wait_for(url)
        return Demo(url=url, client_id=client_id, client_secret=secret, process=process)


@dataclass(frozen=True, slots=True)
class Demo:
    """The running demo MCP server."""

    url: str
    client_id: str
    client_secret: str
    process: Process


def found(pattern: str, text: str) -> str:
    """Return the one group of a pattern that must be in a text."""
    match = re.search(pattern, text)
    assert match is not None, f"{pattern!r} is not in {text!r}"
    return match.group(1)


@contextlib.contextmanager
def ending_on_failure(process: Process) -> Iterator[None]:
    """End a process that did not come up."""
    try:
        yield
    except BaseException:
        process.end()
        raise


@contextlib.contextmanager
def sqlite_database(directory: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a new SQLite database."""
    yield {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": str(directory / "authserver.db")}


@contextlib.contextmanager
def postgres_database(server_dsn: str) -> Iterator[dict[str, str]]:
    """Yield the environment of a new database on a PostgreSQL server, dropped at the end."""
    name = f"e2e_{uuid.uuid4().hex[:12]}"

    async def administer(statement: str) -> None:
        connection = await asyncpg.connect(server_dsn)
        await connection.execute(statement)
        await connection.close()

    def run(statement: str) -> None:
        with ThreadPoolExecutor(1) as apart:  # the caller may be inside an event loop
            apart.submit(lambda: asyncio.run(administer(statement))).result()

    run(f"CREATE DATABASE {name}")
    try:
        dsn = f"{server_dsn.rpartition('/')[0]}/{name}"
        yield {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": dsn}
    finally:
        run(f"DROP DATABASE {name} WITH (FORCE)")
