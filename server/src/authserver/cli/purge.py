"""``authserver purge``: one pass over what may be deleted (storage.md §7)."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import click

from authserver.audit.chain.sealing import Sealer
from authserver.cli.options import Duration
from authserver.config.loader import load_config
from authserver.config.model import Config
from authserver.core import Clock, open_core, open_keys
from authserver.keys.statements import KeyringSigner
from authserver.maintenance.purge import NAMED_ONLY, Target, check_retention, parse_targets, purge
from authserver.protocol.statements import Signer
from authserver.storage.database import Database
from authserver.storage.opening import open_database
from authserver.telemetry.logs import configure_logging, get_logger

_log = get_logger("purge")


@click.command("purge")
@click.option(
    "--only",
    default="",
    help=f"Targets separated by commas, of: {', '.join(sorted(Target))}."
    f" Without it, all but {', '.join(sorted(NAMED_ONLY))}.",
)
@click.option("--timeout", type=Duration(), default="10m", show_default=True, help="Overall deadline; 0 is none.")
@click.option(
    "--retention",
    type=Duration(),
    help="What issuances (30d unless given) and audit-events (must be given) keep, such as 90d.",
)
@click.pass_obj
def command(config_path: str | None, only: str, timeout: float, retention: float | None) -> None:
    """Delete what has expired, in one pass; stderr gets a line for each target."""
    config = load_config(config_path).config
    targets = parse_targets(only)
    keep = None if retention is None else int(retention)
    check_retention(targets, keep)
    configure_logging(stream=sys.stderr.buffer)
    if not asyncio.run(_purge(config, targets, timeout=timeout, retention=keep)):
        raise click.ClickException("one or more purge operations failed")


async def _purge(config: Config, targets: tuple[Target, ...], *, timeout: float, retention: int | None) -> bool:  # noqa: ASYNC109  the command's own deadline, over several steps
    """Run the targets in their order until the deadline or a signal; return whether all of them succeeded."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if timeout:
        loop.call_later(timeout, stop.set)
    succeeded, now = True, Clock()()
    async with _opened(config, targets) as (db, signer):
        for target in targets:
            if stop.is_set():
                _log.error("purge aborted before op", table=target)
                return False
            work = asyncio.ensure_future(_purge_one(db, target, config, now=now, retention=retention, signer=signer))
            if not await _finish(work, stop):
                _log.error("purge interrupted", table=target)
                return False
            succeeded = _tell(target, work) and succeeded
    return succeeded


@contextlib.asynccontextmanager
async def _opened(config: Config, targets: tuple[Target, ...]) -> AsyncIterator[tuple[Database, Signer | None]]:
    """Open the database, and the signing keys if something is to be signed: what is left of the audit trail is."""
    if Target.AUDIT_EVENTS not in targets:
        db = await open_database(config.storage)
        try:
            yield db, None
        finally:
            await db.close()
        return
    core = await open_core(config, clock=Clock(), migrate=False)
    try:
        # A key that is made here and now would be nobody's who verifies the trail.
        keyring = await open_keys(config, now=core.clock(), core=core, makes_first=False)
        try:
            signer = KeyringSigner(keyring)
            # What no server has sealed yet cannot go.
            sealer = Sealer(core.db, signer, core.clock.milliseconds)
            await sealer.seal()
            await sealer.let_go()
            yield core.db, signer
        finally:
            await keyring.close()
    finally:
        await core.close()


async def _purge_one(
    db: Database, target: Target, config: Config, *, now: int, retention: int | None, signer: Signer | None
) -> int:
    """Purge one target; return how many rows went."""
    return await purge(
        db,
        target,
        now=now,
        refresh_grace=config.oauth.refresh_grace,
        trace_age=config.traces.max_age,
        retention=retention,
        signer=signer,
        destinations=config.audit.destinations,
    )


def _tell(target: Target, work: "asyncio.Future[int]") -> bool:
    """Log what became of a target; return whether it was purged."""
    try:
        _log.info("purge completed", table=target, deleted=work.result())
    except Exception as exc:  # noqa: BLE001  one target's failure must not keep the others from running
        _log.error("purge failed", table=target, error=str(exc))
        return False
    return True


async def _finish(work: "asyncio.Future[int]", stop: asyncio.Event) -> bool:
    """Wait for work, but not beyond ``stop``; return whether it was done. Batches it has committed stay committed."""
    stopping = asyncio.ensure_future(stop.wait())
    both: set[asyncio.Future[Any]] = {work, stopping}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait({work})
        # A driver may tell of a cancellation in its own words.
        return not work.cancelled() and work.exception() is None
    return True
