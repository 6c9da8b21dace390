"""``authserver admin fronting`` (cli.md §6)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.admin.files import read_json
from authserver.cli.groups import Group
from authserver.cli.options import require, switch
from authserver.resources.fronting import ScopeMap, spell_scope_map

_BY = "cli"
_MAP_HELP = "source:target[+target…], entries separated by commas, split at the first colon."
_FILE_HELP = "JSON object of source scope to target scopes, for names with a colon; at most 1 MiB."


@click.group("fronting", cls=Group)
def command() -> None:
    """Say which gateway may turn tokens for one resource into tokens for another."""


@command.command("list")
@click.option("--source", help="Only those from this slug.")
@click.option("--target", help="Only those to this slug.")
@calls_api()
def list_(api: Api, *, source: str | None, target: str | None) -> None:
    """List fronting links."""
    links = api.call_pages("GET /admin/fronting", query={"source": source, "target": target})
    api.tell_list(links, map(_line, links), none="no fronting links found")


@command.command("get")
@click.option("--source", default="", help="Required.")
@click.option("--target", default="", help="Required.")
@calls_api()
def get(api: Api, *, source: str, target: str) -> None:
    """Show one link."""
    _require_ends(source, target)
    link = api.call("GET /admin/fronting/{source}/{target}", source=source, target=target)
    api.tell(link, _line(link))


@command.command("create")
@click.option("--source", default="", help="Slug of the resource that tokens are exchanged from. Required.")
@click.option("--target", default="", help="Slug of the resource that they are exchanged for. Required.")
@click.option("--scope-map", help=_MAP_HELP)
@click.option("--scope-map-file", type=click.Path(exists=True, dir_okay=False), help=_FILE_HELP)
@switch("--dry-run", help="Check only.")
@calls_api(actor=_BY)
def create(
    api: Api,
    *,
    source: str,
    target: str,
    scope_map: str | None,
    scope_map_file: str | None,
    dry_run: bool,
) -> None:
    """Link two resources; the scope map is required."""
    _require_ends(source, target)
    parsed = _read_map(scope_map, scope_map_file)
    if parsed is None:
        raise click.ClickException("--scope-map is required")
    new = {"source": source, "target": target, "scope_map": parsed}
    link = api.call("POST /admin/fronting", query={"dry_run": dry_run}, body=new)
    ends = f"source={link['source_slug']} target={link['target_slug']}"
    done = f"validation OK: {ends} scope_map={_spell(link)}" if dry_run else f"fronting link created: {ends}"
    api.tell(link, done)


@command.command("update")
@click.option("--source", default="", help="Required.")
@click.option("--target", default="", help="Required.")
@click.option("--scope-map", help=_MAP_HELP)
@click.option("--scope-map-file", type=click.Path(exists=True, dir_okay=False), help=_FILE_HELP)
@calls_api(actor=_BY)
def update(api: Api, *, source: str, target: str, scope_map: str | None, scope_map_file: str | None) -> None:
    """Give a link another scope map."""
    _require_ends(source, target)
    changes = {"scope_map": _read_map(scope_map, scope_map_file)}
    link = api.call("PATCH /admin/fronting/{source}/{target}", source=source, target=target, body=changes)
    ends = f"source={link['source_slug']} target={link['target_slug']}"
    api.tell(link, f"fronting link updated: {ends} scope_map={_spell(link)}")


@command.command("delete")
@click.option("--source", default="", help="Required.")
@click.option("--target", default="", help="Required.")
@calls_api(actor=_BY)
def delete(api: Api, *, source: str, target: str) -> None:
    """Delete a link; what was exchanged along it stays in force until it expires."""
    _require_ends(source, target)
    answer = api.call("DELETE /admin/fronting/{source}/{target}", source=source, target=target)
    api.tell(answer, f"fronting link deleted: source={source} target={target}")


def parse_scope_map(text: str) -> ScopeMap:
    """Return what ``a:x+y,b:z`` says. A source that is named again adds to what it stands for.

    Raises:
        ClickException: An entry has no source, no targets, or an empty one.
    """
    scope_map: dict[str, tuple[str, ...]] = {}
    for entry in text.split(","):
        if not entry.strip():
            continue
        source, _, targets = entry.partition(":")
        named = tuple(target.strip() for target in targets.split("+"))
        if not source.strip() or not all(named):
            raise click.ClickException(f"--scope-map {entry.strip()!r} is not source:target[+target…]")
        earlier = scope_map.get(source.strip(), ())
        scope_map[source.strip()] = (*earlier, *(target for target in named if target not in earlier))
    return scope_map


def _read_map(text: str | None, path: str | None) -> ScopeMap | None:
    if text is not None and path is not None:
        raise click.ClickException("--scope-map and --scope-map-file exclude each other")
    if path is None:
        return None if text is None else parse_scope_map(text)
    members = read_json(path)
    if not isinstance(members, dict) or not all(_are_names(targets) for targets in members.values()):
        raise click.ClickException(f"{path} is not a JSON object of scope to array of scopes")
    return {source: tuple(targets) for source, targets in members.items()}


def _are_names(targets: object) -> bool:
    return isinstance(targets, list) and all(isinstance(target, str) for target in targets)


def _require_ends(source: str, target: str) -> None:
    require(source, "--source")
    require(target, "--target")


def _spell(link: dict[str, Any]) -> str:
    return "{" + spell_scope_map(link["scope_map"]) + "}"


def _line(link: dict[str, Any]) -> str:
    return (
        f"source={link['source_slug']} target={link['target_slug']} scope_map={_spell(link)}"
        f" created_by={link['created_by']}"
    )
