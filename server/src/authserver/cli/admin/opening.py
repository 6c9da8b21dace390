"""Opens what an ``admin`` command works on, and closes it again."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from authserver.config.loader import load_config
from authserver.core import Clock, Core, open_core
from authserver.telemetry.logs import configure_logging

T = TypeVar("T")


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
