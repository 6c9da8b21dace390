"""``authserver admin audit delivery``: how far each destination has the trail."""

from dataclasses import asdict
from typing import Any

import click

from authserver.audit.delivery.batches import measure_lag
from authserver.audit.delivery.records import Delivery
from authserver.audit.delivery.store import list_deliveries
from authserver.cli.admin.opening import as_json, as_text, run
from authserver.core import Core
from authserver.protocol.times import spell_time


@click.command("delivery")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def delivery(config_path: str | None, *, in_json: bool) -> None:
    """Show where each destination stands: what it has, what waits, and what went wrong last."""

    async def read(core: Core) -> list[dict[str, Any]]:
        now = core.clock()
        configured = core.config.audit.destinations
        return [
            {
                **_view(each),
                "configured": each.destination in configured,
                **asdict(await measure_lag(core.db, each, now=now)),
            }
            for each in await list_deliveries(core.db)
        ]

    found = run(config_path, read)
    if in_json:
        click.echo(as_json(found))
        return
    for each in found:
        click.echo(" ".join(f"{name}={_spell(value)}" for name, value in each.items()))
    if not found:
        click.echo("no deliveries found")


def _view(each: Delivery) -> dict[str, Any]:
    return {
        "destination": each.destination,
        "sequence": each.sequence,
        "checkpoint": each.checkpoint,
        "position": each.position,
        "begun_at": spell_time(each.begun_at),
        "delivered_at": spell_time(each.delivered_at) if each.delivered_at else "",
        "failures": each.failures,
        "last_error": each.last_error,
        "next_attempt_at": spell_time(each.next_attempt_at) if each.next_attempt_at else "",
    }


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return as_text(value) if isinstance(value, str) and " " in value else str(value)
