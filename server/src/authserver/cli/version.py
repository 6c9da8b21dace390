"""``authserver version``."""

import click

from authserver.cli.installed import version


@click.command("version")
def command() -> None:
    """Print the version of this program."""
    click.echo(f"authserver {version()}")
