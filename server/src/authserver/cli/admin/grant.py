"""``authserver admin grant`` (cli.md §6)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.admin.files import read_json
from authserver.cli.admin.provider import find_provider_id
from authserver.cli.groups import Group
from authserver.cli.options import require, split_list


@click.group("grant", cls=Group)
def command() -> None:
    """Show what users allowed, and take it back; give them credentials that no browser can bring."""


@command.command("list-user-grants")
@click.option("--user", "user_id", default="", help="Id of the user. Required.")
@calls_api()
def list_user_grants(api: Api, *, user_id: str) -> None:
    """List what a user allowed, and the credentials that the user has elsewhere, revoked or not, newest first."""
    require(user_id, "--user")
    grants = api.call("GET /admin/users/{id}/grants", id=user_id)
    consents, credentials = grants["consent_grants"], grants["broker_grants"]
    api.tell(
        grants,
        f"consent_grants ({len(consents)}):",
        *map(_consent_line, consents),
        f"broker_grants ({len(credentials)}):",
        *map(_credential_line, credentials),
    )


@command.command("revoke-consent")
@click.option("--id", "consent_id", default="", help="Required.")
@calls_api()
def revoke_consent(api: Api, *, consent_id: str) -> None:
    """Take a consent back, with every family and token that rests on it."""
    require(consent_id, "--id")
    answer = api.call("DELETE /admin/grants/consent/{id}", id=consent_id)
    api.tell(answer, f"revoked consent grant: id={consent_id}")


@command.command("set-broker")
@click.option("--user", "user_id", default="", help="Id of the user. Required.")
@click.option(
    "--provider", default="", help="Id or slug of a provider of protocol api_key or service_account. Required."
)
@click.option(
    "--credential-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help='{"api_key": "…"} or {"impersonate_sub": "…"}, as the protocol has it; - is standard input. Required.',
)
@click.option("--scopes", help="Comma list of upstream names; without it, all that the provider's resources declare.")
@calls_api()
def set_broker(api: Api, *, user_id: str, provider: str, credential_file: str | None, scopes: str | None) -> None:
    """Give a user a credential at a provider, or another in the place of what is there."""
    require(user_id, "--user")
    require(provider, "--provider")
    require(credential_file or "", "--credential-file")
    credential = read_json(credential_file or "")
    if not isinstance(credential, dict):
        raise click.ClickException(f"{credential_file} is not a JSON object")
    new = {
        "user_id": user_id,
        "broker_provider_id": find_provider_id(api, provider),
        "credential": credential,
        "scopes_granted": split_list(scopes),
    }
    grant = api.call("POST /admin/grants/broker", body=new)
    api.tell(grant, f"broker grant set: {_about(grant)} version={grant['version']}")


@command.command("revoke-broker")
@click.option("--id", "grant_id", default="", help="Required.")
@calls_api()
def revoke_broker(api: Api, *, grant_id: str) -> None:
    """Revoke a credential; what was handed out for it stays good at the provider."""
    require(grant_id, "--id")
    answer = api.call("DELETE /admin/grants/broker/{id}", id=grant_id)
    api.tell(answer, f"revoked broker grant: id={grant_id}")


def _consent_line(consent: dict[str, Any]) -> str:
    return (
        f"  id={consent['id']} user_id={consent['user_id']} client_id={consent['client_id']}"
        f" resource_id={consent['resource_id']} scopes=[{' '.join(consent['scopes'])}]{_revoked(consent)}"
    )


def _credential_line(grant: dict[str, Any]) -> str:
    scopes = " ".join(grant["scopes_granted"])
    return f"  {_about(grant)} scopes_granted=[{scopes}] version={grant['version']}{_revoked(grant)}"


def _about(grant: dict[str, Any]) -> str:
    return f"id={grant['id']} user_id={grant['user_id']} broker_provider_id={grant['broker_provider_id']}"


def _revoked(grant: dict[str, Any]) -> str:
    return f" revoked_at={grant['revoked_at']}" if "revoked_at" in grant else ""
