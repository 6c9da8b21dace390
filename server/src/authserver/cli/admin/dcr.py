"""``authserver admin dcr`` (cli.md §6)."""

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require


@click.group("dcr", cls=Group)
def command() -> None:
    """Who may register clients dynamically."""


@command.command("get")
@calls_api()
def get(api: Api) -> None:
    """Print the mode in force: what an operator set, else what the configuration says."""
    answer = api.call("GET /admin/settings/dcr")
    api.tell(answer, f"DCR mode: {answer['mode']}")


@command.command("set")
@click.option("--mode", default="", help="open, admin_only or approved_redirects. Required.")
@calls_api()
def set_(api: Api, *, mode: str) -> None:
    """Put a mode in force; running servers follow within two seconds."""
    require(mode, "--mode")
    answer = api.call("PATCH /admin/settings/dcr", body={"mode": mode})
    api.tell(answer, f"DCR mode set to: {answer['mode']}", "running servers follow within seconds")
