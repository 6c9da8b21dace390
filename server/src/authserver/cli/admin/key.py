"""``authserver admin key`` (cli.md §6). These commands do not migrate."""

import asyncio

import click

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.store import list_events
from authserver.cli.admin.opening import run
from authserver.cli.groups import Group
from authserver.config.loader import load_config
from authserver.core import Clock, Core, open_keys
from authserver.keys.records import KeyListing
from authserver.storage.changes import announce
from authserver.storage.database import StorageUnavailable, Writer


@click.group("key", cls=Group)
def command() -> None:
    """List and rotate the signing keys."""


@command.command("list")
@click.pass_obj
def list_(config_path: str | None) -> None:
    """List the published keys, the current one first. An empty store gets its first key."""
    config = load_config(config_path).config

    async def read() -> list[KeyListing]:
        now = Clock()()
        return (await open_keys(config, now=now)).list_keys(now)

    keys = asyncio.run(read())
    for key in keys:
        click.echo(f"kid={key.kid} alg={key.alg} use=sig status={key.status}")
    if not keys:
        click.echo("no signing keys found")


@command.command("rotate")
@click.pass_obj
def rotate(config_path: str | None) -> None:
    """Put a new key in front; it signs as soon as every running server publishes it."""

    async def change(core: Core) -> KeyListing:
        await _check_migrated(core)
        now = core.clock()
        keyring = await open_keys(core.config, now=now)
        key = await keyring.rotate(now)
        event = AuditEvent(Action.KEY_ROTATED, actor_id="admin", detail=f"admin rotated signing key: kid={key.kid}")

        async def tell(tx: Writer) -> None:
            await announce(tx, "signing_keys")
            await core.trail.append(tx, event, now=now)

        try:
            await core.db.write(tell)
        except StorageUnavailable as exc:
            raise click.ClickException(f"the key was rotated to kid={key.kid}, but not recorded: {exc}") from exc
        return key

    key = run(config_path, change, migrate=False)
    click.echo(f"key rotated: kid={key.kid} alg={key.alg}")


async def _check_migrated(core: Core) -> None:
    """Check that a rotation can be recorded before there is one: this command applies no migrations."""
    try:
        await list_events(core.db, limit=1)
    except StorageUnavailable:
        raise
    except Exception as exc:  # what a driver raises for a missing table is known to storage alone
        raise click.ClickException(f"run authserver migrate first: {exc}") from exc
