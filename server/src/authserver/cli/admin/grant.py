"""``authserver admin grant`` (cli.md §6)."""

import click

from authserver.authorization.consent_store import list_consents
from authserver.authorization.views import build_consent
from authserver.cli.admin.opening import as_json, require, run
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.protocol.identifiers import spell_id
from authserver.protocol.times import spell_time


@click.group("grant", cls=Group)
def command() -> None:
    """Show what users allowed, and take it back."""


@command.command("list-user-grants")
@click.option("--user", "user_id", default="", help="Id of the user. Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_user_grants(config_path: str | None, *, user_id: str, json_wanted: bool) -> None:
    """List what a user allowed, revoked or not, newest first."""
    require(user_id, "--user")
    consents = run(config_path, lambda core: list_consents(core.db, user_id))
    if json_wanted:
        click.echo(as_json({"consent_grants": [build_consent(each) for each in consents], "broker_grants": []}))
        return
    click.echo(f"consent_grants ({len(consents)}):")
    for consent in consents:
        revoked = "" if consent.revoked_at is None else f" revoked_at={spell_time(consent.revoked_at)}"
        click.echo(
            f"  id={spell_id(consent.id)} user_id={consent.user_id} client_id={consent.client_id}"
            f" resource_id={consent.resource_id} scopes=[{' '.join(consent.scopes)}]{revoked}"
        )
    click.echo("broker_grants (0):")


@command.command("revoke-consent")
@click.option("--id", "consent_id", default="", help="Required.")
@click.pass_obj
def revoke_consent(config_path: str | None, *, consent_id: str) -> None:
    """Take a consent back, with every family and token that rests on it."""
    require(consent_id, "--id")
    run(config_path, lambda core: core.consents.revoke(consent_id, now=core.clock()))
    click.echo(f"revoked consent grant: id={consent_id}")
