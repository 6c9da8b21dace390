"""``authserver admin key`` (cli.md §6). These commands do not migrate."""

import asyncio

import click

from authserver.app import Clock, Core, open_keys
from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.cli.admin.opening import run
from authserver.cli.lazy import HelpfulGroup
from authserver.config.loader import load_config
from authserver.keys.records import KeyListing
from authserver.storage.changes import announce
from authserver.storage.database import Writer


@click.group("key", cls=HelpfulGroup)
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
        now = core.clock()
        keyring = await open_keys(core.config, now=now)
        # Before the key: a database that cannot take the row of a rotation is told apart from one that happened.
        await core.db.fetch_all("SELECT topic FROM changes")
        key = await keyring.rotate(now)
        event = AuditEvent(Action.KEY_ROTATED, actor_id="admin", detail=f"admin rotated signing key: kid={key.kid}")

        async def tell(tx: Writer) -> None:
            await announce(tx, "signing_keys")
            await core.trail.append(tx, event, now=now)

        await core.db.write(tell)
        return key

    key = run(config_path, change, migrate=False)
    click.echo(f"key rotated: kid={key.kid} alg={key.alg}")
