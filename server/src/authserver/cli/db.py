"""``authserver db``: the database as a whole."""

import asyncio
from dataclasses import asdict

import click

from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.config.loader import load_config
from authserver.core import Clock
from authserver.protocol.operator_errors import Invalid
from authserver.storage.copying import copy_database


@click.group("db", cls=Group)
def command() -> None:
    """Move the database."""


@command.command("copy")
@click.option("--from", "source", default="", help="The SQLite file; without it, storage.sqlite.path.")
@switch("--json", "in_json", help="Print JSON.")
@click.pass_obj
def copy(config_path: str | None, *, source: str, in_json: bool) -> None:
    """Copy a SQLite database into the empty PostgreSQL database of storage.postgres.dsn.

    One transaction, each table compared by number of rows and checksum; a line for each. Stop the server first: when it
    writes meanwhile, nothing is copied. Key files stay where they are: docs/backup.md.
    """
    config = load_config(config_path).config
    dsn = config.storage.postgres.dsn.reveal()
    if not dsn:
        raise Invalid("storage.postgres.dsn names no database to copy to")
    path = source or config.storage.sqlite.path
    tables = asyncio.run(copy_database(path, dsn, wal=config.storage.sqlite.wal, now=Clock()()))
    if in_json:
        click.echo(as_json({"tables": [asdict(table) for table in tables]}))
        return
    for table in tables:
        click.echo(f"table={table.name} rows={table.rows} checksum={table.checksum}")
    click.echo(f"copied: tables={len(tables)} rows={sum(table.rows for table in tables)}")
