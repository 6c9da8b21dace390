"""``authserver quickstart``: a server, a user and a protected MCP server to try them with, and no questions asked."""

import asyncio
import contextlib
import errno
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import orjson

from authserver.audit.events import Action
from authserver.audit.records import AuditRecord
from authserver.audit.store import list_events
from authserver.cli.options import switch
from authserver.cli.serving import run_server
from authserver.clients.administration import NewClient
from authserver.clients.store import find_client
from authserver.config.loader import LoadedConfig, load_config
from authserver.core import Clock, Core, open_core
from authserver.protocol.identifiers import new_secret
from authserver.resources.administration import ResourceDraft, ResourcePatch
from authserver.resources.policy_lists import PolicyList
from authserver.resources.records import BackendKind, ResourceScope
from authserver.resources.store import find_resource_by_slug
from authserver.storage.database import StorageUnavailable
from authserver.users.store import find_user_by_email

EMAIL = "demo@localhost"
SLUG = "demo-notes"

_POLL_SECONDS = 0.5
_STOP_SECONDS = 5
_ROWS = 100
_PORT = click.IntRange(1, 65535)
_SCOPES = (
    ResourceScope(name="notes:read", description="Read your notes"),
    ResourceScope(name="notes:write", description="Add notes"),
)
_SAID: dict[str, str] = {
    Action.CLIENT_REGISTERED: "client registered",
    Action.CLIENT_UPDATED: "client metadata updated",
    Action.USER_LOGIN: "user signed in",
    Action.USER_LOGIN_FAILED: "sign-in refused",
    Action.AUTH_LOCKED_OUT: "sign-in locked after too many failures",
    Action.CONSENT_GRANTED: "consent granted",
    Action.CONSENT_DENIED: "consent denied",
    Action.TOKEN_ISSUED: "token issued",
    Action.TOKEN_REFRESHED: "token refreshed",
    Action.TOKEN_REFRESH_RETRIED: "refresh repeated, same answer",
    Action.TOKEN_ISSUE_DENIED: "token refused",
    Action.TOKEN_REFRESH_DENIED: "refresh refused",
    Action.TOKEN_REVOKED: "token revoked",
    Action.AUTH_CODE_REUSED: "authorization code used twice",
    Action.FAMILY_REVOKED: "session withdrawn after reuse",
    Action.TOKEN_INTROSPECT_DENIED: "token found inactive by the MCP server",
    Action.KEY_ROTATED: "signing key rotated",
    Action.DCR_MODE_UPDATED: "registration mode changed",
}

_UNTOLD = frozenset({Action.TOKEN_INTROSPECTED})  # each request to the demo server makes one


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where everything goes."""

    data: Path
    port: int
    mcp_port: int

    @property
    def issuer(self) -> str:
        """The issuer."""
        return f"http://localhost:{self.port}"

    @property
    def mcp_url(self) -> str:
        """The URL of the demo server, and the audience of its tokens."""
        return f"http://localhost:{self.mcp_port}/mcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the database holds for the trial.

    Attributes:
        password: The user's, when it was made just now; it is kept nowhere but as a hash.
        runtime_client: Id and secret with which the demo server asks whether a token was revoked.
    """

    password: str | None
    runtime_client: tuple[str, str]


@click.command("quickstart")
@click.option("--data-dir", default="data", show_default=True, help="Where database, keys and secrets are kept.")
@click.option("--port", type=_PORT, default=9000, show_default=True, help="Of the authorization server.")
@click.option("--mcp-port", type=_PORT, default=8080, show_default=True, help="Of the demo MCP server.")
@switch("--reset-password", help="Gives the demo user a new password and prints it.")
@click.pass_obj
def command(config_path: str | None, *, data_dir: str, port: int, mcp_port: int, reset_password: bool) -> None:
    """Start a server, a first user and a demo MCP server; Ctrl-C stops all."""
    plan = Plan(data=Path(data_dir), port=port, mcp_port=mcp_port)
    if config_path is not None:
        raise click.ClickException("quickstart has a configuration of its own; use serve with --config")
    if importlib.util.find_spec("mcp") is None or importlib.util.find_spec("jwt") is None:
        raise click.ClickException("the demo server needs more packages: pip install 'authplane-server[quickstart]'")
    if port == mcp_port:
        raise click.ClickException("--port and --mcp-port must differ")
    _check_port(port, "--port")
    _check_port(mcp_port, "--mcp-port")
    kept = _load_secrets(plan)
    loaded = _load(plan, kept)
    prepared = asyncio.run(_prepare(plan, loaded, kept, reset_password=reset_password))
    demo = Demo(plan, prepared.runtime_client)
    try:
        # The loop keeps no reference to its tasks; this list does.
        told: list[asyncio.Task[None]] = []

        def started(core: Core) -> None:
            # Not before: a signal that comes now ends both.
            demo.start()
            click.echo(_greeting(plan, prepared.password))
            told.append(asyncio.ensure_future(_tell(core, demo)))

        run_server(loaded, on_started=started)
    finally:
        demo.stop()
    # Ctrl-C reaches both at once.
    if demo.died_with not in {None, 0, -signal.SIGINT, -signal.SIGTERM}:
        raise click.ClickException(f"the demo MCP server ended by itself with status {demo.died_with}")


