"""``authserver admin issuance`` (cli.md §6)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import Duration, require, switch
from authserver.protocol.times import spell_time
from authserver.telemetry.decisions import without_controls
from authserver.tokens.administration import LISTED, LONGEST_SINCE, MOST_LISTED

_NAMES = ("id", "jti", "subject_user_id", "client_id", "resource_id", "backend_kind")
_TIMES = ("issued_at", "expires_at", "revoked_at")


@click.group("issuance", cls=Group)
def command() -> None:
    """Show the tokens that were handed out, and take one back."""


@command.command("list")
@click.option("--user", default="", help="Only tokens about this user.")
@click.option("--client", default="", help="Only tokens of this client.")
@click.option("--resource", default="", help="Only tokens for the resource with this id.")
@click.option("--jti", default="", help="One token, whenever it was issued.")
@click.option("--since", type=Duration(), default="24h", show_default=True, help="How far back, at most 30d.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LISTED,
    show_default=True,
    help=f"At most so many, up to {MOST_LISTED}.",
)
@calls_api()
def list_(api: Api, *, user: str, client: str, resource: str, jti: str, since: float, limit: int) -> None:
    """List tokens, newest first. One of --user, --client, --resource and --jti is required; all that are given must fit."""
    if not (user or client or resource or jti):
        raise click.ClickException("at least one of --user, --client, --resource, --jti is required")
    if since > LONGEST_SINCE and not jti:
        raise click.ClickException("--since must be at most 30d")
    query: dict[str, str | int | None] = {
        "user": user or None,
        "client": client or None,
        "resource": resource or None,
        "jti": jti or None,
        "since": None if jti else spell_time(api.now() - int(since)),
        "limit": None if jti else limit,
    }
    answer = api.call("GET /admin/issuances", query=query)
    if jti:
        # The zero time there, and nothing here [contract].
        answer["since"] = ""
    lines = [f"issuances ({answer['count']}) since={answer['since']}:"]
    api.tell(answer, *lines, *(f"  {_line(each, with_scopes=False)}" for each in answer["issuances"]))


@command.command("get")
@click.option("--id", "issuance_id", default="", help="Required.")
@calls_api()
def get(api: Api, *, issuance_id: str) -> None:
    """Show one token: who it is about, of which client, for what."""
    require(issuance_id, "--id")
    issuance = api.call("GET /admin/issuances/{id}", id=issuance_id)
    api.tell(issuance, _line(issuance, with_scopes=True))


@command.command("revoke")
@click.option("--id", "issuance_id", default="", help="Required.")
@switch("--cascade", "cascade", help="Also revoke what was exchanged from it, to the leaves.")
@calls_api()
def revoke(api: Api, *, issuance_id: str, cascade: bool) -> None:
    """Revoke one token. What was exchanged from it stays in force without --cascade."""
    require(issuance_id, "--id")
    api.tell(
        api.call("DELETE /admin/issuances/{id}", id=issuance_id, query={"cascade": cascade}),
        f"issuance revoked: id={issuance_id}",
    )


def _line(issuance: dict[str, Any], *, with_scopes: bool) -> str:
    words = [f"{name}={issuance[name]}" for name in _NAMES]
    if with_scopes:
        words.append(f"scopes=[{' '.join(issuance['scopes'])}]")
    words += [f"{name}={issuance[name]}" for name in _TIMES if name in issuance]
    # Who a provider calls its users is nothing that a terminal should obey.
    return without_controls(" ".join(words))
