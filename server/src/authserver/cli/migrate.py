"""``authserver migrate``."""

import asyncio

import click

from authserver.config.loader import load_config
from authserver.core import Clock
from authserver.storage.opening import migrate


@click.command("migrate")
@click.pass_obj
def command(config_path: str | None) -> None:
    """Apply every migration that the database does not have yet. Safe to repeat."""
    config = load_config(config_path).config
    applied = asyncio.run(migrate(config.storage, now=Clock()()))
    click.echo(f"migrations applied: {len(applied)}")