def _check_port(port: int, flag: str) -> None:
    """Check that nobody listens at ``localhost``, under whichever of its two addresses a browser tries first."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
        except OSError as exc:
            if family == socket.AF_INET6 and exc.errno != errno.EADDRINUSE:
                continue  # a computer without IPv6
            raise click.ClickException(
                f"port {port} is taken ({exc.strerror}): stop what uses it, or choose another one with {flag}"
            ) from exc


def _load_secrets(plan: Plan) -> dict[str, str]:
    """Return the generated secrets; they are made at the first run, in a file that only its owner reads."""
    path = plan.data / "quickstart.json"
    if path.exists():
        return {str(name): str(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    kept = {"session_secret": new_secret(), "client_id": "", "client_secret": ""}
    plan.data.mkdir(mode=0o750, parents=True, exist_ok=True)
    _save_secrets(plan, kept)
    return kept


def _save_secrets(plan: Plan, kept: dict[str, str]) -> None:
    path = plan.data / "quickstart.json"
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
    temporary.replace(path)


def _load(plan: Plan, kept: dict[str, str]) -> LoadedConfig:
    """Return the configuration of a trial on this computer: what is not stated here is the default."""
    return load_config(
        None,
        {
            "AUTHPLANE_SERVER_ISSUER": plan.issuer,
            "AUTHPLANE_SERVER_ADDRESS": f"127.0.0.1:{plan.port}",
            "AUTHPLANE_STORAGE_SQLITE_PATH": str(plan.data / "authserver.db"),
            "AUTHPLANE_SIGNING_KEY_PATH": str(plan.data / "keys"),
            "AUTHPLANE_SESSION_SECRET": kept["session_secret"],
            "AUTHPLANE_ADMIN_ENABLED": "false",
            "AUTHPLANE_LOG_LEVEL": "error",
        },
    )


async def _prepare(plan: Plan, loaded: LoadedConfig, kept: dict[str, str], *, reset_password: bool) -> Prepared:
    """Create what is not there yet: the user, the demo server's Resource, and the client it introspects with."""
    core = await open_core(loaded.config, clock=Clock(), migrate=True)
    try:
        password = await _prepare_user(core, reset_password=reset_password)
        runtime_client = await _prepare_runtime_client(plan, core, kept)
        await _prepare_resource(plan, core, runtime_client[0])
    finally:
        await core.db.close()
    return Prepared(password=password, runtime_client=runtime_client)


async def _prepare_user(core: Core, *, reset_password: bool) -> str | None:
    user = await find_user_by_email(core.db, EMAIL)
    if user is not None and not reset_password:
        return None
    password = secrets.token_urlsafe(12)
    if user is None:
        await core.accounts.create_user(email=EMAIL, password=password, name="Demo", now=core.clock())
    else:
        await core.accounts.set_password(user.id, password, now=core.clock())
    return password


async def _prepare_runtime_client(plan: Plan, core: Core, kept: dict[str, str]) -> tuple[str, str]:
    if kept["client_id"] and await find_client(core.db, kept["client_id"]):
        return kept["client_id"], kept["client_secret"]
    new = NewClient(
        name="Demo MCP server",
        redirect_uris=(plan.mcp_url,),
        grant_types=("authorization_code",),
        auth_method="client_secret_basic",
    )
    registered = await core.clients.create(new, now=core.clock())
    kept |= {"client_id": registered.client.id, "client_secret": registered.client_secret or ""}
    _save_secrets(plan, kept)
    return kept["client_id"], kept["client_secret"]


