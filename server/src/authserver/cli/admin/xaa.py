"""``authserver admin xaa``: what assertions of trusted identity providers may buy, and for whom (XAA, sections 6 and 7)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require, split_list, switch
from authserver.cli.printing import as_text


@click.group("xaa", cls=Group)
def command() -> None:
    """Say what assertions of trusted identity providers may buy, and who their users are here."""


@command.group("policy", cls=Group)
def policy() -> None:
    """Policies: the first of a provider that matches lets an assertion through; without one nothing is."""


@policy.command("create")
@click.option("--name", default="", help="What operators call it. Required.")
@click.option("--idp-id", default="", help="Whose assertions it is for. Required.")
@click.option("--client-ids", help="Comma list of the clients that it is for; without it, any.")
@click.option(
    "--scopes", help="Comma list: the most that may be granted. Without it, no bound; empty, nothing matches."
)
@click.option("--resources", help="Comma list of the resource URIs that it is for; without it, any.")
@calls_api()
def create_policy(
    api: Api,
    *,
    name: str,
    idp_id: str,
    client_ids: str | None,
    scopes: str | None,
    resources: str | None,
) -> None:
    """Let assertions of a provider through."""
    require(name, "--name")
    require(idp_id, "--idp-id")
    body = {
        "name": name,
        "idp_id": idp_id,
        "client_ids": split_list(client_ids),
        "scopes": split_list(scopes),
        "resources": split_list(resources),
    }
    created = api.call("POST /admin/xaa/policies", body=body)
    api.tell(created, f"policy created: {_policy_line(created)}")


@policy.command("list")
@click.option("--idp-id", help="Only those of this provider.")
@calls_api()
def list_policies(api: Api, *, idp_id: str | None) -> None:
    """List policies in the order in which they are tried: oldest first."""
    policies = api.call("GET /admin/xaa/policies", query={"idp_id": idp_id})
    api.tell_list(policies, map(_policy_line, policies), none="no policies found")


@policy.command("show")
@click.option("--id", "policy_id", default="", help="Required.")
@calls_api()
def show_policy(api: Api, *, policy_id: str) -> None:
    """Show one policy."""
    require(policy_id, "--id")
    shown = api.call("GET /admin/xaa/policies/{id}", id=policy_id)
    api.tell(shown, _policy_line(shown))


@policy.command("update")
@click.option("--id", "policy_id", default="", help="Required.")
@click.option("--name", help="What operators call it.")
@click.option("--client-ids", help="Comma list of the clients that it is for; empty, any.")
@click.option("--scopes", help="Comma list: the most that may be granted; empty, nothing matches.")
@switch("--scopes-unrestricted", help="Takes the bound of scopes away.")
@click.option("--resources", help="Comma list of the resource URIs that it is for; empty, any.")
@click.option("--enabled", type=bool, help="Whether it is tried: true or false.")
@calls_api()
def update_policy(
    api: Api,
    *,
    policy_id: str,
    name: str | None,
    client_ids: str | None,
    scopes: str | None,
    scopes_unrestricted: bool,
    resources: str | None,
    enabled: bool | None,
) -> None:
    """Change a policy; what is not given stays."""
    require(policy_id, "--id")
    if scopes is not None and scopes_unrestricted:
        raise click.ClickException("--scopes-unrestricted excludes --scopes")
    body = {
        "name": name,
        "client_ids": split_list(client_ids),
        "scopes": split_list(scopes),
        "scopes_unrestricted": scopes_unrestricted or None,
        "resources": split_list(resources),
        "enabled": enabled,
    }
    changed = api.call("PUT /admin/xaa/policies/{id}", id=policy_id, body=body)
    api.tell(changed, f"policy updated: {_policy_line(changed)}")


@policy.command("delete")
@click.option("--id", "policy_id", default="", help="Required.")
@calls_api()
def delete_policy(api: Api, *, policy_id: str) -> None:
    """Delete a policy."""
    require(policy_id, "--id")
    api.tell(api.call("DELETE /admin/xaa/policies/{id}", id=policy_id), f"policy deleted: id={policy_id}")


@command.group("mapping", cls=Group)
def mapping() -> None:
    """Subject mappings: who a provider's user is here."""


@mapping.command("create")
@click.option("--idp-id", default="", help="The provider. Required.")
@click.option("--idp-subject", default="", help="The user, as the provider's assertions name them. Required.")
@click.option("--local-user-id", help="Their account here; without it they are known and have none.")
@calls_api()
def create_mapping(api: Api, *, idp_id: str, idp_subject: str, local_user_id: str | None) -> None:
    """Say who a provider's user is here."""
    require(idp_id, "--idp-id")
    require(idp_subject, "--idp-subject")
    body = {"idp_id": idp_id, "idp_subject": idp_subject, "local_user_id": local_user_id}
    created = api.call("POST /admin/xaa/subject-mappings", body=body)
    api.tell(created, f"subject mapping created: {_mapping_line(created)}")


@mapping.command("list")
@click.option("--idp-id", help="Only those of this provider.")
@calls_api()
def list_mappings(api: Api, *, idp_id: str | None) -> None:
    """List subject mappings."""
    mappings = api.call("GET /admin/xaa/subject-mappings", query={"idp_id": idp_id})
    api.tell_list(mappings, map(_mapping_line, mappings), none="no subject mappings found")


@mapping.command("delete")
@click.option("--id", "mapping_id", default="", help="Required.")
@calls_api()
def delete_mapping(api: Api, *, mapping_id: str) -> None:
    """Delete a subject mapping."""
    require(mapping_id, "--id")
    api.tell(
        api.call("DELETE /admin/xaa/subject-mappings/{id}", id=mapping_id), f"subject mapping deleted: id={mapping_id}"
    )


def _policy_line(shown: dict[str, Any]) -> str:
    scopes = "any" if shown["scopes_unrestricted"] else f"[{','.join(shown['scopes'])}]"
    return (
        f"id={shown['id']} name={as_text(shown['name'])} idp_id={shown['idp_id']}"
        f" client_ids=[{','.join(shown['client_ids'])}] scopes={scopes} resources=[{','.join(shown['resources'])}]"
        f" enabled={str(shown['enabled']).lower()}"
    )


def _mapping_line(shown: dict[str, Any]) -> str:
    return (
        f"id={shown['id']} idp_id={shown['idp_id']} idp_subject={as_text(shown['idp_subject'])}"
        f" local_user_id={shown.get('local_user_id', '')}"
    )
