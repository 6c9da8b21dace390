"""Which server an ``admin`` command asks, if any: ``--server`` and its key, anywhere on the line (decision 0030)."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from authserver.config.secret import Secret
from authserver.protocol.uris import parse_uri

_SERVER, _KEY, _KEY_FILE = "--server", "--api-key", "--api-key-file"
_KEPT = f"{__name__}.kept"
_MOST_KEY_CHARACTERS = 4096
_KEY_CHARACTERS = re.compile(r"[\x20-\x7e]+")
_NO_ENDPOINT = "works on the database itself: run it where the server's configuration is, without --server"

_asking: set[Callable[..., Any]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedServer:
    """A server to be asked.

    Attributes:
        url: Of its admin listener, without a slash at the end.
    """

    url: str
    api_key: Secret


@dataclass(frozen=True, slots=True)
class _Given:
    value: str
    is_on_line: bool


def _keep(ctx: click.Context, option: click.Parameter, value: str | None) -> None:
    """Keep what is given for all groups and the command together: the last on the line, before the environment."""
    if value is None or option.name is None:
        return
    is_on_line = ctx.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    kept = _kept(ctx)
    if is_on_line or option.opts[0] not in kept:
        kept[option.opts[0]] = _Given(value, is_on_line)


SERVER_OPTIONS = (
    click.Option(
        [_SERVER],
        metavar="URL",
        envvar="AUTHPLANE_ADMIN_URL",
        expose_value=False,
        callback=_keep,
        help="The admin listener to ask; without it, the database of the configuration.",
    ),
    click.Option(
        [_KEY],
        metavar="KEY",
        envvar="AUTHPLANE_ADMIN_API_KEY",
        expose_value=False,
        callback=_keep,
        help="The key for --server; others on the machine can read it here, so prefer the variable or --api-key-file.",
    ),
    click.Option(
        [_KEY_FILE],
        metavar="PATH",
        expose_value=False,
        callback=_keep,
        help="A file whose first line is the key for --server; - is standard input.",
    ),
)
"""Taken by ``admin``, what is below it, and the root."""


def offer_server(command: click.Command) -> None:
    """Have a command, and all below it, take the options; those that ask no server refuse one."""
    command.params += [option for option in SERVER_OPTIONS if option not in command.params]
    if isinstance(command, click.Group):
        for below in command.commands.values():
            offer_server(below)
    elif command.callback is not None and command.callback not in _asking:
        command.callback = _refusing(command.callback)


def asks_server(callback: Callable[..., Any]) -> None:
    """Know that what a command runs asks a server when one is named."""
    _asking.add(callback)


def is_server_on_line(ctx: click.Context) -> bool:
    """Tell whether the command line names a server."""
    given = _kept(ctx).get(_SERVER)
    return given is not None and given.is_on_line


def named_server(ctx: click.Context) -> NamedServer | None:
    """Return the server that the line or the environment names; None: the command works here.

    Raises:
        ClickException: It is no URL of a server, or goes with ``--config``; or its key is missing, twice there, or none.
    """
    kept = _kept(ctx)
    given = kept.get(_SERVER)
    if given is None or not given.value:
        for flag in (_KEY, _KEY_FILE):
            if flag in kept and kept[flag].is_on_line:
                raise click.ClickException(f"{flag} is of use with --server only")
        return None
    if ctx.obj is not None:
        raise click.ClickException("--config and --server (AUTHPLANE_ADMIN_URL) exclude each other")
    url = _check_url(given.value)
    return NamedServer(url=url, api_key=_read_key(kept))


def _kept(ctx: click.Context) -> dict[str, _Given]:
    kept: dict[str, _Given] = ctx.meta.setdefault(_KEPT, {})
    return kept


def _refusing(callback: Callable[..., Any]) -> Callable[..., Any]:
    def refuse_server(*arguments: Any, **options: Any) -> Any:
        ctx = click.get_current_context()
        given = _kept(ctx).get(_SERVER)
        if given is not None and given.value:
            raise click.ClickException(f"{ctx.command_path} {_NO_ENDPOINT} (AUTHPLANE_ADMIN_URL)")
        return callback(*arguments, **options)

    asks_server(refuse_server)
    return refuse_server


def _check_url(text: str) -> str:
    parts = parse_uri(text)
    if parts is None or not parts.is_web or parts.query is not None or parts.fragment is not None:
        raise click.ClickException("--server must be an http or https URL without query, such as https://host:9001")
    if parts.userinfo is not None:
        raise click.ClickException("--server must not contain a user name or password")
    if parts.scheme == "http" and not _is_loopback(parts.host):
        click.echo(f"warning: the API key travels unencrypted to {parts.host}: use https", err=True)
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _read_key(kept: dict[str, _Given]) -> Secret:
    key, path = kept.get(_KEY), kept.get(_KEY_FILE)
    if path is not None:
        if key is not None and key.is_on_line:
            raise click.ClickException(f"{_KEY} and {_KEY_FILE} exclude each other")
        text = _first_line(path.value)
    elif key is not None:
        text = key.value
    else:
        raise click.ClickException(f"{_KEY_FILE}, {_KEY} or AUTHPLANE_ADMIN_API_KEY is required with --server")
    text = text.strip()
    if not _KEY_CHARACTERS.fullmatch(text):
        raise click.ClickException("the API key is empty, or holds characters that no key has")
    return Secret(text)


def _first_line(path: str) -> str:
    if path == "-":
        return sys.stdin.readline(_MOST_KEY_CHARACTERS)
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return file.readline(_MOST_KEY_CHARACTERS)
    except OSError as exc:
        raise click.ClickException(f"{_KEY_FILE} cannot be read: {exc.strerror}") from exc
