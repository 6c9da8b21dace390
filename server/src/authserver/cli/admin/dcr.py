"""``authserver admin dcr`` (cli.md §6)."""

import click

from authserver.cli.admin.opening import run
from authserver.cli.groups import Group
from authserver.core import Core


@click.group("dcr", cls=Group)
def command() -> None:
    """Who may register clients dynamically."""


@command.command("get")
@click.pass_obj
def get(config_path: str | None) -> None:
    """Print the mode in force: what an operator set, else what the configuration says."""

    async def read(core: Core) -> str:
        await core.mode.refresh()
        return core.mode.current

    click.echo(f"DCR mode: {run(config_path, read)}")


@command.command("set")
@click.option("--mode", default="", help="open, admin_only or approved_redirects. Required.")
@click.pass_obj
def set_(config_path: str | None, *, mode: str) -> None:
    """Put a mode in force; running servers follow within two seconds."""
    if not mode:
        raise click.ClickException("--mode is required")
    run(config_path, lambda core: core.mode.set(mode, actor_id="admin", now=core.clock()))
    click.echo(f"DCR mode set to: {mode}")
    click.echo("running servers follow within seconds")
