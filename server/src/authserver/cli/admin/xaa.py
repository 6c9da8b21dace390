"""``authserver admin xaa``: what assertions of trusted identity providers may buy, and for whom (XAA, sections 6 and 7)."""

import click

from authserver.cli.admin.opening import as_json, as_text, require, run, split_list
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.core import Core
from authserver.xaa.policy_administration import UNCHANGED, PolicyPatch
from authserver.xaa.records import SubjectMapping, XaaPolicy
from authserver.xaa.views import build_mapping, build_policy


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
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def create_policy(
    config_path: str | None,
    *,
    name: str,
    idp_id: str,
    client_ids: str | None,
    scopes: str | None,
    resources: str | None,
    json_wanted: bool,
) -> None:
    """Let assertions of a provider through."""
    require(name, "--name")
    require(idp_id, "--idp-id")
    created = run(
        config_path,
        lambda core: core.xaa_policies.create(
            name=name,
            idp_id=idp_id,
            client_ids=split_list(client_ids) or (),
            scopes=split_list(scopes),
            resources=split_list(resources) or (),
            now=core.clock(),
        ),
    )
    _print_policy(created, json_wanted=json_wanted, done="policy created: ")


@policy.command("list")
@click.option("--idp-id", help="Only those of this provider.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_policies(config_path: str | None, *, idp_id: str | None, json_wanted: bool) -> None:
    """List policies in the order in which they are tried: oldest first."""
    policies = run(config_path, lambda core: core.xaa_policies.every(idp_id=idp_id))
    if json_wanted:
        click.echo(as_json([build_policy(each) for each in policies]))
        return
    for each in policies:
        click.echo(_policy_line(each))
    if not policies:
        click.echo("no policies found")


@policy.command("show")
@click.option("--id", "policy_id", default="", help="Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def show_policy(config_path: str | None, *, policy_id: str, json_wanted: bool) -> None:
    """Show one policy."""
    require(policy_id, "--id")
    _print_policy(run(config_path, lambda core: core.xaa_policies.get(policy_id)), json_wanted=json_wanted)


@policy.command("update")
@click.option("--id", "policy_id", default="", help="Required.")
@click.option("--name", help="What operators call it.")
@click.option("--client-ids", help="Comma list of the clients that it is for; empty, any.")
@click.option("--scopes", help="Comma list: the most that may be granted; empty, nothing matches.")
@switch("--scopes-unrestricted", help="Takes the bound of scopes away.")
@click.option("--resources", help="Comma list of the resource URIs that it is for; empty, any.")
@click.option("--enabled", type=bool, help="Whether it is tried: true or false.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def update_policy(
    config_path: str | None,
    *,
    policy_id: str,
    name: str | None,
    client_ids: str | None,
    scopes: str | None,
    scopes_unrestricted: bool,
    resources: str | None,
    enabled: bool | None,
    json_wanted: bool,
) -> None:
    """Change a policy; what is not given stays."""
    require(policy_id, "--id")
    if scopes is not None and scopes_unrestricted:
        raise click.ClickException("--scopes-unrestricted excludes --scopes")
    bound = split_list(scopes)
    patch = PolicyPatch(
        name=name,
        client_ids=split_list(client_ids),
        scopes=bound if bound is not None or scopes_unrestricted else UNCHANGED,
        resources=split_list(resources),
        enabled=enabled,
    )
    changed = run(config_path, lambda core: core.xaa_policies.update(policy_id, patch, now=core.clock()))
    _print_policy(changed, json_wanted=json_wanted, done="policy updated: ")


@policy.command("delete")
@click.option("--id", "policy_id", default="", help="Required.")
@click.pass_obj
def delete_policy(config_path: str | None, *, policy_id: str) -> None:
    """Delete a policy."""
    require(policy_id, "--id")
    run(config_path, lambda core: core.xaa_policies.delete(policy_id, now=core.clock()))
    click.echo(f"policy deleted: id={policy_id}")


@command.group("mapping", cls=Group)
def mapping() -> None:
    """Subject mappings: who a provider's user is here."""


@mapping.command("create")
@click.option("--idp-id", default="", help="The provider. Required.")
@click.option("--idp-subject", default="", help="The user, as the provider's assertions name them. Required.")
@click.option("--local-user-id", help="Their account here; without it they are known and have none.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def create_mapping(
    config_path: str | None, *, idp_id: str, idp_subject: str, local_user_id: str | None, json_wanted: bool
) -> None:
    """Say who a provider's user is here."""
    require(idp_id, "--idp-id")
    require(idp_subject, "--idp-subject")
    created = run(
        config_path,
        lambda core: core.subject_mappings.create(
            idp_id=idp_id, idp_subject=idp_subject, local_user_id=local_user_id, now=core.clock()
        ),
    )
    click.echo(as_json(build_mapping(created)) if json_wanted else f"subject mapping created: {_mapping_line(created)}")


@mapping.command("list")
@click.option("--idp-id", help="Only those of this provider.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_mappings(config_path: str | None, *, idp_id: str | None, json_wanted: bool) -> None:
    """List subject mappings."""

    async def every(core: Core) -> list[SubjectMapping]:
        return [each async for each in core.subject_mappings.every(idp_id=idp_id)]

    mappings = run(config_path, every)
    if json_wanted:
        click.echo(as_json([build_mapping(each) for each in mappings]))
        return
    for each in mappings:
        click.echo(_mapping_line(each))
    if not mappings:
        click.echo("no subject mappings found")


@mapping.command("delete")
@click.option("--id", "mapping_id", default="", help="Required.")
@click.pass_obj
def delete_mapping(config_path: str | None, *, mapping_id: str) -> None:
    """Delete a subject mapping."""
    require(mapping_id, "--id")
    run(config_path, lambda core: core.subject_mappings.delete(mapping_id, now=core.clock()))
    click.echo(f"subject mapping deleted: id={mapping_id}")


def _print_policy(shown: XaaPolicy, *, json_wanted: bool, done: str = "") -> None:
    click.echo(as_json(build_policy(shown)) if json_wanted else done + _policy_line(shown))


def _policy_line(shown: XaaPolicy) -> str:
    scopes = "any" if shown.scopes is None else f"[{','.join(shown.scopes)}]"
    return (
        f"id={shown.id} name={as_text(shown.name)} idp_id={shown.idp_id} client_ids=[{','.join(shown.client_ids)}]"
        f" scopes={scopes} resources=[{','.join(shown.resources)}] enabled={str(shown.enabled).lower()}"
    )


def _mapping_line(shown: SubjectMapping) -> str:
    return (
        f"id={shown.id} idp_id={shown.idp_id} idp_subject={as_text(shown.idp_subject)}"
        f" local_user_id={shown.local_user_id or ''}"
    )
