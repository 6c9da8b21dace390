"""``authserver admin key`` (cli.md §6). These commands do not migrate."""

import asyncio
import time
from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.admin.transport import Refused
from authserver.cli.groups import Group
from authserver.cli.options import require

_LONGEST_WAIT = 10


@click.group("key", cls=Group)
def command() -> None:
    """List, rotate and retire the signing keys."""


@command.command("list")
@calls_api(migrate=False)
def list_(api: Api) -> None:
    """List the published keys, the current one first. An empty store gets its first key."""
    # Files are listed also where no database is.
    files = None if api.is_remote else asyncio.run(_list_files(click.get_current_context().obj))
    answer = api.call("GET /admin/keys") if files is None else files
    lines = (f"kid={key['kid']} alg={key['alg']} use={key['use']} status={key['status']}" for key in answer["keys"])
    api.tell_list(answer, lines, none="no signing keys found")


@command.command("rotate")
@calls_api(migrate=False)
def rotate(api: Api) -> None:
    """Put a new key in front; it signs as soon as every running server publishes it."""
    key = api.call("POST /admin/keys/rotate")
    api.tell(key, f"key rotated: kid={key['kid']} alg={key['alg']}")


@command.command("retire")
@click.option("--kid", default="", help="The key, one that signs no more.  [required]")
@calls_api(migrate=False)
def retire(api: Api, *, kid: str) -> None:
    """Stop publishing a key before its time, because others may have it: nobody takes what it signed any more."""
    require(kid, "--kid")
    try:
        answer = api.call("POST /admin/keys/{kid}/retire", kid=kid)
    except Refused as exc:
        seconds = exc.members.get("retry_after")
        if not isinstance(seconds, int) or not 0 <= seconds <= _LONGEST_WAIT:
            raise
        # It was rotated a moment ago: its successor signs in a moment.
        time.sleep(seconds)
        answer = api.call("POST /admin/keys/{kid}/retire", kid=kid)
    api.tell(answer, f"key retired: kid={kid}")


async def _list_files(config_path: str | None) -> Any:
    """Return the keys as the endpoint shows them when they are files, else None."""
    # Nothing of it is needed to ask a server.
    from authserver.admin.api.keys import build_key_list  # noqa: PLC0415  as above
    from authserver.config.loader import load_config  # noqa: PLC0415  as above
    from authserver.core import Clock, open_keys  # noqa: PLC0415  as above

    config = load_config(config_path).config
    if config.signing.key_store != "keyfile":
        return None
    now = Clock()()
    keyring = await open_keys(config, now=now)
    try:
        return build_key_list(keyring.list_keys(now))
    finally:
        await keyring.close()
