"""``authserver admin audit``: reads the trail; its proofs and its delivery stand in modules of their own."""

import contextlib

import click
import orjson

from authserver.audit.following import follow_events
from authserver.audit.records import AuditRecord
from authserver.audit.store import list_events
from authserver.audit.views import view_event
from authserver.cli.admin.audit_delivery import delivery
from authserver.cli.admin.audit_proof import checkpoint, export, verify_
from authserver.cli.admin.opening import as_json, as_text, run
from authserver.cli.groups import Group
from authserver.cli.options import Duration
from authserver.core import Core
from authserver.protocol.identifiers import first_id, spell_id
from authserver.protocol.times import spell_time
from authserver.telemetry.decisions import without_controls

_MOST = 1000


@click.group("audit", cls=Group)
def command() -> None:
    """Read the audit trail, and prove that it is as it was written."""


for part in (checkpoint, export, verify_, delivery):
    command.add_command(part)


@command.command("list")
@click.option("--action", help="Only events of this action, such as token.issued.")
@click.option("--actor", help="Only events of this actor.")
@click.option("--client", help="Only events about this client.")
@click.option("--since", type=Duration(), help="Only events of this long ago and later, such as 24h or 7d.")
@click.option("--limit", type=click.IntRange(1, _MOST), default=50, show_default=True, help="How many, newest first.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(
    config_path: str | None,
    *,
    action: str | None,
    actor: str | None,
    client: str | None,
    since: float | None,
    limit: int,
    in_json: bool,
) -> None:
    """List events, the newest first."""

    async def read(core: Core) -> list[AuditRecord]:
        earliest = None if since is None else core.clock() - int(since)
        return await list_events(core.db, limit=limit, action=action, actor_id=actor, client_id=client, since=earliest)

    events = run(config_path, read)
    if in_json:
        click.echo(as_json([view_event(event) for event in events]))
        return
    for event in events:
        click.echo(_describe(event))
    if not events:
        click.echo("no audit events found")


@command.command("tail")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option(
    "--lines", "-n", type=click.IntRange(0, _MOST), default=10, show_default=True, help="How many to begin with."
)
@click.option("--json", "in_json", is_flag=True, help="Print each event as a line of JSON.")
@click.pass_obj
def tail(config_path: str | None, *, follow: bool, lines: int, in_json: bool) -> None:
    """Print the newest events, the oldest of them first, and with --follow those that come."""

    def show(event: AuditRecord) -> None:
        click.echo(orjson.dumps(view_event(event)).decode() if in_json else _describe(event))

    async def read(core: Core) -> None:
        started = first_id(core.clock.milliseconds())
        newest = await list_events(core.db, limit=lines) if lines else []
        for event in reversed(newest):
            show(event)
        if follow:
            shown = {event.id for event in newest}
            async for events in follow_events(core.db, core.clock.milliseconds, started=started, shown=shown):
                for event in events:
                    show(event)

    with contextlib.suppress(KeyboardInterrupt):
        run(config_path, read)


def _describe(event: AuditRecord) -> str:
    reference = f" reference={event.reference}" if event.reference else ""
    line = (
        f"time={spell_time(event.created_at)} action={event.action} actor_id={event.actor_id}"
        f" client_id={event.client_id} ip={event.ip} trace_id={event.trace_id}{reference} id={spell_id(event.id)}"
        f" detail={as_text(event.detail)}"
    )
    return without_controls(line)
