"""``authserver admin idp``: the identity providers whose assertions are taken (XAA, section 4)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require
from authserver.cli.printing import as_text


@click.group("idp", cls=Group)
def command() -> None:
    """Register, change and list trusted identity providers."""


@command.command("create")
@click.option("--name", default="", help="What operators call it. Required.")
@click.option("--issuer", default="", help="Its issuer, as its assertions spell it: an https URL. Required.")
@click.option("--jwks-uri", default="", help="Where its public keys are; without it, its metadata is asked.")
@click.option("--audience", default="", help="Shown only; assertions are always addressed to this server's issuer.")
@calls_api()
def create(api: Api, *, name: str, issuer: str, jwks_uri: str, audience: str) -> None:
    """Trust an identity provider. Without a policy its assertions buy nothing."""
    require(name, "--name")
    require(issuer, "--issuer")
    body = {"name": name, "issuer": issuer, "jwks_uri": jwks_uri, "audience": audience}
    idp = api.call("POST /admin/idps", body=body)
    api.tell(idp, f"idp created: {_line(idp)}")


@command.command("list")
@calls_api()
def list_(api: Api) -> None:
    """List trusted identity providers, oldest first."""
    idps = api.call("GET /admin/idps")
    api.tell_list(idps, map(_line, idps), none="no idps found")


@command.command("show")
@click.option("--id", "idp_id", default="", help="Required.")
@calls_api()
def show(api: Api, *, idp_id: str) -> None:
    """Show one trusted identity provider."""
    require(idp_id, "--id")
    idp = api.call("GET /admin/idps/{id}", id=idp_id)
    api.tell(idp, _line(idp))


@command.command("update")
@click.option("--id", "idp_id", default="", help="Required.")
@click.option("--name", help="What operators call it.")
@click.option("--enabled", type=bool, help="Whether its assertions are taken: true or false.")
@calls_api()
def update(api: Api, *, idp_id: str, name: str | None, enabled: bool | None) -> None:
    """Change a trusted identity provider; what is not given stays."""
    require(idp_id, "--id")
    idp = api.call("PUT /admin/idps/{id}", id=idp_id, body={"name": name, "enabled": enabled})
    api.tell(idp, f"idp updated: {_line(idp)}")


@command.command("delete")
@click.option("--id", "idp_id", default="", help="Required.")
@calls_api()
def delete(api: Api, *, idp_id: str) -> None:
    """Trust an identity provider no longer; its policies and subject mappings are deleted too."""
    require(idp_id, "--id")
    api.tell(api.call("DELETE /admin/idps/{id}", id=idp_id), f"idp deleted: id={idp_id}")


@command.command("refresh-keys")
@click.option("--id", "idp_id", default="", help="Required.")
@calls_api()
def refresh_keys(api: Api, *, idp_id: str) -> None:
    """Have every process forget a provider's keys within two seconds, and fetch them once to see that it works."""
    require(idp_id, "--id")
    api.tell(api.call("POST /admin/idps/{id}/refresh-keys", id=idp_id), f"idp keys refreshed: id={idp_id}")


def _line(idp: dict[str, Any]) -> str:
    return (
        f"id={idp['id']} name={as_text(idp['name'])} issuer={idp['issuer']} jwks_uri={idp['jwks_uri']}"
        f" audience={as_text(idp['audience'])} enabled={str(idp['enabled']).lower()}"
    )
