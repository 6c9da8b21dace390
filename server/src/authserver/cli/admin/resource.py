"""``authserver admin resource`` (cli.md §6)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.admin.provider import find_provider_id
from authserver.cli.admin.resource_flags import draft_flags, read_policy, read_scopes, warn_of_emptied_lists
from authserver.cli.admin.resource_lists import add_lists
from authserver.cli.groups import Group
from authserver.cli.options import require, switch
from authserver.cli.printing import as_text

_KINDS = ("mint", "broker")


@click.group("resource", cls=Group)
def command() -> None:
    """Create, change and list protected resources."""


@command.command("list")
@click.option("--backend-kind", type=click.Choice(_KINDS), help="Only those of it.")
@click.option("--broker-provider", help="Only those of this provider, by id or slug.")
@calls_api()
def list_(api: Api, *, backend_kind: str | None, broker_provider: str | None) -> None:
    """List resources, oldest first."""
    query = {"backend_kind": backend_kind, "broker_provider_id": _provider_of(api, broker_provider)}
    resources = api.call_pages("GET /admin/resources", query=query)
    api.tell_list(resources, map(_line, resources), none="no resources found")


@command.command("get")
@click.option("--id", "resource_id", default="", help="Required.")
@calls_api()
def get(api: Api, *, resource_id: str) -> None:
    """Show one resource."""
    require(resource_id, "--id")
    resource = api.call("GET /admin/resources/{id}", id=resource_id)
    api.tell(resource, _line(resource, with_name=True))


@command.command("create")
@click.option("--slug", default="", help="Required.")
@click.option("--backend-kind", default="", help="mint or broker. Required.")
@click.option("--description", hidden=True)
@draft_flags
@calls_api()
def create(api: Api, *, slug: str, backend_kind: str, description: str | None, **given: Any) -> None:
    """Register a resource."""
    require(slug, "--slug")
    require(backend_kind, "--backend-kind")
    if description is not None:
        click.echo("warning: --description is ignored", err=True)
    new = {
        "slug": slug,
        "backend_kind": backend_kind,
        "uri": given["uri"],
        "display_name": given["display_name"],
        "scopes": read_scopes(given["scopes"], given["scopes_file"]),
        "policy": read_policy(given),
    }
    provider = _provider_of(api, given["broker_provider"])
    resource = api.call("POST /admin/resources", body={**new, "broker_provider_id": provider})
    api.tell(resource, f"resource created: id={resource['id']} slug={resource['slug']}")


@command.command("update")
@click.option("--id", "resource_id", default="", help="Required.")
@click.option("--slug", help="Its name here: lower-case letters, digits, hyphens.")
@click.option("--backend-kind", help="mint or broker.")
@switch("--scopes-clear", help="Takes every scope away.")
@switch("--policy-clear", help="Empties the whole policy.")
@draft_flags
@calls_api()
def update(
    api: Api,
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
    if policy is not None:
        before = api.call("GET /admin/resources/{id}", id=resource_id)
        warn_of_emptied_lists(before["policy"], given)
    changes = {
        "slug": slug,
        "uri": given["uri"],
        "backend_kind": backend_kind,
        "broker_provider_id": _provider_of(api, given["broker_provider"]),
        "display_name": given["display_name"],
        "scopes": [] if scopes_clear else scopes,
        "policy": {} if policy_clear else policy,
    }
    resource = api.call("PATCH /admin/resources/{id}", id=resource_id, body=changes)
    api.tell(resource, f"resource updated: id={resource['id']} slug={resource['slug']}")


@command.command("delete")
@click.option("--id", "resource_id", default="", help="Required.")
@switch("--cascade", help="Delete the fronting links that name it, too.")
@calls_api()
def delete(api: Api, *, resource_id: str, cascade: bool) -> None:
    """Delete a resource that nothing refers to."""
    require(resource_id, "--id")
    answer = api.call("DELETE /admin/resources/{id}", id=resource_id, query={"cascade": cascade})
    api.tell(answer, f"resource deleted: id={resource_id}")


add_lists(command)


def _provider_of(api: Api, named: str | None) -> str | None:
    """Return the id of a provider that is named by id or slug, and what names none as it is."""
    return find_provider_id(api, named) if named else named


def _line(resource: dict[str, Any], *, with_name: bool = False) -> str:
    name = f" display_name={as_text(resource['display_name'])}" if with_name else ""
    scopes = ",".join(
        f"{scope['name']}→{scope['upstream']}"
        if scope.get("upstream", scope["name"]) != scope["name"]
        else scope["name"]
        for scope in resource["scopes"]
    )
    return (
        f"id={resource['id']} slug={resource['slug']} backend_kind={resource['backend_kind']}"
        f" broker_provider_id={resource['broker_provider_id']} uri={resource['uri']}{name} scopes={scopes or '[]'}"
    )
