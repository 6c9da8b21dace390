"""``authserver admin issuance`` (cli.md §6)."""

import click

from authserver.cli.admin.opening import as_json, require, run
from authserver.cli.groups import Group
from authserver.cli.options import Duration, switch
from authserver.core import Core
from authserver.protocol.times import spell_time
from authserver.telemetry.decisions import without_controls
from authserver.tokens.administration import LISTED, LONGEST_SINCE, MOST_LISTED
from authserver.tokens.records import Issuance, IssuanceFilter
from authserver.tokens.views import build_issuance


@click.group("issuance", cls=Group)
def command() -> None:
    """Show the tokens that were handed out, and take one back."""


@command.command("list")
@click.option("--user", "user_id", default="", help="Only tokens about this user.")
@click.option("--client", "client_id", default="", help="Only tokens of this client.")
@click.option("--resource", "resource_id", default="", help="Only tokens for the resource with this id.")
@click.option("--jti", default="", help="One token, whenever it was issued.")
@click.option("--since", type=Duration(), default="24h", show_default=True, help="How far back, at most 30d.")
@click.option("--limit", type=int, default=LISTED, show_default=True, help=f"How many at most, 1 to {MOST_LISTED}.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def list_(
    config_path: str | None,
    *,
    user_id: str,
    client_id: str,
    resource_id: str,
    jti: str,
    since: float,
    limit: int,
    json_wanted: bool,
) -> None:
    """List tokens, newest first. One of --user, --client, --resource and --jti is required; all that are given must fit."""
    wanted = IssuanceFilter(
        user_id=user_id or None, client_id=client_id or None, resource_id=resource_id or None, jti=jti or None
    )
    if wanted.is_empty:
        raise click.ClickException("at least one of --user, --client, --resource, --jti is required")
    if since > LONGEST_SINCE and not jti:
        raise click.ClickException("--since must be at most 30d")

    async def read(core: Core) -> tuple[str, list[Issuance]]:
        now = core.clock()
        begin = now - int(since)
        found = await core.issuances.list_issuances(wanted, since=begin, limit=limit, now=now)
        return "" if jti else spell_time(begin), list(found)

    begin, issuances = run(config_path, read)
    if json_wanted:
        rows = [build_issuance(each) for each in issuances]
        click.echo(as_json({"issuances": rows, "since": begin, "count": len(rows)}))
        return
    click.echo(f"issuances ({len(issuances)}) since={begin}:")
    for issuance in issuances:
        click.echo(f"  {_line(issuance, with_scopes=False)}")


@command.command("get")
@click.option("--id", "issuance_id", default="", help="Required.")
@switch("--json", "json_wanted", help="Print JSON.")
@click.pass_obj
def get(config_path: str | None, *, issuance_id: str, json_wanted: bool) -> None:
    """Show one token: who it is about, of which client, for what."""
    require(issuance_id, "--id")
    issuance = run(config_path, lambda core: core.issuances.get_issuance(issuance_id))
    click.echo(as_json(build_issuance(issuance)) if json_wanted else _line(issuance, with_scopes=True))


@command.command("revoke")
@click.option("--id", "issuance_id", default="", help="Required.")
@switch("--cascade", "cascade", help="Also revoke what was exchanged from it, to the leaves.")
@click.pass_obj
def revoke(config_path: str | None, *, issuance_id: str, cascade: bool) -> None:
    """Revoke one token. What was exchanged from it stays in force without --cascade."""
    require(issuance_id, "--id")
    run(config_path, lambda core: core.issuances.revoke(issuance_id, cascade=cascade, now=core.clock()))
    click.echo(f"issuance revoked: id={issuance_id}")


def _line(issuance: Issuance, *, with_scopes: bool) -> str:
    shown = dict(build_issuance(issuance))
    names = ["id", "jti", "subject_user_id", "client_id", "resource_id", "backend_kind"]
    words = [f"{name}={shown[name]}" for name in names]
    if with_scopes:
        words.append(f"scopes=[{' '.join(issuance.scopes)}]")
    words += [f"{name}={shown[name]}" for name in ("issued_at", "expires_at", "revoked_at") if name in shown]
    # Who a provider calls its users is nothing that a terminal should obey.
    return without_controls(" ".join(words))
