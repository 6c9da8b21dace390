"""Opens what an ``admin`` command works on, and closes it again."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import orjson

from authserver.config.loader import load_config
from authserver.core import Clock, Core, open_core
from authserver.telemetry.logs import configure_logging

T = TypeVar("T")

# Of what JSON leaves as it is: what a terminal obeys, and what turns the direction of text.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def be_quiet() -> None:
    """Have nothing but failures logged from now on: what a command has to say is its result."""
    configure_logging(level="error", stream=sys.stderr.buffer)


def run(config_path: str | None, work: Callable[[Core], Awaitable[T]], *, migrate: bool = True) -> T:
    """Open the database of the configuration, do the work, close it; return what the work returned."""
    be_quiet()
    config = load_config(config_path).config

    async def opened() -> T:
        core = await open_core(config, clock=Clock(), migrate=migrate)
        try:
            return await work(core)
        finally:
            await core.close()

    return asyncio.run(opened())


def require(value: str, flag: str) -> None:
    """Check that a flag was given, here or in the environment.

    Raises:
        ClickException: It was not.
    """
    if not value:
        raise click.ClickException(f"{flag} is required")


def split_list(text: str | None) -> tuple[str, ...] | None:
    """Return the entries of a comma list, blanks around them and empty ones dropped; None when nothing was given."""
    if text is None:
        return None
    return tuple(entry for part in text.split(",") if (entry := part.strip()))


def as_text(value: str) -> str:
    """Return a text between quotation marks, those within it escaped."""
    return orjson.dumps(value).decode()


def as_json(value: object) -> str:
    """Return a value as the commands print JSON: indented by two, and nothing in it that a terminal obeys."""
    return _UNSAFE.sub(_escape, orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def as_json_line(value: object) -> str:
    """Return a value as JSON on one line, as safe."""
    return _UNSAFE.sub(_escape, orjson.dumps(value).decode())


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
