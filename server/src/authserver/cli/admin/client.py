"""``authserver admin client`` (cli.md §4)."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import orjson

from authserver.cli.admin.opening import as_text, require, run, split_list
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.clients.administration import ClientChanges, NewClient
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.clients.registration import Registered
from authserver.clients.store import find_client, list_clients
from authserver.core import Core
from authserver.protocol.operator_errors import NotFound
from authserver.protocol.times import spell_time
from authserver.tokens.usage import find_last_used


@click.group("client", cls=Group)
def command() -> None:
    """Create, change and list clients."""


@command.command("create")
@click.option("--name", envvar="AUTHSERVER_CLIENT_NAME", default="", help="Shown on the consent page. Required.")
@click.option(
    "--grant-types",
    envvar="AUTHSERVER_CLIENT_GRANT_TYPES",
    default="authorization_code,refresh_token",
    show_default=True,
    help="Comma list.",
)
@click.option(
    "--redirect-uris",
    envvar="AUTHSERVER_CLIENT_REDIRECT_URIS",
    default="",
    help="Comma list, matched exactly but for the port of a loopback address.",
)
@click.option("--scope", envvar="AUTHSERVER_CLIENT_SCOPE", default="", help="The ceiling, separated by spaces.")
@click.option(
    "--auth-method",
    envvar="AUTHSERVER_CLIENT_AUTH_METHOD",
    default="none",
    show_default=True,
    help="How it proves itself: none, client_secret_basic, client_secret_post or private_key_jwt.",
)
@click.option("--jwks-uri", help="With private_key_jwt: the https URL where its public keys are fetched.")
@click.option("--jwks-file", help="With private_key_jwt: a file with its public keys, a JSON Web Key Set.")
@switch("--agent", help="The client is an agent.")
@click.option("--agent-description", default="", help="At most 255 bytes.")
@click.pass_obj
def create(
    config_path: str | None,
    *,
    name: str,
    grant_types: str,
    redirect_uris: str,
    scope: str,
    auth_method: str,
    jwks_uri: str | None,
    jwks_file: str | None,
    agent: bool,
    agent_description: str,
) -> None:
    """Create a client; a secret, if it gets one, is printed once."""
    require(name, "--name")
    new = NewClient(
        name=name,
        redirect_uris=split_list(redirect_uris) or (),
        grant_types=split_list(grant_types) or (),
        auth_method=auth_method,
        jwks=_read_jwks(jwks_file),
        jwks_uri=jwks_uri,
        scope=scope,
        is_agent=agent,
        agent_description=agent_description,
    )
    registered = run(config_path, lambda core: core.clients.create(new, now=core.clock()))
    click.echo(f"client created: id={registered.client.id} name={registered.client.name}")
    _print_secret(registered)


@command.command("update")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@click.option("--name", help="Shown on the consent page.")
@click.option("--redirect-uris", help="Comma list.")
@click.option("--scope", help="The ceiling, separated by spaces.")
@click.option("--grant-types", help="Comma list.")
@click.option("--jwks-uri", help="Of a private_key_jwt client: where its public keys are fetched from now on.")
@click.option("--jwks-file", help="Of a private_key_jwt client: a file with its new public keys.")
@click.pass_obj
def update(
    config_path: str | None,
    *,
    client_id: str,
    name: str | None,
    redirect_uris: str | None,
    scope: str | None,
    grant_types: str | None,
    jwks_uri: str | None,
    jwks_file: str | None,
) -> None:
    """Change a client; what is not given stays."""
    require(client_id, "--id")
    changes = ClientChanges(
        name=name,
        redirect_uris=split_list(redirect_uris),
        grant_types=split_list(grant_types),
        scope=scope,
        jwks=_read_jwks(jwks_file),
        jwks_uri=jwks_uri,
    )
    client = run(config_path, lambda core: core.clients.update(client_id, changes, now=core.clock()))
    click.echo(f"client updated: id={client.id} name={client.name}")


@command.command("delete")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@switch("--force", help="Also with live tokens, which are revoked.")
@click.pass_obj
def delete(config_path: str | None, *, client_id: str, force: bool) -> None:
    """Delete a client."""
    require(client_id, "--id")
    run(config_path, lambda core: core.clients.delete(client_id, force=force, now=core.clock()))
    click.echo(f"client deleted: id={client_id}")


@command.command("rotate-secret")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@click.pass_obj
def rotate_secret(config_path: str | None, *, client_id: str) -> None:
    """Give a confidential client a new secret; the old one ends at once."""
    require(client_id, "--id")
    registered = run(config_path, lambda core: core.clients.rotate_secret(client_id, now=core.clock()))
    click.echo(f"secret rotated: client_id={registered.client.id}")
    _print_secret(registered)


def _change_status(name: str, done: str, change: Callable[[Core, str], Awaitable[Client]]) -> None:
    """Add a command that takes a client from one status to another."""

    @command.command(name, help=f"The client is {done} from now on.")
    @click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
    @click.pass_obj
    def run_change(config_path: str | None, *, client_id: str) -> None:
        require(client_id, "--id")
        client = run(config_path, lambda core: change(core, client_id))
        click.echo(f"client {done}: id={client.id}")


_change_status("suspend", "suspended", lambda core, client_id: core.clients.suspend(client_id, now=core.clock()))
_change_status(
    "reactivate", "reactivated", lambda core, client_id: core.clients.reactivate(client_id, now=core.clock())
)
_change_status("revoke", "revoked", lambda core, client_id: core.clients.revoke(client_id, now=core.clock()))


@command.command("list")
@click.option("--status", type=click.Choice([str(status) for status in ClientStatus]), help="Only those of it.")
@click.option(
    "--source", type=click.Choice([str(source) for source in RegistrationSource]), help="Only those that came so."
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@click.pass_obj
def list_(config_path: str | None, *, status: str | None, source: str | None, limit: int) -> None:
    """List clients, newest first, with when each was last used."""

    async def every(core: Core) -> list[tuple[Client, int | None]]:
        clients = await list_clients(
            core.db,
            limit=limit,
            status=ClientStatus(status) if status else None,
            source=RegistrationSource(source) if source else None,
        )
        return [(client, await find_last_used(core.db, client.id)) for client in clients]

    clients = run(config_path, every)
    for client, last_used in clients:
        click.echo(_line(client, last_used))
    if not clients:
        click.echo("no clients found")


@command.command("get")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@click.pass_obj
def get(config_path: str | None, *, client_id: str) -> None:
    """Show one client, with what it registered and when it was last used."""
    require(client_id, "--id")

    async def find(core: Core) -> tuple[Client, int | None]:
        client = await find_client(core.db, client_id)
        if client is None:
            raise NotFound(f"client not found: {client_id}")
        return client, await find_last_used(core.db, client_id)

    client, last_used = run(config_path, find)
    click.echo(
        f"{_line(client, last_used)} issued_at={spell_time(client.issued_at)}"
        f" auth_method={client.token_endpoint_auth_method} application_type={client.application_type or 'web'}"
        f" grant_types={','.join(client.grant_types)} redirect_uris={','.join(client.redirect_uris)}"
        f" scope={as_text(client.scope)}"
    )


def _line(client: Client, last_used: int | None) -> str:
    used = "never" if last_used is None else spell_time(last_used)
    return (
        f"id={client.id} name={client.name} status={client.status} source={client.registration_source} last_used={used}"
    )


def _read_jwks(path: str | None) -> object:
    """Return what a file holds as JSON; None when none is given."""
    if path is None:
        return None
    try:
        return orjson.loads(Path(path).read_bytes())
    except OSError as exc:
        raise click.ClickException(f"--jwks-file cannot be read: {exc.strerror}") from exc
    except orjson.JSONDecodeError as exc:
        raise click.ClickException("--jwks-file is not JSON") from exc


def _print_secret(registered: Registered) -> None:
    if registered.client_secret is not None:
        click.echo(f"client_secret={registered.client_secret} (shown once, store securely)")
