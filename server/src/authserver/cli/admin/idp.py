"""``authserver admin idp``: the identity providers whose assertions are taken (XAA, section 4)."""

import click

from authserver.cli.admin.opening import as_json, as_text, require, run
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.xaa.administration import IdpDraft
from authserver.xaa.records import TrustedIdp
from authserver.xaa.views import build_idp


@click.group("idp", cls=Group)
def command() -> None:
    """Register, change and list trusted identity providers."""


@command.command("create")
@click.option("--name", default="", help="What operators call it. Required.")
@click.option("--issuer", default="", help="Its issuer, as its assertions spell it: an https URL. Required.")
@click.option("--jwks-uri", default="", help="Where its public keys are; without it, its metadata is asked.")
@click.option("--audience", default="", help="Shown only; assertions are always addressed to this server's issuer.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def create(config_path: str | None, *, name: str, issuer: str, jwks_uri: str, audience: str, json_wanted: bool) -> None:
    """Trust an identity provider. Without a policy its assertions buy nothing."""
    require(name, "--name")
    require(issuer, "--issuer")
    draft = IdpDraft(name=name, issuer=issuer, jwks_uri=jwks_uri, audience=audience)
    idp = run(config_path, lambda core: core.idps.register(draft, now=core.clock()))
    _print(idp, json_wanted=json_wanted, done="idp created: ")


@command.command("list")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_(config_path: str | None, *, json_wanted: bool) -> None:
    """List trusted identity providers, oldest first."""
    idps = run(config_path, lambda core: core.idps.every())
    if json_wanted:
        click.echo(as_json([build_idp(idp) for idp in idps]))
        return
    for idp in idps:
        click.echo(_line(idp))
    if not idps:
        click.echo("no idps found")


@command.command("show")
@click.option("--id", "idp_id", default="", help="Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, *, idp_id: str, json_wanted: bool) -> None:
    """Show one trusted identity provider."""
    require(idp_id, "--id")
    _print(run(config_path, lambda core: core.idps.get(idp_id)), json_wanted=json_wanted)


@command.command("update")
@click.option("--id", "idp_id", default="", help="Required.")
@click.option("--name", help="What operators call it.")
@click.option("--enabled", type=bool, help="Whether its assertions are taken: true or false.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def update(config_path: str | None, *, idp_id: str, name: str | None, enabled: bool | None, json_wanted: bool) -> None:
    """Change a trusted identity provider; what is not given stays."""
    require(idp_id, "--id")
    idp = run(config_path, lambda core: core.idps.update(idp_id, name=name, enabled=enabled, now=core.clock()))
    _print(idp, json_wanted=json_wanted, done="idp updated: ")


@command.command("delete")
@click.option("--id", "idp_id", default="", help="Required.")
@click.pass_obj
def delete(config_path: str | None, *, idp_id: str) -> None:
    """Trust an identity provider no longer; its policies and subject mappings are deleted too."""
    require(idp_id, "--id")
    run(config_path, lambda core: core.idps.delete(idp_id, now=core.clock()))
    click.echo(f"idp deleted: id={idp_id}")


@command.command("refresh-keys")
@click.option("--id", "idp_id", default="", help="Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def refresh_keys(config_path: str | None, *, idp_id: str, json_wanted: bool) -> None:
    """Have every process forget a provider's keys within two seconds, and fetch them once to see that it works."""
    require(idp_id, "--id")
    idp = run(config_path, lambda core: core.idps.refresh_keys(idp_id, now=core.clock()))
    click.echo(as_json({"status": "refreshed"}) if json_wanted else f"idp keys refreshed: id={idp.id}")


def _print(idp: TrustedIdp, *, json_wanted: bool, done: str = "") -> None:
    click.echo(as_json(build_idp(idp)) if json_wanted else done + _line(idp))


def _line(idp: TrustedIdp) -> str:
    return (
        f"id={idp.id} name={as_text(idp.name)} issuer={idp.issuer} jwks_uri={idp.jwks_uri}"
        f" audience={as_text(idp.audience)} enabled={str(idp.enabled).lower()}"
    )
