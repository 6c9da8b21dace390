"""``authserver admin resource`` (cli.md §6)."""

from typing import Any

import click

from authserver.cli.admin.opening import as_json, as_text, require, run
from authserver.cli.admin.resource_flags import draft_flags, read_policy, read_scopes, warn_of_emptied_lists
from authserver.cli.admin.resource_lists import add_lists
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.core import Core
from authserver.protocol.operator_errors import NotFound
from authserver.resources.administration import ResourceDraft, ResourcePatch
from authserver.resources.catalog import every_resource
from authserver.resources.records import BackendKind, Resource, ResourcePolicy
from authserver.resources.store import find_resource
from authserver.resources.views import build_resource


@click.group("resource", cls=Group)
def command() -> None:
    """Create, change and list protected resources."""


@command.command("list")
@click.option("--backend-kind", type=click.Choice([str(kind) for kind in BackendKind]), help="Only those of it.")
@click.option("--broker-provider", help="Only those of this provider.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_(config_path: str | None, *, backend_kind: str | None, broker_provider: str | None, json_wanted: bool) -> None:
    """List resources, oldest first."""

    async def every(core: Core) -> list[Resource]:
        return [
            resource
            async for resource in every_resource(core.db)
            if backend_kind in {None, resource.backend_kind} and broker_provider in {None, resource.broker_provider_id}
        ]

    resources = run(config_path, every)
    if json_wanted:
        click.echo(as_json([build_resource(resource) for resource in resources]))
        return
    for resource in resources:
        click.echo(_line(resource))
    if not resources:
        click.echo("no resources found")


@command.command("get")
@click.option("--id", "resource_id", default="", help="Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def get(config_path: str | None, *, resource_id: str, json_wanted: bool) -> None:
    """Show one resource."""
    require(resource_id, "--id")

    async def find(core: Core) -> Resource:
        resource = await find_resource(core.db, resource_id)
        if resource is None:
            raise NotFound(f"resource not found: {resource_id}")
        return resource

    resource = run(config_path, find)
    click.echo(as_json(build_resource(resource)) if json_wanted else _line(resource, with_name=True))


@command.command("create")
@click.option("--slug", default="", help="Required.")
@click.option("--backend-kind", default="", help="mint or broker. Required.")
@click.option("--description", hidden=True)
@draft_flags
@click.pass_obj
def create(config_path: str | None, /, *, slug: str, backend_kind: str, description: str | None, **given: Any) -> None:
    """Register a resource."""
    require(slug, "--slug")
    require(backend_kind, "--backend-kind")
    if description is not None:
        click.echo("warning: --description is ignored", err=True)
    draft = ResourceDraft(
        slug=slug,
        backend_kind=backend_kind,
        uri=given["uri"] or "",
        display_name=given["display_name"] or "",
        broker_provider_id=given["broker_provider"] or "",
        scopes=read_scopes(given["scopes"], given["scopes_file"]) or (),
        policy=read_policy(given) or ResourcePolicy(),
    )
    resource = run(config_path, lambda core: core.resources.create_resource(draft, now=core.clock()))
    click.echo(f"resource created: id={resource.id} slug={resource.slug}")


@command.command("update")
@click.option("--id", "resource_id", default="", help="Required.")
@click.option("--slug", help="Its name here: lower-case letters, digits, hyphens.")
@click.option("--backend-kind", help="mint or broker.")
@switch("--scopes-clear", help="Takes every scope away.")
@switch("--policy-clear", help="Empties the whole policy.")
@draft_flags
@click.pass_obj
def update(
    config_path: str | None,
    /,
    *,
    resource_id: str,
    slug: str | None,
    backend_kind: str | None,
    scopes_clear: bool,
    policy_clear: bool,
    **given: Any,
) -> None:
    """Change a resource; what is not given stays. One policy flag replaces the whole policy."""
    require(resource_id, "--id")
    scopes, policy = read_scopes(given["scopes"], given["scopes_file"]), read_policy(given)
    if scopes_clear and scopes is not None:
        raise click.ClickException("--scopes-clear excludes --scopes and --scopes-file")
    if policy_clear and policy is not None:
        raise click.ClickException("--policy-clear excludes the other policy flags")
    patch = ResourcePatch(
        slug=slug,
        uri=given["uri"],
        backend_kind=backend_kind,
        broker_provider_id=given["broker_provider"],
        display_name=given["display_name"],
        scopes=() if scopes_clear else scopes,
        policy=ResourcePolicy() if policy_clear else policy,
    )

    async def change(core: Core) -> Resource:
        before = await find_resource(core.db, resource_id)
        if before is not None and policy is not None:
            warn_of_emptied_lists(before.policy, given)
        return await core.resources.update_resource(resource_id, patch, now=core.clock())

    resource = run(config_path, change)
    click.echo(f"resource updated: id={resource.id} slug={resource.slug}")


@command.command("delete")
@click.option("--id", "resource_id", default="", help="Required.")
@switch("--cascade", help="Delete the fronting links that name it, too.")
@click.pass_obj
def delete(config_path: str | None, *, resource_id: str, cascade: bool) -> None:
    """Delete a resource that nothing refers to."""
    require(resource_id, "--id")
    run(config_path, lambda core: core.resources.delete_resource(resource_id, cascade=cascade, now=core.clock()))
    click.echo(f"resource deleted: id={resource_id}")


add_lists(command)


def _line(resource: Resource, *, with_name: bool = False) -> str:
    name = f" display_name={as_text(resource.display_name)}" if with_name else ""
    scopes = ",".join(
        f"{scope.name}→{scope.upstream}" if scope.upstream and scope.upstream != scope.name else scope.name
        for scope in resource.scopes
    )
    return (
        f"id={resource.id} slug={resource.slug} backend_kind={resource.backend_kind}"
        f" broker_provider_id={resource.broker_provider_id or ''} uri={resource.uri}{name} scopes={scopes or '[]'}"
    )
