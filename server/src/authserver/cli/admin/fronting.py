"""``authserver admin fronting`` (cli.md §6)."""

from pathlib import Path

import click
import orjson

from authserver.cli.admin.opening import as_json, require, run
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.resources.fronting import ScopeMap, spell_scope_map
from authserver.resources.records import FrontingLink
from authserver.resources.views import build_link

_BY = "cli"
_MAX_FILE_BYTES = 1024 * 1024
_MAP_HELP = "source:target[+target…], entries separated by commas, split at the first colon."
_FILE_HELP = "JSON object of source scope to target scopes, for names with a colon; at most 1 MiB."


@click.group("fronting", cls=Group)
def command() -> None:
    """Say which gateway may turn tokens for one resource into tokens for another."""


@command.command("list")
@click.option("--source", default="", help="Only those from this slug.")
@click.option("--target", default="", help="Only those to this slug.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_(config_path: str | None, *, source: str, target: str, json_wanted: bool) -> None:
    """List fronting links."""
    links = run(config_path, lambda core: core.fronting.list(source=source, target=target))
    if json_wanted:
        click.echo(as_json([build_link(link) for link in links]))
        return
    for link in links:
        click.echo(_line(link))
    if not links:
        click.echo("no fronting links found")


@command.command("get")
@click.option("--source", default="", help="Required.")
@click.option("--target", default="", help="Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def get(config_path: str | None, *, source: str, target: str, json_wanted: bool) -> None:
    """Show one link."""
    _require_ends(source, target)
    link = run(config_path, lambda core: core.fronting.get(source, target))
    click.echo(as_json(build_link(link)) if json_wanted else _line(link))


@command.command("create")
@click.option("--source", default="", help="Slug of the resource that tokens are exchanged from. Required.")
@click.option("--target", default="", help="Slug of the resource that they are exchanged for. Required.")
@click.option("--scope-map", help=_MAP_HELP)
@click.option("--scope-map-file", type=click.Path(exists=True, dir_okay=False), help=_FILE_HELP)
@switch("--dry-run", help="Check only.")
@click.pass_obj
def create(
    config_path: str | None,
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
    link = run(
        config_path,
        lambda core: core.fronting.create(source, target, parsed, by=_BY, dry_run=dry_run, now=core.clock()),
    )
    if dry_run:
        click.echo(f"validation OK: source={link.source} target={link.target} scope_map={_spell(link)}")
        return
    click.echo(f"fronting link created: source={link.source} target={link.target}")


@command.command("update")
@click.option("--source", default="", help="Required.")
@click.option("--target", default="", help="Required.")
@click.option("--scope-map", help=_MAP_HELP)
@click.option("--scope-map-file", type=click.Path(exists=True, dir_okay=False), help=_FILE_HELP)
@click.pass_obj
def update(
    config_path: str | None, *, source: str, target: str, scope_map: str | None, scope_map_file: str | None
) -> None:
    """Give a link another scope map."""
    _require_ends(source, target)
    parsed = _read_map(scope_map, scope_map_file)
    link = run(config_path, lambda core: core.fronting.update(source, target, parsed, by=_BY, now=core.clock()))
    click.echo(f"fronting link updated: source={link.source} target={link.target} scope_map={_spell(link)}")


@command.command("delete")
@click.option("--source", default="", help="Required.")
@click.option("--target", default="", help="Required.")
@click.pass_obj
def delete(config_path: str | None, *, source: str, target: str) -> None:
    """Delete a link; what was exchanged along it stays in force until it expires."""
    _require_ends(source, target)
    run(config_path, lambda core: core.fronting.delete(source, target, by=_BY, now=core.clock()))
    click.echo(f"fronting link deleted: source={source} target={target}")


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
    if Path(path).stat().st_size > _MAX_FILE_BYTES:
        raise click.ClickException(f"{path} is larger than 1 MiB")
    try:
        members = orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as exc:
        raise click.ClickException(f"{path} is not JSON: {exc}") from exc
    if not isinstance(members, dict) or not all(_are_names(targets) for targets in members.values()):
        raise click.ClickException(f"{path} is not a JSON object of scope to array of scopes")
    return {source: tuple(targets) for source, targets in members.items()}


def _are_names(targets: object) -> bool:
    return isinstance(targets, list) and all(isinstance(target, str) for target in targets)


def _require_ends(source: str, target: str) -> None:
    require(source, "--source")
    require(target, "--target")


def _spell(link: FrontingLink) -> str:
    return "{" + spell_scope_map(link.scope_map) + "}"


def _line(link: FrontingLink) -> str:
    return f"source={link.source} target={link.target} scope_map={_spell(link)} created_by={link.created_by}"