async def _prepare_resource(plan: Plan, core: Core, runtime_client_id: str) -> None:
    resource = await find_resource_by_slug(core.db, SLUG)
    if resource is None:
        draft = ResourceDraft(
            slug=SLUG, backend_kind=BackendKind.MINT, uri=plan.mcp_url, display_name="Demo notes", scopes=_SCOPES
        )
        await core.resources.create_resource(draft, now=core.clock())
    elif resource.uri != plan.mcp_url:
        await core.resources.update_resource(resource.id, ResourcePatch(uri=plan.mcp_url), now=core.clock())
    await core.policy_lists.add(PolicyList.RUNTIME_CLIENTS, SLUG, runtime_client_id, now=core.clock())


class Demo:
    """The demo MCP server, a child process.

    Attributes:
        died_with: Its exit status, if it ended although nobody asked it to.
    """

    def __init__(self, plan: Plan, credentials: tuple[str, str]) -> None:
        self._plan = plan
        self._credentials = credentials
        self._process: subprocess.Popen[bytes] | None = None
        self.died_with: int | None = None

    def start(self) -> None:
        """Start it with the running interpreter; its credentials travel in its environment alone."""
        client_id, client_secret = self._credentials
        environment = dict(os.environ) | {  # noqa: TID251  a child inherits the environment whole
            "AUTHPLANE_CLIENT_ID": client_id,
            "AUTHPLANE_CLIENT_SECRET": client_secret,
        }
        plan = self._plan
        options = ["--issuer", plan.issuer, "--port", str(plan.mcp_port), "--url", plan.mcp_url]
        # Tied to this process: one that is killed leaves nothing behind that holds the port.
        command = [sys.executable, "-m", "authserver.cli.tied", str(_demo_server()), *options]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)  # noqa: S603  our own file

    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        self.died_with = self._process.poll() if self._process else None
        return self.died_with is None

    def stop(self) -> None:
        """End it, gently if it listens."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _demo_server() -> Path:
    """Return the demo server: inside the installed package, or in the repository that this runs from."""
    packaged = Path(__file__).parent / "examples" / "quickstart_server.py"
    if packaged.exists():
        return packaged
    return Path(__file__).parents[4] / "examples" / "python" / "quickstart" / "server.py"


async def _tell(core: Core, demo: Demo) -> None:
    """Print a line for each new row of the audit trail; stop the server when the demo has died."""
    seen = {record.id for record in await list_events(core.db, limit=_ROWS)}
    while demo.is_running():
        await asyncio.sleep(_POLL_SECONDS)
        with contextlib.suppress(StorageUnavailable):
            records = await list_events(core.db, limit=_ROWS)
            for record in reversed(records):
                if record.id not in seen and record.action not in _UNTOLD:
                    click.echo(await _line(core, record))
            seen = {record.id for record in records}
    os.kill(os.getpid(), signal.SIGTERM)


async def _line(core: Core, record: AuditRecord) -> str:
    """Return what happened, to whom, and, of a refusal, why."""
    client = await find_client(core.db, record.client_id) if record.client_id else None
    who = f" for {client.name}" if client else ""
    said = _SAID.get(record.action, record.action)
    return f"event: {said}{who}{f' ({record.detail})' if record.detail else ''}"


def _greeting(plan: Plan, password: str | None) -> str:
    """Return what to know and what to paste where."""
    url, issuer = plan.mcp_url, plan.issuer
    shown = password or "(as printed at the first run; --reset-password makes a new one)"
    vscode = json.dumps({"name": "demo", "type": "http", "url": url})
    cursor = json.dumps({"mcpServers": {"demo": {"url": url}}})
    return f"""
AuthPlane is running. Its data is in {plan.data}; Ctrl-C stops everything.

Issuer:   {issuer}
MCP URL:  {url}
User:     {EMAIL}
Password: {shown}

Connect a client, then sign in with that user when the browser opens:

  Claude Code    claude mcp add --transport http demo {url}
  Cursor         in .cursor/mcp.json: {cursor}
  VS Code        code --add-mcp '{vscode}'
  MCP Inspector  npx @modelcontextprotocol/inspector --transport http --server-url {url}

Or by hand:

  curl -i -X POST {url}
  curl {issuer}/.well-known/oauth-authorization-server
  curl -X POST {issuer}/oauth/register -H 'Content-Type: application/json' \\
    -d '{{"client_name":"curl","redirect_uris":["http://127.0.0.1:8765/cb"]}}'

What happens from now on:
"""
