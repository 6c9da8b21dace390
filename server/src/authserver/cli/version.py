"""``authserver version``."""

import click

from authserver.telemetry.installed import version


@click.command("version")
def command() -> None:
    """Print the version of this program."""
    click.echo(f"authserver {version()}")
