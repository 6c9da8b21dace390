"""``authserver backup``."""

from dataclasses import asdict
from pathlib import Path

import click

from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.config.loader import load_config
from authserver.protocol.operator_errors import Invalid
from authserver.storage.sqlite_backup import back_up


@click.command("backup")
@click.argument("file")
@switch("--force", help="Replaces FILE if it exists.")
@switch("--json", "in_json", help="Print JSON.")
@click.pass_obj
def command(config_path: str | None, *, file: str, force: bool, in_json: bool) -> None:
    """Copy the SQLite database into FILE, as of one moment, while servers go on.

    The copy is checked before it gets its name. Key files are not in it. PostgreSQL has tools of its own: docs/backup.md.
    """
    config = load_config(config_path).config
    if config.storage.driver != "sqlite":
        raise Invalid("the database is PostgreSQL: back it up with pg_dump, as docs/backup.md says")
    contents = back_up(config.storage.sqlite.path, file, wal=config.storage.sqlite.wal, force=force)
    size = Path(file).stat().st_size
    keys = config.signing.key_path if config.signing.key_store == "keyfile" else None
    if in_json:
        click.echo(as_json({"file": file, "bytes": size, "contents": asdict(contents), "key_path": keys}))
        return
    click.echo(
        f"backup written: file={file} bytes={size} tables={len(contents.rows)} rows={contents.total}"
        f" schema={contents.schema:04}"
    )
    if keys is not None:
        click.echo(f"signing keys are not in it: key_path={keys}")
