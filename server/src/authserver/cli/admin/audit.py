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
from authserver.protocol.times import spell_time
from authserver.telemetry.decisions import without_controls

_LONGEST_PAGE = 1000
_POLL_SECONDS = 1.0
# A row is committed a moment after its time was noted, and clocks differ.
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
    started = api.now()
    newest = api.call("GET /admin/audit", query={"limit": lines}) if lines else []
    _show(api, newest)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(api, {event["id"] for event in newest}, started)


def _follow(api: Api, shown: set[str], since: int) -> None:
    """Show what comes, for ever."""
    while True:
        time.sleep(_POLL_SECONDS)
        began = api.now()
        window = api.call_pages("GET /admin/audit", query={"since": spell_time(since - _LOOK_BACK_SECONDS)})
        _show(api, [event for event in window if event["id"] not in shown])
        shown, since = {event["id"] for event in window}, began


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
