"""``authserver init``: a configuration to start with, its secrets in a file of their own."""

import contextlib
import os
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
import orjson

from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.config.issuer import is_localhost_issuer, issuer_fault
from authserver.config.loader import load_config, process_environment

CONFIG_FILE = "authserver.yaml"
SECRETS_FILE = "authserver.env"

_DSN = "AUTHPLANE_STORAGE_POSTGRES_DSN"
_MASTER_KEY = "AUTHPLANE_MASTER_KEY"
_SECRET_BYTES = 32
_PLAIN = re.compile(r"[A-Za-z0-9._~/:@%+=?,-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be written.

    Attributes:
        directory: Absolute: a server may be started anywhere.
        dsn: Of PostgreSQL; empty for SQLite.
    """

    directory: Path
    issuer: str
    address: str
    admin_address: str
    dsn: str

    @property
    def config_path(self) -> Path:
        """The configuration."""
        return self.directory / CONFIG_FILE

    @property
    def secrets_path(self) -> Path:
        """The variables that hold secrets."""
        return self.directory / SECRETS_FILE

    @property
    def commands(self) -> tuple[str, ...]:
        """What to run next, after the secrets were read into the environment."""
        path = shlex.quote(str(self.config_path))
        return tuple(f"authserver {name} --config {path}" for name in ("check", "migrate", "serve"))


@click.command("init")
@click.argument("directory", metavar="[DIR]", default=".")
@click.option("--issuer", default="http://localhost:9000", show_default=True, help="The URL that clients know.")
@click.option(
    "--database",
    type=click.Choice(["sqlite", "postgres"]),
    default="sqlite",
    show_default=True,
    help=f"For postgres its DSN is taken from {_DSN}, or from stdin with --dsn-stdin.",
)
@switch("--dsn-stdin", help="Reads the DSN from the first line of stdin.")
@click.option("--address", help="Of the public listener.  [default: 127.0.0.1 and the issuer's port, or 9000]")
@click.option("--admin-address", default="127.0.0.1:9001", show_default=True, help="Of the operators' listener.")
@switch("--json", "in_json", help="Print JSON.")
def command(
    *,
    directory: str,
    issuer: str,
    database: str,
    dsn_stdin: bool,
    address: str | None,
    admin_address: str,
    in_json: bool,
) -> None:
    """Write a configuration to DIR, and its secrets beside it, in a file that only its owner reads.

    Nothing is overwritten: secrets that are in use would be lost. The secrets are random and printed nowhere.
    """
    try:
        str(Path(directory).absolute()).encode()
    except UnicodeEncodeError as exc:
        raise click.ClickException("DIR is not UTF-8") from exc
    plan = Plan(
        directory=Path(directory).absolute(),
        issuer=issuer,
        address=address or _address_of(issuer),
        admin_address=admin_address,
        dsn=_dsn(from_stdin=dsn_stdin) if database == "postgres" else "",
    )
    made_up = _secrets(plan)
    _check(plan, made_up)
    _write(plan, made_up)
    loading = f"set -a; . {shlex.quote(str(plan.secrets_path))}; set +a"
    if in_json:
        members = {
            "config": str(plan.config_path),
            "secrets": str(plan.secrets_path),
            "next": [loading, *plan.commands],
        }
        click.echo(as_json(members))
        return
    click.echo(f"configuration written: config={plan.config_path} secrets={plan.secrets_path}")
    click.echo(f"with the secrets in the environment ({loading}), run:")
    for each in plan.commands:
        click.echo(f"  {each}")


def _address_of(issuer: str) -> str:
    """Return where a server of an issuer listens: at its port on this computer, else where a proxy will look."""
    fault = issuer_fault(issuer)
    if fault:
        raise click.ClickException(f"--issuer {fault}")
    parts = urlsplit(issuer)
    port = (parts.port or {"http": 80, "https": 443}[parts.scheme]) if is_localhost_issuer(issuer) else 9000
    return f"127.0.0.1:{port}"


def _dsn(*, from_stdin: bool) -> str:
    """Return the DSN, which holds a password and so is never on the command line."""
    dsn = sys.stdin.readline().strip() if from_stdin else process_environment().get(_DSN, "")
    if not dsn:
        raise click.ClickException(f"--database postgres needs a DSN: in {_DSN}, or on stdin with --dsn-stdin")
    if not dsn.isprintable() or "'" in dsn:
        raise click.ClickException("the DSN holds characters that must be percent-encoded")
    return dsn


def _secrets(plan: Plan) -> dict[str, str]:
    """Return the variables that hold secrets, made just now."""
    made_up = {
        "AUTHPLANE_SESSION_SECRET": secrets.token_urlsafe(_SECRET_BYTES),
        "AUTHPLANE_ADMIN_API_KEY": secrets.token_urlsafe(_SECRET_BYTES),
        "AUTHPLANE_CLIENT_SECRET_PEPPER": secrets.token_urlsafe(_SECRET_BYTES),
    }
    if plan.dsn:
        made_up |= {_MASTER_KEY: secrets.token_hex(_SECRET_BYTES), _DSN: plan.dsn}
    return made_up


def _check(plan: Plan, made_up: dict[str, str]) -> None:
    """Check that a server would take it, before anything is written.

    Raises:
        ClickException: A file is in the way.
        ConfigError: An option breaks a rule.
    """
    for path in (plan.config_path, plan.secrets_path):
        if os.path.lexists(path):
            raise click.ClickException(
                f"{path} exists, and nothing is overwritten: choose another directory, or move it away"
            )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, CONFIG_FILE)
        path.write_text(_yaml(plan), encoding="utf-8")
        load_config(str(path), made_up)


def _write(plan: Plan, made_up: dict[str, str]) -> None:
    try:
        plan.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        _write_new(plan.secrets_path, _variables(made_up), mode=0o600)
        try:
            _write_new(plan.config_path, _yaml(plan), mode=0o640)
        except OSError:
            plan.secrets_path.unlink()
            raise
    except OSError as exc:
        raise click.ClickException(f"cannot write {exc.filename}: {exc.strerror}") from exc


def _write_new(path: Path, text: str, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _variables(made_up: dict[str, str]) -> str:
    """Write variables as a shell and systemd (EnvironmentFile=) read them; containers (--env-file) take no quotes."""
    lines = ["# Secrets of authserver: keep them, and keep them to yourself."]
    for name, value in made_up.items():
        quote = "" if _PLAIN.fullmatch(value) else "'"
        lines.append(f"{name}={quote}{value}{quote}")
    return "\n".join(lines) + "\n"


def _yaml(plan: Plan) -> str:
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    is_local = is_localhost_issuer(plan.issuer)
    yield "# Configuration of authserver. Secrets are variables of the environment: authserver.env."
    yield "# `authserver config show` lists every key; what is not here has its default."
    yield "server:"
    yield f"  issuer: {_quoted(plan.issuer)}"
    yield f"  address: {_quoted(plan.address)}"
    if not is_local:
        yield "  # The proxy that ends TLS in front of it, so that limits and the audit trail know the users' addresses."
        yield "  trusted_proxies: [127.0.0.1, '::1']"
    yield "admin:"
    yield f"  address: {_quoted(plan.admin_address)}"
    yield "storage:"
    if plan.dsn:
        yield "  driver: postgres  # its DSN is a secret"
    else:
        yield "  driver: sqlite"
        yield "  sqlite:"
        yield f"    path: {_quoted(str(plan.directory / 'data' / 'authserver.db'))}"
    yield "signing:"
    if plan.dsn:
        yield "  key_store: postgres_key  # sealed with the key of data_encryption, for any number of machines"
        yield "data_encryption:"
        yield "  driver: aes_master"
        yield "  aes_master:"
        yield f"    key_env: {_MASTER_KEY}"
    else:
        yield "  key_store: keyfile"
        yield f"  key_path: {_quoted(str(plan.directory / 'data' / 'keys'))}"
    yield "session:"
    yield f"  secure: {'false' if is_local else 'true'}"
    yield "dcr:"
    yield "  # open: any MCP client registers itself; approved_redirects and admin_only are stricter."
    yield "  mode: open"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
