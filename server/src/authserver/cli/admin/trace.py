"""``authserver admin trace``: why a request was refused, by the reference id that its sender was given."""

import asyncio
import re

import click

from authserver.cli.admin.opening import as_json, run
from authserver.cli.groups import Group
from authserver.core import Core
from authserver.protocol.times import spell_time
from authserver.telemetry.decisions import without_controls
from authserver.traces.explaining import describe, explain
from authserver.traces.records import RefusalTrace
from authserver.traces.store import find_trace, list_traces

_REFERENCE = re.compile(r"ref_[a-z2-7]{20}")
_TRIES, _PAUSE_SECONDS = 4, 0.25


@click.group("trace", cls=Group)
def command() -> None:
    """Explain refused requests."""


@command.command("show")
@click.argument("reference", metavar="ID")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, *, reference: str, in_json: bool) -> None:
    """Print the decision behind a refusal, step by step, and the fix.

    ID is a reference id such as ref_abcdefghij0123456789, alone or in the text that it was found in.
    """
    found = _REFERENCE.search(reference)
    if found is None:
        raise click.ClickException("ID must hold a reference id: ref_ and 20 characters")

    async def read(core: Core) -> RefusalTrace:
        # A refusal is written down a moment after it was answered.
        for attempt in range(_TRIES):
            trace = await find_trace(core.db, found[0])
            if trace is not None:
                break
            if attempt + 1 < _TRIES:
                await asyncio.sleep(_PAUSE_SECONDS)
        if trace is None or trace.created_at < core.clock() - core.config.traces.max_age:
            raise click.ClickException(_why_missing(core, found[0]))
        return trace

    trace = run(config_path, read)
    click.echo(as_json(explain(trace)) if in_json else describe(trace))


@command.command("list")
@click.option("--client-id", default="", help="Only refusals of this client.")
@click.option("--error", default="", help="Only refusals with this error, such as invalid_grant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(config_path: str | None, *, client_id: str, error: str, limit: int, in_json: bool) -> None:
    """List the newest refusals."""

    async def read(core: Core) -> list[RefusalTrace]:
        since = core.clock() - core.config.traces.max_age
        return await list_traces(core.db, limit=limit, since=since, client_id=client_id, error=error)

    traces = run(config_path, read)
    if in_json:
        click.echo(as_json([explain(trace) for trace in traces]))
        return
    for trace in traces:
        line = (
            f"reference={trace.reference} time={spell_time(trace.created_at)} status={trace.status}"
            f" error={trace.error!r} reason={trace.reason} endpoint={trace.endpoint!r}"
            f" client_id={trace.client_id}"
        )
        click.echo(without_controls(line))
    if not traces:
        click.echo("no refusals kept")


def _why_missing(core: Core, reference: str) -> str:
    traces = core.config.traces
    if not traces.enabled:
        return f"no trace of {reference}: traces.enabled is false"
    return (
        f"no trace of {reference}: it is older than traces.max_age ({traces.max_age} s), more than traces.max"
        f" ({traces.max}) refusals came since, it was dropped in a flood, or it is another installation's"
    )
