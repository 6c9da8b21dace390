"""``authserver admin audit``: reads the trail; its proofs and its delivery stand in modules of their own."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import click

from authserver.cli.admin.audit_delivery import delivery
from authserver.cli.admin.audit_proof import checkpoint, export, verify_
from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import Duration
from authserver.cli.printing import as_json_line, as_text
from authserver.protocol.times import parse_time, spell_time
from authserver.telemetry.decisions import without_controls

_LONGEST_PAGE = 1000
_POLL_SECONDS = 1.0
# A row is committed a moment after its time was noted.
_LOOK_BACK_SECONDS = 10

Event = dict[str, Any]


@click.group("audit", cls=Group)
def command() -> None:
    """Read the audit trail, and prove that it is as it was written."""


for part in (checkpoint, export, verify_, delivery):
    command.add_command(part)


@command.command("list")
@click.option("--action", help="Only events of this action, such as token.issued.")
@click.option("--actor", help="Only events of this actor.")
@click.option("--client", help="Only events about this client.")
@click.option(
    "--since", type=Duration(), help="Only events of this long ago and later, such as 24h or 7d; else of the last day."
)
@click.option(
    "--limit", type=click.IntRange(1, _LONGEST_PAGE), default=50, show_default=True, help="How many, newest first."
)
@calls_api()
def list_(
    api: Api, *, action: str | None, actor: str | None, client: str | None, since: float | None, limit: int
) -> None:
    """List events, the newest first. How far back is for admin.audit_default_lookback and audit_max_lookback to say."""
    earliest = None if since is None else spell_time(max(0, api.now() - int(since)))
    query = {"action": action, "actor_id": actor, "client_id": client, "since": earliest, "limit": limit}
    events = api.call("GET /admin/audit", query=query)
    api.tell_list(events, map(_describe, events), none="no audit events found")


@command.command("tail")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(0, _LONGEST_PAGE),
    default=10,
    show_default=True,
    help="How many to begin with.",
)
@calls_api()
def tail(api: Api, *, follow: bool, lines: int) -> None:
    """Print the newest events of the last day, the oldest of them first, and with --follow those that come.

    With --json each is an object on a line of its own.
    """
    newest = api.call("GET /admin/audit", query={"limit": max(lines, 1)})
    _show(api, newest[:lines])
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(api, newest)


def _follow(api: Api, newest: list[Event]) -> None:
    """Show what comes, for ever. Times are those of the trail: a server's clock need not be this machine's."""
    started = latest = newest[0]["created_at"] if newest else ""
    shown = {event["id"] for event in newest}
    while True:
        time.sleep(_POLL_SECONDS)
        seconds = parse_time(latest)
        since = None if seconds is None else spell_time(seconds - _LOOK_BACK_SECONDS)
        window = api.call_pages("GET /admin/audit", query={"since": since})
        _show(api, [event for event in window if event["id"] not in shown and event["created_at"] >= started])
        shown = {event["id"] for event in window}
        latest = window[0]["created_at"] if window else latest


def _show(api: Api, newest_first: list[Event]) -> None:
    for event in reversed(newest_first):
        click.echo(as_json_line(event) if api.is_json else _describe(event))


def _describe(event: Mapping[str, str]) -> str:
    reference = f" reference={event['reference']}" if event["reference"] else ""
    line = (
        f"time={event['created_at']} action={event['action']} actor_id={event['actor_id']}"
        f" client_id={event['client_id']} ip={event['ip']} trace_id={event['trace_id']}{reference} id={event['id']}"
        f" detail={as_text(event['detail'])}"
    )
    return without_controls(line)
