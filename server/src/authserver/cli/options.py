"""Kinds of options that several commands have, and what their values mean."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from authserver.config.durations import parse_duration

F = TypeVar("F", bound=Callable[..., Any])

_DAY = 24 * 3600
_LONG_UNITS = {"d": _DAY, "w": 7 * _DAY}


class Duration(click.ParamType[float]):
    """Seconds, written ``90s``, ``1h30m``, ``7d``, ``2w``, or a bare ``0``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        text = str(value)
        if text == "0":
            return 0
        if text[:-1].isdecimal() and text[-1] in _LONG_UNITS:
            return int(text[:-1]) * _LONG_UNITS[text[-1]]
        try:
            seconds = parse_duration(text)
        except ValueError:
            self.fail(f"{text!r} is not a duration such as 90s, 1h30m or 7d", param, ctx)
        if seconds < 0:
            self.fail("it must not be negative", param, ctx)
        return seconds


def switch(*names: str, **settings: Any) -> Callable[[F], F]:
    """Return a boolean option; groups see to it that it may be written ``=true`` and ``=false``, too."""
    return click.option(*names, is_flag=True, default=False, **settings)


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
