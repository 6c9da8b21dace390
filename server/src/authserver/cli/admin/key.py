"""``authserver admin key`` (cli.md §6). These commands do not migrate."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from authserver.audit.store import list_events
from authserver.cli.admin.opening import require, run
from authserver.cli.groups import Group
from authserver.config.loader import load_config
from authserver.core import Clock, Core, administer_keys, open_keys
from authserver.keys.administration import KeyAdministration
from authserver.keys.keystore import KeyInUse
from authserver.keys.records import SIGNS_AFTER_SECONDS, KeyListing
from authserver.storage.database import StorageUnavailable

T = TypeVar("T")


@click.group("key", cls=Group)
def command() -> None:
    """List, rotate and retire the signing keys."""


@command.command("list")
@click.pass_obj
def list_(config_path: str | None) -> None:
    """List the published keys, the current one first. An empty store gets its first key."""
    config = load_config(config_path).config

    async def read(core: Core | None = None) -> list[KeyListing]:
        now = Clock()()
        keyring = await open_keys(config, now=now, core=core)
        try:
            return keyring.list_keys(now)
        finally:
            await keyring.close()

    # Files are listed also where no database is.
    keys = asyncio.run(read()) if config.signing.key_store == "keyfile" else run(config_path, read, migrate=False)
    for key in keys:
        click.echo(f"kid={key.kid} alg={key.alg} use=sig status={key.status}")
    if not keys:
        click.echo("no signing keys found")


@command.command("rotate")
@click.pass_obj
def rotate(config_path: str | None) -> None:
    """Put a new key in front; it signs as soon as every running server publishes it."""
    key = _run(config_path, lambda core, keys: keys.rotate(now=core.clock()))
    click.echo(f"key rotated: kid={key.kid} alg={key.alg}")


@command.command("retire")
@click.option("--kid", default="", help="The key, one that signs no more.  [required]")
@click.pass_obj
def retire(config_path: str | None, *, kid: str) -> None:
    """Stop publishing a key before its time, because others may have it: nobody takes what it signed any more."""
    require(kid, "--kid")

    async def change(core: Core, keys: KeyAdministration) -> None:
        try:
            await keys.retire(kid, now=core.clock())
        except KeyInUse as exc:
            if exc.seconds is None or exc.seconds > SIGNS_AFTER_SECONDS:
                raise
            # It was rotated a moment ago: its successor signs in a moment.
            await asyncio.sleep(exc.seconds)
            await keys.retire(kid, now=core.clock())

    _run(config_path, change)
    click.echo(f"key retired: kid={kid}")


def _run(config_path: str | None, change: Callable[[Core, KeyAdministration], Awaitable[T]]) -> T:
    """Open the keys, change them, close them; return what the change returned."""

    async def work(core: Core) -> T:
        await _check_migrated(core)
        keyring = await open_keys(core.config, now=core.clock(), core=core)
        try:
            return await change(core, administer_keys(core, keyring))
        finally:
            await keyring.close()

    return run(config_path, work, migrate=False)


async def _check_migrated(core: Core) -> None:
    """Check that a change can be recorded before there is one: these commands apply no migrations."""
    try:
        await list_events(core.db, limit=1)
    except StorageUnavailable:
        raise
    except Exception as exc:  # what a driver raises for a missing table is known to storage alone
        raise click.ClickException(f"run authserver migrate first: {exc}") from exc
