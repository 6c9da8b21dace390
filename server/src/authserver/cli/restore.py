"""``authserver restore``."""

from dataclasses import asdict

import click

from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.config.loader import load_config
from authserver.protocol.operator_errors import Invalid
from authserver.storage.sqlite_backup import restore


@click.command("restore")
@click.argument("file")
@switch("--force", help="Replaces a database that is not empty, or damaged.")
@switch("--json", "in_json", help="Print JSON.")
@click.pass_obj
def command(config_path: str | None, *, file: str, force: bool, in_json: bool) -> None:
    """Put a backup in the place of the SQLite database; every server must be stopped.

    The backup is checked first, and is not changed. One of an older version is brought up to date by the next start. What
    happened since the backup is forgotten, revocations too: docs/backup.md says what to do about it.
    """
    config = load_config(config_path).config
    if config.storage.driver != "sqlite":
        raise Invalid("the database is PostgreSQL: restore it with pg_restore, as docs/backup.md says")
    sqlite = config.storage.sqlite
    contents = restore(file, sqlite.path, wal=sqlite.wal, force=force)
    if in_json:
        click.echo(as_json({"path": sqlite.path, "contents": asdict(contents)}))
        return
    click.echo(
        f"backup restored: path={sqlite.path} tables={len(contents.rows)} rows={contents.total}"
        f" schema={contents.schema:04} pending={contents.pending}"
    )
