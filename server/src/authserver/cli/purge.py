"""``authserver purge``: one pass over what may be deleted (storage.md §7)."""

import asyncio
import contextlib
import signal
import sys

import click

from authserver.app import Clock
from authserver.cli.durations import DurationType
from authserver.config.loader import load_config
from authserver.config.model import Config
from authserver.maintenance.purge import Target, check_retention, parse_targets, purge
from authserver.storage.database import Database, StorageUnavailable
from authserver.storage.opening import open_database
from authserver.telemetry.logs import configure_logging, get_logger

_log = get_logger("purge")


@click.command("purge")
@click.option("--only", default="", help="Targets separated by commas; without it, all but those that must be named.")
@click.option("--timeout", type=DurationType(), default="10m", show_default=True, help="Overall deadline; 0 is none.")
@click.option(
    "--retention", type=DurationType(), help="What the targets issuances and audit-events keep, such as 720h."
)
@click.pass_obj
def command(config_path: str | None, only: str, timeout: float, retention: float | None) -> int:
    """Delete what has expired, in one pass."""
    config = load_config(config_path).config
    targets = parse_targets(only)
    keep = None if retention is None else int(retention)
    check_retention(targets, keep)
    configure_logging(stream=sys.stderr.buffer)
    if asyncio.run(_purge(config, targets, timeout=timeout or None, retention=keep)):
        return 0
    raise click.ClickException("one or more purge operations failed")


async def _purge(config: Config, targets: tuple[Target, ...], *, timeout: float | None, retention: int | None) -> bool:  # noqa: ASYNC109  the command's own deadline, over several steps
    """Run the targets in their order; return whether all of them succeeded."""
    db = await open_database(config.storage)
    work = asyncio.ensure_future(_run(db, config, targets, retention))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await asyncio.wait_for(work, timeout)
    except (TimeoutError, asyncio.CancelledError):
        _log.error("purge interrupted")
        return False
    finally:
        with contextlib.suppress(StorageUnavailable):
            await db.close()


async def _run(db: Database, config: Config, targets: tuple[Target, ...], retention: int | None) -> bool:
    succeeded, now = True, Clock()()
    for target in targets:
        try:
            deleted = await purge(db, target, now=now, refresh_grace=config.oauth.refresh_grace, retention=retention)
        except Exception as exc:  # noqa: BLE001  one target's failure must not keep the others from running
            _log.error("purge failed", table=target, error=str(exc))
            succeeded = False
        else:
            _log.info("purge completed", table=target, deleted=deleted)
    return succeeded
