"""``authserver admin audit delivery``: how far each destination has the trail."""

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.printing import as_text


@click.command("delivery")
@calls_api()
def delivery(api: Api) -> None:
    """Show where each destination stands: what it has, what waits, and what went wrong last."""
    found = api.call("GET /admin/audit/deliveries")
    lines = (" ".join(f"{name}={_spell(value)}" for name, value in each.items()) for each in found)
    api.tell_list(found, lines, none="no deliveries found")


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return as_text(value) if isinstance(value, str) and " " in value else str(value)
