"""``authserver admin client`` (cli.md §4)."""

from pathlib import Path
from typing import Any

import click
import orjson

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require, split_list, switch
from authserver.cli.printing import as_text


@click.group("client", cls=Group)
def command() -> None:
    """Create, change and list clients."""


@command.command("create")
@click.option("--name", envvar="AUTHSERVER_CLIENT_NAME", default="", help="Shown on the consent page. Required.")
@click.option(
    "--client-id",
    help="Of a client that names itself by the URL of its metadata document: that URL. The document is not read then.",
)
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
@calls_api()
def create(
    api: Api,
    *,
    name: str,
    client_id: str | None,
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
    new = {
        "client_id": client_id,
        "client_name": name,
        "redirect_uris": split_list(redirect_uris),
        "grant_types": split_list(grant_types),
        "token_endpoint_auth_method": auth_method,
        "jwks": _read_jwks(jwks_file),
        "jwks_uri": jwks_uri,
        "scope": scope,
        "agent": agent,
        "agent_description": agent_description,
    }
    created = api.call("POST /admin/clients", body=new)
    api.tell(created, f"client created: id={created['client_id']} name={created['client_name']}", *_secret(created))


@command.command("update")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@click.option("--name", help="Shown on the consent page.")
@click.option("--redirect-uris", help="Comma list.")
@click.option("--scope", help="The ceiling, separated by spaces.")
@click.option("--grant-types", help="Comma list.")
@click.option("--jwks-uri", help="Of a private_key_jwt client: where its public keys are fetched from now on.")
@click.option("--jwks-file", help="Of a private_key_jwt client: a file with its new public keys.")
@calls_api()
def update(
    api: Api,
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
    changes = {
        "client_name": name,
        "redirect_uris": split_list(redirect_uris),
        "grant_types": split_list(grant_types),
        "scope": scope,
        "jwks": _read_jwks(jwks_file),
        "jwks_uri": jwks_uri,
    }
    client = api.call("PATCH /admin/clients/{id}", id=client_id, body=changes)
    api.tell(client, f"client updated: id={client['id']} name={client['name']}")


@command.command("delete")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@switch("--force", help="Also with live tokens, which are revoked.")
@calls_api()
def delete(api: Api, *, client_id: str, force: bool) -> None:
    """Delete a client."""
    require(client_id, "--id")
    answer = api.call("DELETE /admin/clients/{id}", id=client_id, query={"force": force})
    api.tell(answer, f"client deleted: id={client_id}")


@command.command("rotate-secret")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@calls_api()
def rotate_secret(api: Api, *, client_id: str) -> None:
    """Give a confidential client a new secret; the old one ends at once."""
    require(client_id, "--id")
    rotated = api.call("POST /admin/clients/{id}/rotate-secret", id=client_id)
    api.tell(rotated, f"secret rotated: client_id={rotated['client_id']}", *_secret(rotated))


def _change_status(verb: str, done: str) -> None:
    """Add a command that takes a client from one status to another."""

    @command.command(verb, help=f"The client is {done} from now on.")
    @click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
    @calls_api()
    def change(api: Api, *, client_id: str) -> None:
        require(client_id, "--id")
        status = api.call(f"PATCH /admin/clients/{{id}}/{verb}", id=client_id)
        api.tell(status, f"client {done}: id={client_id}")


_change_status("suspend", "suspended")
_change_status("reactivate", "reactivated")
_change_status("revoke", "revoked")


@command.command("list")
@click.option("--status", type=click.Choice(["active", "suspended", "revoked"]), help="Only those of it.")
@click.option("--source", type=click.Choice(["admin", "dcr", "cimd"]), help="Only those that came so.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@switch("--last-used", help="Also tells when each was last used, which takes longer.")
@calls_api()
def list_(api: Api, *, status: str | None, source: str | None, limit: int, last_used: bool) -> None:
    """List clients, newest first."""
    query = {"limit": limit, "status": status, "source": source, "last_used": last_used}
    clients = api.call("GET /admin/clients", query=query)
    lines = (f"{_line(client)}{_last_used(client) if last_used else ''}" for client in clients)
    api.tell_list(clients, lines, none="no clients found")


@command.command("get")
@click.option("--id", "client_id", envvar="AUTHSERVER_CLIENT_ID", default="", help="Required.")
@calls_api()
def get(api: Api, *, client_id: str) -> None:
    """Show one client, with what it registered and when it was last used."""
    require(client_id, "--id")
    client = api.call("GET /admin/clients/{id}", id=client_id)
    api.tell(
        client,
        f"{_line(client)}{_last_used(client)} issued_at={client['issued_at']}"
        f" auth_method={client['token_endpoint_auth_method']} application_type={client.get('application_type', 'web')}"
        f" grant_types={','.join(client['grant_types'])} redirect_uris={','.join(client['redirect_uris'])}"
        f" scope={as_text(client['scope'])}",
    )


def _line(client: dict[str, Any]) -> str:
    return f"id={client['id']} name={client['name']} status={client['status']} source={client['registration_source']}"


def _last_used(client: dict[str, Any]) -> str:
    return f" last_used={client.get('last_used', 'never')}"


def _secret(client: dict[str, Any]) -> list[str]:
    return (
        [f"client_secret={client['client_secret']} (shown once, store securely)"] if "client_secret" in client else []
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
